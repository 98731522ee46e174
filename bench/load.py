"""The load generator: keep-alive connections that post prepared bytes. The same one for hub and floor.

It speaks just enough HTTP/1.1, because a full client costs more CPU than the server that it measures.
"""

from __future__ import annotations

import asyncio
import itertools
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

    def count(self, status: int, since: float) -> None:
        """An answer that came now."""
        self.statuses[status] += 1
        self.latencies.append((time.perf_counter() - since) * 1000)

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


class Connection(asyncio.Protocol):
    """One request at a time: `post` it, and `answered` is called with the status, 0 if none came."""

    def __init__(self, answered: Callable[[Connection, int], None]) -> None:
        self._answered = answered
        self._received = b""
        self._is_busy = False
        self._transport: asyncio.Transport | None = None
        self.since = 0.0
        """When the request that is under way was due or sent, whichever its latency counts from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self._is_busy:
            self._tell(0)

    def post(self, request: bytes, since: float) -> None:
        assert self._transport is not None
        self.since, self._is_busy = since, True
        if self._transport.is_closing():
            self._tell(0)
        else:
            self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if not is_whole(received):
            self._received = received
            return
        self._received = b""
        self._tell(int(received[9:12]))

    def _tell(self, status: int) -> None:
        self._is_busy = False
        self._answered(self, status)


def is_whole(received: bytes) -> bool:
    """Whether an answer is there to its end."""
    end = received.find(b"\r\n\r\n")
    return end >= 0 and len(received) >= end + 4 + content_length(received[:end])


def content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"content-length:")
    if start < 0:
        return 0
    end = lowered.find(b"\r\n", start)
    return int(lowered[start + 15 : end if end >= 0 else None])


def for_seconds(requests: Sequence[bytes], seconds: float) -> Iterator[bytes]:
    """For `run`: the requests again and again until the time is over."""
    until = time.perf_counter() + seconds
    for request in itertools.cycle(requests):
        if time.perf_counter() >= until:
            return
        yield request


async def run(
    port: int, requests: Iterable[bytes], connections: int, tick: Callable[[], None] = lambda: None
) -> Load:
    """Post all requests over so many connections, each waiting for its answer (closed loop).

    Raises:
        ConnectionResetError: the server closed a connection without an answer.
    """
    load = Load()
    shared = iter(requests)
    loop = asyncio.get_running_loop()
    running: dict[Connection, asyncio.Future[None]] = {}

    def go_on(connection: Connection) -> None:
        request = next(shared, None)
        if request is not None:
            connection.post(request, time.perf_counter())
            return
        connection.close()
        running[connection].set_result(None)

    def answered(connection: Connection, status: int) -> None:
        if not status:
            lost = ConnectionResetError("the server closed the connection")
            running[connection].set_exception(lost)
            return
        load.count(status, connection.since)
        tick()
        go_on(connection)

    started = time.perf_counter()
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: Connection(answered), "127.0.0.1", port
        )
        running[connection] = loop.create_future()
        go_on(connection)
    await asyncio.gather(*running.values())
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
        self._free: asyncio.Queue[Connection] = asyncio.Queue()

    async def run(self, requests: Iterable[bytes], tick: Callable[[], None] = lambda: None) -> Load:
        """Post all and wait for the answers."""
        loop = asyncio.get_running_loop()

        def answered(connection: Connection, status: int) -> None:
            self.load.count(status, connection.since)  # 0 too: told as one that no server gives
            tick()
            self._free.put_nowait(connection)

        for _ in range(self._connections):
            _, connection = await loop.create_connection(
                lambda: Connection(answered), "127.0.0.1", self._port
            )
            self._free.put_nowait(connection)
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
