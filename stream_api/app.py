"""What this service holds beside the shared parts: the schemas of events, the feed's ticker and connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from headwater import metrics
from headwater.http.gate import Gate
from headwater.http.shared import SharedParts
from headwater.postgres.feed import PINNED_PLAN
from headwater.postgres.pool import open_pool
from headwater.settings import Settings
from headwater.validation import load_schemas
from stream_api.follow import Follower
from stream_api.keys import FEED_POOL, FOLLOWER, READERS, SCHEMAS, STREAM


@asynccontextmanager
async def open_parts(
    settings: Settings, shared: SharedParts
) -> AsyncIterator[Mapping[web.AppKey[Any], Any]]:
    """Start the ticker and yield what the handlers need, by key; stop it at the end."""
    feed_pool = await open_pool(
        settings.postgres,
        max_size=settings.postgres.feed_connections,
        statement_seconds=settings.postgres.statement_seconds,
        session=PINNED_PLAN,
    )
    follower = Follower(shared.pool, tick_seconds=settings.stream.tick_seconds)
    readers = Gate(places=settings.stream.readers, size_bytes=0)
    metrics.WAITERS.read_by(lambda: follower.waiting)
    metrics.READERS.read_by(lambda: readers.places)
    metrics.FEED_CONNECTIONS_IN_USE.read_by(lambda: feed_pool.in_use)
    metrics.FEED_CONNECTIONS_AWAITED.read_by(lambda: feed_pool.waiting)
    ticker = asyncio.create_task(follower.run())
    try:
        yield {
            FEED_POOL: feed_pool,
            FOLLOWER: follower,
            READERS: readers,
            STREAM: settings.stream,
            SCHEMAS: load_schemas(),
        }
    finally:
        follower.close()
        ticker.cancel()
        with suppress(asyncio.CancelledError):
            await ticker
        await feed_pool.close()


async def release_waiters(app: web.Application) -> None:
    """For `on_shutdown`: those who wait get their answer now, so that nobody is cut off."""
    app[FOLLOWER].close()
