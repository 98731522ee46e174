"""`python -m deploy.single`: ingest, stream_api and control_api on one port."""

from __future__ import annotations

import sys

import control_api.routes
import ingest.app
import ingest.routes
import stream_api.app
import stream_api.routes
from headwater.http.service import Service, main

SERVICES = [
    Service(
        name="ingest",
        routes=ingest.routes.ROUTES,
        open_parts=ingest.app.open_parts,
        needs_kafka=True,
    ),
    Service(
        name="stream_api",
        routes=stream_api.routes.ROUTES,
        open_parts=stream_api.app.open_parts,
        on_shutdown=[stream_api.app.release_waiters],
    ),
    Service(name="control_api", routes=control_api.routes.ROUTES),
]

if __name__ == "__main__":
    sys.exit(main(SERVICES, "web"))
