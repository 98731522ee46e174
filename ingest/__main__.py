"""`python -m ingest`."""

import sys

from headwater.http.service import Service, main
from ingest.app import open_parts
from ingest.routes import ROUTES

SERVICE = Service(name="ingest", routes=ROUTES, open_parts=open_parts, needs_kafka=True)

if __name__ == "__main__":
    sys.exit(main([SERVICE], "ingest"))
