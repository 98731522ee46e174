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


def percentile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=1000)[int(share * 1000) - 1]


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
            length = _content_length(received[:end])
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


def _content_length(head: bytes) -> int:
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
    """Requests at a fixed rate (open loop), each sent at its time whatever the answers do."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._free: asyncio.Queue[_OneShot] = asyncio.Queue()
        self._connections = connections

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, protocol = await loop.create_connection(
                lambda: _OneShot(self._free), "127.0.0.1", self._port
            )
            self._free.put_nowait(protocol)

    async def send(self, request: bytes) -> None:
        """Take a free connection and write; the answer frees it again."""
        (await self._free.get()).post(request)

    async def close(self) -> Counter[int]:
        """Wait for all answers; how many of each status."""
        statuses: Counter[int] = Counter()
        for _ in range(self._connections):
            protocol = await self._free.get()
            statuses.update(protocol.statuses)
            protocol.close()
        return statuses


class _OneShot(asyncio.Protocol):
    def __init__(self, free: asyncio.Queue[_OneShot]) -> None:
        self._free = free
        self._received = b""
        self.statuses: Counter[int] = Counter()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def post(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or len(self._received) < end + 4 + _content_length(self._received[:end]):
            return
        self.statuses[int(self._received[9:12])] += 1
        self._received = b""
        self._free.put_nowait(self)
