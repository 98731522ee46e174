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
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.load import content_length, percentile

PAUSE_SECONDS = 0.002


@dataclass(slots=True)
class Answers:
    """Of one status: when each request was sent (seconds since the start), and its latency in ms."""

    at: array[float] = field(default_factory=lambda: array("d"))
    latency: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True, kw_only=True)
class Record:
    """All answers of a run, by status. `unsent` requests found no free connection at their time."""

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


def for_seconds(requests: Sequence[bytes], seconds: float) -> Iterator[bytes]:
    """For `load.run`: the requests again and again until the time is over."""
    until = time.perf_counter() + seconds
    for request in itertools.cycle(requests):
        if time.perf_counter() > until:
            return
        yield request


def p99(latencies: Sequence[float]) -> float:
    """0 if there are too few to tell."""
    return percentile(latencies, 0.99) if len(latencies) >= 2 else 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, load: OpenLoop) -> None:
        self._load = load
        self._received = b""
        self._sent_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def post(self, request: bytes) -> None:
        assert self.transport is not None
        self._sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or len(self._received) < end + 4 + content_length(self._received[:end]):
            return
        status = int(self._received[9:12])
        self._received = b""
        self._load.answered(self, self._sent_at, status)


class OpenLoop:
    """So many connections; `run` sends over those that are free."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._wanted = connections
        self._all: list[_Connection] = []
        self._free: list[_Connection] = []
        self._record = Record()
        self._started = 0.0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._wanted):
            _, made = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self._port
            )
            self._all.append(made)
        self._free = list(self._all)

    def close(self) -> None:
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.close()

    def answered(self, connection: _Connection, sent_at: float, status: int) -> None:
        now = time.perf_counter()
        at, latency = sent_at - self._started, (now - sent_at) * 1000
        found = self._record.answers[status]
        found.at.append(at)
        found.latency.append(latency)
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
                    self._free.pop().post(next(source))
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
