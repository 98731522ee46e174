"""Run this service alone: `python -m stream_api`."""

from __future__ import annotations

import asyncio
import signal

from headwater import log
from headwater.http.app import build_app
from headwater.http.server import serve
from headwater.http.shared import open_shared
from headwater.settings import Settings
from stream_api.app import open_parts, release_waiters
from stream_api.routes import ROUTES


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`."""
    async with open_shared(settings) as shared, open_parts(settings, shared) as parts:
        app = build_app(ROUTES, state={**shared.state(), **parts})
        app.on_shutdown.append(release_waiters)
        await serve(app, settings.http, stop)


async def main() -> None:
    """Settings, log, signals, run."""
    settings = Settings.from_env()
    log.set_up(settings.log, service="stream-api")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    asyncio.run(main())
