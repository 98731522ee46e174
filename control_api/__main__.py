"""`python -m control_api`."""

import sys

from control_api.routes import ROUTES
from headwater.http.service import Service, main

if __name__ == "__main__":
    sys.exit(main([Service(name="control_api", routes=ROUTES)], "control_api"))
