"""`python -m processor`: apply writes until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from headwater.errors import HubError
from headwater.log import set_up
from headwater.settings import Settings
from processor.app import run


async def _main(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def main() -> int:
    """Exit status 0 when stopped, 1 when something has to be looked at or started again, 2 when a
    setting is wrong.
    """
    try:
        settings = Settings.from_env()
        settings.check_servers(needs_kafka=True)
    except HubError as exc:
        print(f"headwater: {exc}", file=sys.stderr)  # noqa: T201  # there is no log yet
        return 2
    set_up(settings.log, service="processor")
    try:
        asyncio.run(_main(settings))
    except HubError as exc:
        structlog.get_logger().error(
            "processor ends", error=str(exc), kind=type(exc).__name__
        )  # the sentence says it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
