"""The throttle of a workspace: at most so many requests a minute (contacthub operations 20 and 21).

The minute slides: a request counts until it is a whole minute old, so no minute has more than the limit, wherever it
begins. A refused one doesn't count, and the platform's operators, who can raise the limit, are neither
counted nor refused.

Several web processes count each what they see and tell each other twice a second over Postgres. So the limit
is that of the workspace, but for a burst that they meet before they have told each other: then each admits up to
the limit, and the workspace waits until its minute holds less again. While Postgres is away each is alone.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable

from headwater import metrics
from headwater.clock import monotonic, sleep_until
from headwater.domain import refusal as refusals
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import WorkspaceId
from headwater.errors import Contended, Refused, Unavailable
from headwater.postgres.pool import Pool
from headwater.postgres.request_counts import delete_old_counts, exchange_counts

TICK_SECONDS = 0.4
MINUTE = 60
ELSEWHERE_SECONDS = 10
"""Said to a client whose minute is full of what other processes have let in: they don't tell when."""


class Window:
    """The requests of the last minute, by second. `others` is what other processes have counted."""

    __slots__ = ("_seconds", "others", "own")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        self.own = 0
        self.others = 0

    def admit(self, limit: int, now: float) -> int | None:
        """Count a request; or, if the minute is full, after how many seconds it won't be."""
        second = int(now)
        self.slide(now)
        too_many = self.own + self.others + 1 - limit
        if too_many > 0:
            for begun, count in self._seconds:
                too_many -= count
                if too_many <= 0:
                    return begun + MINUTE + 1 - second
            return ELSEWHERE_SECONDS
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += 1
        self.own += 1
        return None

    def slide(self, now: float) -> None:
        """Forget what is older than a minute; of a second that is partly older, nothing yet."""
        while self._seconds and self._seconds[0][0] < int(now) - MINUTE:
            self.own -= self._seconds.popleft()[1]


class Throttle:
    """The windows of the workspaces that have a limit. `run` tells other processes of them."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._instance = uuid.uuid4().hex
        self._windows: dict[WorkspaceId, Window] = {}
        metrics.THROTTLED_WORKSPACES.read_by(lambda: len(self._windows))

    def admit(self, config: WorkspaceConfig) -> None:
        """Count a request of a workspace that has a limit.

        Raises:
            Refused: 429, its minute is full.
        """
        window = self._windows.get(config.id)
        if window is None:
            window = self._windows[config.id] = Window()
        seconds = window.admit(config.max_requests_per_minute, self._clock())
        if seconds is not None:
            raise Refused(refusals.too_many_requests(seconds))

    async def exchange(self) -> None:
        """Tell the other processes what was counted here, and learn what they have counted."""
        now = self._clock()
        for workspace_id, window in list(self._windows.items()):
            window.slide(now)
            if not window.own:
                del self._windows[workspace_id]
        own = {workspace_id: window.own for workspace_id, window in self._windows.items()}
        if not own:
            return
        async with self._pool.connection() as conn:
            others = await exchange_counts(conn, self._instance, own)
        for workspace_id in own:
            window = self._windows[workspace_id]
            window.others = others.get(workspace_id, 0)

    async def run(self, stop: asyncio.Event) -> None:
        """Exchange until `stop`."""
        has_swept = False
        while not stop.is_set():
            try:
                if not has_swept:
                    async with self._pool.connection() as conn:
                        await delete_old_counts(conn)
                    has_swept = True
                await self.exchange()
            except (Unavailable, Contended):
                # who keeps the configuration fresh has said so; each process counts alone meanwhile
                for window in self._windows.values():
                    window.others = 0
            await sleep_until(stop, TICK_SECONDS)
