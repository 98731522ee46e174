"""Waking those who wait for a feed to grow.

One ticker per process asks one query for the last offsets of all feeds that somebody waits on, and only
while somebody does: a thousand waiting readers cost what one costs. (NOTIFY would take a lock over the
whole server at every commit.)
"""

from __future__ import annotations

import asyncio

import structlog

from headwater.domain.ids import FeedOffset, WorkspaceId
from headwater.errors import Contended, Unavailable
from headwater.postgres import feed
from headwater.postgres.pool import Pool

log = structlog.get_logger(__name__)

_BACKOFF_SECONDS = 1.0


class Follower:
    """Knows who waits for which feed. `run` is its ticker; `wait_beyond` may be called any time."""

    def __init__(self, pool: Pool, *, tick_seconds: float) -> None:
        self._pool = pool
        self._tick_seconds = tick_seconds
        self._waiters: dict[WorkspaceId, dict[asyncio.Future[None], FeedOffset]] = {}
        self._somebody_waits = asyncio.Event()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many readers wait now."""
        return sum(len(waiters) for waiters in self._waiters.values())

    async def wait_beyond(
        self, workspace_id: WorkspaceId, after: FeedOffset, seconds: float
    ) -> bool:
        """Wait until the feed has an offset greater than `after`; False if the time is over first.

        A reader that goes away (its task is cancelled) leaves nothing behind. When the process ends,
        all readers are woken with False.
        """
        if self._closed or seconds <= 0:
            return False
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(workspace_id, {})
        waiters[future] = after
        self._somebody_waits.set()
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            waiters.pop(future, None)
            if not waiters and self._waiters.get(workspace_id) is waiters:
                del self._waiters[workspace_id]
        return not self._closed

    @property
    def closed(self) -> bool:
        return self._closed

    async def run(self) -> None:
        """Tick until cancelled."""
        down = False
        while True:
            if not self._waiters:
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            try:
                async with self._pool.connection() as conn:
                    offsets = await feed.read_last_offsets(conn, tuple(self._waiters))
            except (Unavailable, Contended) as exc:
                if not down:
                    log.warning("feeds can't be watched, trying again", error=str(exc))
                down = True
                await asyncio.sleep(_BACKOFF_SECONDS)
                continue
            if down:
                log.info("feeds are watched again")
            down = False
            for workspace_id, last_offset in offsets.items():
                self._wake(workspace_id, last_offset)
            await asyncio.sleep(self._tick_seconds)

    def close(self) -> None:
        """Wake everybody: the process ends."""
        self._closed = True
        for workspace_id in tuple(self._waiters):
            self._wake(workspace_id, None)

    def _wake(self, workspace_id: WorkspaceId, last_offset: FeedOffset | None) -> None:
        for future, after in self._waiters.get(workspace_id, {}).items():
            if not future.done() and (last_offset is None or after < last_offset):
                future.set_result(None)
