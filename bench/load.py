"""The load generator: keep-alive connections that post prepared bytes. The same one for hub and floor.

It speaks just enough HTTP/1.1, because a full client costs more CPU than the server that it measures.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Load:
    """What a run came to: seconds in all, latencies in ms, answers by status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def failed(self, *good: int) -> int:
        """Answers of another status than the good ones."""
        return sum(count for status, count in self.statuses.items() if status not in good)

    def percentile(self, share: float) -> float:
        return percentile(self.latencies, share)


SHARES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999)


def percentile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=1000)[int(share * 1000) - 1]


def curve(values: Sequence[float]) -> list[tuple[float, float]]:
    """Some percentiles and their values, those that so many values can tell."""
    return [(s, percentile(values, s)) for s in SHARES if len(values) * (1 - s) >= 1]


def post(path: str, body: bytes, token: str, *more: str) -> bytes:
    """A request as it goes over the wire."""
    head = "".join(
        f"{line}\r\n"
        for line in (
            f"POST {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *more,
        )
    )
    return head.encode() + b"\r\n" + body


class _Connection(asyncio.Protocol):
    """Posts one request after the other until there are none."""

    def __init__(
        self, requests: Iterator[bytes], load: Load, done: asyncio.Future[None], tick: Callable[[], None]
    ) -> None:  # fmt: skip
        self._requests = requests
        self._load = load
        self._tick = tick
        self.done = done
        self._received = b""
        self._started = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            length = content_length(received[:end])
            if len(received) >= end + 4 + length:
                self._received = b""
                load = self._load
                load.statuses[int(received[9:12])] += 1
                load.latencies.append((time.perf_counter() - self._started) * 1000)
                self._tick()
                self._next()
                return
        self._received = received

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(request)


def content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"content-length:")
    if start < 0:
        return 0
    end = lowered.find(b"\r\n", start)
    return int(lowered[start + 15 : end if end >= 0 else None])


async def run(
    port: int, requests: Iterable[bytes], connections: int, tick: Callable[[], None] = lambda: None
) -> Load:
    """Post all requests over so many connections, each waiting for its answer (closed loop)."""
    load = Load()
    shared = iter(requests)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    waiting = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(
            lambda done=done: _Connection(shared, load, done, tick),  # type: ignore[misc]  # default binds
            "127.0.0.1",
            port,
        )
    await asyncio.gather(*waiting)
    load.seconds = time.perf_counter() - started
    return load


class Paced:
    """Requests at a rate (open loop), whatever the answers do.

    A latency counts from the moment at which a request was due, not from when a connection came free for
    it or this process came to send it: what waits behind a slow answer is not left out (coordinated
    omission). `rate` may be changed on the way; `dues` are the moments, by number of the request.
    """

    def __init__(self, port: int, connections: int, rate: float) -> None:
        self.rate = rate
        self.load = Load()
        self.dues: list[float] = []
        self._port = port
        self._connections = connections
        self._free: asyncio.Queue[_OneShot] = asyncio.Queue()

    async def run(self, requests: Iterable[bytes], tick: Callable[[], None] = lambda: None) -> Load:
        """Post all and wait for the answers."""
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, protocol = await loop.create_connection(
                lambda: _OneShot(self._free, self.load, tick), "127.0.0.1", self._port
            )
            self._free.put_nowait(protocol)
        started = due = time.perf_counter()
        for request in requests:
            # 0 too: answers must be seen also while we are late
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            self.dues.append(due)
            (await self._free.get()).post(request, due)
            due += 1 / self.rate
        for _ in range(self._connections):
            (await self._free.get()).close()
        self.load.seconds = time.perf_counter() - started
        return self.load


class _OneShot(asyncio.Protocol):
    """Posts a request when it is told, and is free again once it is answered."""

    def __init__(self, free: asyncio.Queue[_OneShot], load: Load, tick: Callable[[], None]) -> None:
        self._free = free
        self._load = load
        self._tick = tick
        self._received = b""
        self._due = 0.0
        self._busy = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self._busy:  # no answer: told as one that no server gives
            self._done(0)

    def post(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due, self._busy = due, True
        if self._transport.is_closing():
            self._done(0)
        else:
            self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or len(self._received) < end + 4 + content_length(self._received[:end]):
            return
        status = int(self._received[9:12])
        self._received = b""
        self._done(status)

    def _done(self, status: int) -> None:
        self._busy = False
        self._load.statuses[status] += 1
        self._load.latencies.append((time.perf_counter() - self._due) * 1000)
        self._tick()
        self._free.put_nowait(self)
