"""`python -m stream_api`."""

import sys

from headwater.http.service import Service, main
from stream_api.app import open_parts, release_waiters
from stream_api.routes import ROUTES

SERVICE = Service(
    name="stream_api", routes=ROUTES, open_parts=open_parts, on_shutdown=[release_waiters]
)

if __name__ == "__main__":
    sys.exit(main([SERVICE], "stream_api"))
