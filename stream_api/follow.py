"""Waking those who wait for a feed to grow, and reading for all of them at once.

One ticker per process asks one query for the last offsets of all feeds that somebody waits on, and only
while somebody does: a thousand waiting readers cost what one costs. (NOTIFY would take a lock over the
whole server at every commit.) Those that come or are woken together and ask the same question share its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from headwater import metrics
from headwater.domain.ids import FeedOffset, WorkspaceId
from headwater.errors import Contended, Unavailable
from headwater.postgres import feed
from headwater.postgres.feed import FeedPage
from headwater.postgres.pool import Pool
from headwater.singleflight import SingleFlight

log = structlog.get_logger(__name__)

_BACKOFF_SECONDS = 1.0
_LOOK_SECONDS = 1.0
"""How often it is looked after readers that have gone: aiohttp doesn't tell their handlers."""

_LIVELY_SECONDS = 0.5
"""A feed that has grown goes on growing, as a rule: so long after it the ticker looks more often,"""
_LIVELY_TICKS = 5
"""so many times."""

_LINGER_SECONDS = 10.0
"""So long a feed is watched that nobody waits for any more: answering thousands takes seconds."""


def _stays() -> bool:
    return False


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    after: FeedOffset
    is_gone: Callable[[], bool]
    woken: asyncio.Future[bool]

    def wake(self, *, grown: bool) -> None:
        if not self.woken.done():
            self.woken.set_result(grown)


class Follower:
    """Knows who waits for which feed. `run` is its ticker; the rest may be called any time."""

    def __init__(self, pool: Pool, *, tick_seconds: float) -> None:
        self._pool = pool
        self._tick_seconds = tick_seconds
        self._waiters: dict[WorkspaceId, set[_Waiter]] = {}
        self._left_at: dict[WorkspaceId, float] = {}
        self._last_offsets: dict[WorkspaceId, FeedOffset] = {}
        self.reads: SingleFlight[list[FeedPage]] = SingleFlight()
        """What is being read for readers that wait for more after it: what they miss now, they are woken for."""
        self._somebody_waits = asyncio.Event()
        self._closed = False
        self.ticks = 0
        """How often the ticker has asked."""

    @property
    def waiting(self) -> int:
        """How many readers wait now."""
        return sum(len(waiters) for waiters in self._waiters.values())

    @property
    def closed(self) -> bool:
        return self._closed

    def is_end(self, workspace_id: WorkspaceId, after: int) -> bool:
        """Whether the feed ended at `after` at the last tick, so that there is nothing to read.

        Known only while somebody waits for the feed, and Postgres answers.
        """
        return self._last_offsets.get(workspace_id) == after

    async def wait_beyond(
        self,
        workspace_id: WorkspaceId,
        after: FeedOffset,
        seconds: float,
        is_gone: Callable[[], bool] = _stays,
    ) -> bool:
        """Wait until the feed has an offset greater than `after`.

        False if the time is over first, the reader `is_gone`, or the process ends. A reader whose task
        is cancelled leaves nothing behind.
        """
        if self._closed or seconds <= 0:
            return False
        if after < self._last_offsets.get(workspace_id, 0):
            return True
        waiter = _Waiter(after, is_gone, asyncio.get_running_loop().create_future())
        waiters = self._waiters.setdefault(workspace_id, set())
        waiters.add(waiter)
        self._somebody_waits.set()
        try:
            async with asyncio.timeout(seconds):
                return await waiter.woken
        except TimeoutError:
            return False
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._left_at[workspace_id] = time.monotonic()

    async def run(self) -> None:
        """Tick until cancelled."""
        down = False
        looked_at = grown_at = time.monotonic()
        while True:
            self._forget_the_left()
            if not self._waiters:
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            if time.monotonic() - looked_at >= _LOOK_SECONDS:
                self._release_the_gone()
                looked_at = time.monotonic()
            try:
                async with self._pool.connection() as conn:
                    offsets = await feed.read_last_offsets(conn, tuple(self._waiters))
                metrics.TICKER_QUERIES.inc()
            except (Unavailable, Contended) as exc:
                if not down:
                    log.warning("feeds can't be watched, trying again", error=str(exc))
                down = True
                self._last_offsets.clear()  # who comes now asks, and is told 503
                await asyncio.sleep(_BACKOFF_SECONDS)
                continue
            if down:
                log.info("feeds are watched again")
            down = False
            self.ticks += 1
            for workspace_id, last_offset in offsets.items():
                if self._last_offsets.get(workspace_id) != last_offset:
                    grown_at = time.monotonic()
                    self._wake(workspace_id, last_offset)
            is_lively = time.monotonic() - grown_at < _LIVELY_SECONDS
            await asyncio.sleep(self._tick_seconds / (_LIVELY_TICKS if is_lively else 1))

    def close(self) -> None:
        """Wake everybody: the process ends."""
        self._closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake(grown=False)

    def _wake(self, workspace_id: WorkspaceId, last_offset: FeedOffset) -> None:
        waiters = self._waiters.get(workspace_id)
        if waiters is None:
            return
        self._last_offsets[workspace_id] = last_offset
        for waiter in waiters:
            if waiter.after < last_offset:
                waiter.wake(grown=True)

    def _forget_the_left(self) -> None:
        """A feed is watched a little longer than somebody waits for it: a change wakes all who do, and
        they ask again at once.
        """
        now = time.monotonic()
        left = [
            workspace_id
            for workspace_id, waiters in self._waiters.items()
            if not waiters and now - self._left_at[workspace_id] >= _LINGER_SECONDS
        ]
        for workspace_id in left:
            del self._waiters[workspace_id]
            del self._left_at[workspace_id]
            self._last_offsets.pop(workspace_id, None)

    def _release_the_gone(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                if waiter.is_gone():
                    waiter.wake(grown=False)
