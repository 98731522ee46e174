"""Time, passed in as a value so that a test can fix it. The domain gets times as arguments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns an aware UTC datetime."""


def now() -> datetime:
    """The present, aware, in UTC, truncated to milliseconds (the resolution of the wire)."""
    # a third of the time of `datetime.now` and `replace`
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)


monotonic = time.monotonic
"""Seconds that never go backwards, for measuring and for limits."""


async def sleep_until(stop: asyncio.Event, seconds: float) -> None:
    """Sleep for so long, or until `stop`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
