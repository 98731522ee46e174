"""Load at a fixed rate (open loop): each request is sent at its time, whatever the answers do.

As clients behave in the wild: they don't know how busy the server is. A server that is too slow sees more and
more of them at once; `load.run` instead would wait for it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from array import array
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.load import Connection, percentile

PAUSE_SECONDS = 0.002


@dataclass(slots=True)
class Answers:
    """Of one status: when each request was sent (seconds since the start), and its latency in ms."""

    at: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True, kw_only=True)
class Record:
    """All answers of a run, by status (0: the connection was lost). `unsent` requests found no free connection at their time."""

    seconds: float = 0.0
    answers: dict[int, Answers] = field(default_factory=lambda: defaultdict(Answers))
    sent: int = 0
    answered: int = 0
    unsent: int = 0

    def latencies(self, status: int, begin: float = 0.0, end: float = math.inf) -> list[float]:
        """Of the requests that were sent between two moments."""
        found = self.answers[status]
        pairs = zip(found.at, found.latency, strict=True)
        return [latency for at, latency in pairs if begin <= at < end]

    def rate(self, status: int) -> float:
        return len(self.answers[status].at) / self.seconds

    def count_but(self, *statuses: int) -> int:
        """Answers of any other status."""
        return sum(len(a.at) for status, a in self.answers.items() if status not in statuses)


def p99(latencies: Sequence[float]) -> float:
    """0 if there are too few to tell."""
    return percentile(latencies, 0.99) if len(latencies) >= 2 else 0.0


class OpenLoop:
    """So many connections; `run` sends over those that are free."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._wanted = connections
        self._all: list[Connection] = []
        self._free: deque[Connection] = deque()
        """The one that was used longest ago is next: the server lets go of those that never say anything."""
        self._record = Record()
        self._started = 0.0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._wanted):
            _, made = await loop.create_connection(
                lambda: Connection(self._answered), "127.0.0.1", self._port
            )
            self._all.append(made)
        self._free = deque(self._all)

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        found = self._record.answers[status]
        found.at.append(connection.since - self._started)
        found.latency.append((now - connection.since) * 1000)
        self._record.answered += 1
        self._free.append(connection)

    async def run(self, requests: Sequence[bytes], rate: float, seconds: float) -> Record:
        """Send `rate` requests a second, and wait for the answers to all that were sent."""
        record = self._record = Record()
        started = self._started = time.perf_counter()
        source: Iterator[bytes] = itertools.cycle(requests)
        while (now := time.perf_counter() - started) < seconds:
            while record.sent + record.unsent < now * rate:
                if self._free:
                    self._free.popleft().post(next(source), time.perf_counter())
                    record.sent += 1
                else:
                    record.unsent += 1
            await asyncio.sleep(PAUSE_SECONDS)
        record.seconds = time.perf_counter() - started
        async with asyncio.timeout(60):
            while record.answered < record.sent:  # noqa: ASYNC110  # answers tell nobody
                await asyncio.sleep(PAUSE_SECONDS)
        return record


@asynccontextmanager
async def opened(port: int, connections: int) -> AsyncIterator[OpenLoop]:
    """An open loop whose connections are there."""
    load = OpenLoop(port, connections)
    try:
        await load.open()
        yield load
    finally:
        load.close()
