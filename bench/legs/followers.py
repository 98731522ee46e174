"""Thousands who wait for the feed of one process: their cost while nothing happens, and a change for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import is_whole, post, run
from bench.report import MEMORY_MB, Row, at_most

CHANGES = 3
PATIENCE_SECONDS = 60
WAIT_SECONDS = (30, 60)
"""A poller asks anew after so long, each after another time: all at once would be a beat of the bench."""
_WAVE = 100


class _Crowd:
    """Counts whom a change has reached, by when."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.arrivals: list[float] = []
        self.all_reached = asyncio.Event()
        self.lost = 0
        self.refused = 0

    def expect_change(self) -> None:
        self.arrivals.clear()
        self.all_reached.clear()

    def reached(self) -> None:
        self.arrivals.append(time.perf_counter())
        if len(self.arrivals) == self._size:
            self.all_reached.set()


class _Poller(asyncio.Protocol):
    """Asks for what comes after an offset; when that is answered, again."""

    def __init__(self, crowd: _Crowd, ask: Callable[[int], bytes], after: int) -> None:
        self._crowd = crowd
        self._ask = ask
        self._after = after
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._ask(self._after))

    def connection_lost(self, _: Exception | None) -> None:
        self._crowd.lost += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not is_whole(self._received):
            return
        status, tail = self._received[9:12], self._received[-40:]
        assert self._transport is not None
        if status == b"503":  # as every client: again, after a while
            self._crowd.refused += 1
            self._received = b""
            asyncio.get_running_loop().call_later(1, self._transport.write, self._ask(self._after))
            return
        assert status == b"200", self._received[:200]
        after = int(tail[tail.rindex(b":") + 1 :].rstrip(b"}"))
        self._received = b""
        if after > self._after:
            self._after = after
            self._crowd.reached()
        self._transport.write(self._ask(after))


class _Stream(asyncio.Protocol):
    """Follows server-sent events."""

    def __init__(self, crowd: _Crowd, request: bytes) -> None:
        self._crowd = crowd
        self._request = request
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, _: Exception | None) -> None:
        self._crowd.lost += 1

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 503"):
            self._crowd.refused += 1
            assert self._transport is not None
            asyncio.get_running_loop().call_later(1, self._transport.write, self._request)
        elif b"event: update\n" in data:
            self._crowd.reached()


async def measure(context: Context) -> list[Row]:
    """A process of its own, so that its memory is that of the crowd."""
    servers, sizes, pace = context.servers, context.sizes, context.pace
    await servers.start_processor()
    servers.stop("web")
    # one workspace gets half of the places
    readers = 2 * (sizes.pollers + sizes.streams)
    await servers.start_web(HEADWATER_STREAM_READERS=str(readers))
    await servers.drained()
    after = await servers.conn.fetchval(
        "SELECT last_offset FROM feeds WHERE workspace_id = $1", servers.demo.workspace_id
    )
    crowd = _Crowd(sizes.pollers + sizes.streams)
    transports = await _gather_crowd(context, crowd, after)
    try:
        with progress("followers: first change", None):
            await _change(context, crowd, 0)  # whoever has got it waits there
        with progress("followers: idle", None):
            before, started = servers.usage(), time.perf_counter()
            await asyncio.sleep(sizes.idle_seconds)
            elapsed = time.perf_counter() - started
            used = servers.usage().minus(before)
        reached = []
        with progress("followers: changes", CHANGES) as tick:
            for number in range(CHANGES):
                reached.append(await _change(context, crowd, 1 + number))
                await asyncio.sleep(1)  # until they wait again
                tick()
        assert not crowd.lost, f"{crowd.lost} connections were lost"
        peak = servers.peak_mb("web")
    finally:
        for transport in transports:
            transport.abort()
    idle = used["web"] / elapsed * 100
    last = max(seconds for seconds, _ in reached)
    return [
        Row(
            name=f"followers, {sizes.pollers:,} + {sizes.streams:,}",
            unit="ms until a change has reached all",
            value=last * 1000,
            aims=[
                pace.at_most("% of a core", idle, 10),
                at_most("web MB", peak, MEMORY_MB),
                pace.at_most("s until all have it", last, 1),
                at_most("refused", crowd.refused, 0),
            ],
            more={
                "% of a core, idle": idle,
                "refused": crowd.refused,
                "ms until half have it": max(half for _, half in reached) * 1000,
            },
            peak_mb={"web": peak},
        )
    ]


async def _gather_crowd(context: Context, crowd: _Crowd, after: int) -> list[asyncio.Transport]:
    servers, sizes = context.servers, context.sizes
    loop = asyncio.get_running_loop()
    port, token = servers.ports["web"], servers.demo.token
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    stream = (
        f"GET {servers.base}/updates?offset={after} HTTP/1.1\r\n{head}"
        "Accept: text/event-stream\r\n\r\n"
    ).encode()

    def poll_every(seconds: int) -> Callable[[int], bytes]:
        return lambda offset: (
            f"GET {servers.base}/updates?offset={offset}&wait={seconds} HTTP/1.1\r\n{head}\r\n"
        ).encode()

    shortest, longest = WAIT_SECONDS
    # its token is known before it comes: a process asks Postgres who that is for each that comes until then
    await run(port, [f"GET {servers.base}/updates/last-offset HTTP/1.1\r\n{head}\r\n".encode()], 1)
    polls = [poll_every(seconds) for seconds in range(shortest, longest + 1)]
    made: list[Callable[[], asyncio.Protocol]] = [
        lambda n=n: _Poller(crowd, polls[n % len(polls)], after)  # type: ignore[misc]
        for n in range(sizes.pollers)
    ]
    made += [lambda: _Stream(crowd, stream)] * sizes.streams
    transports = []
    with progress("followers: connect", len(made)) as tick:
        for start in range(0, len(made), _WAVE):
            wave = made[start : start + _WAVE]
            opened = [loop.create_connection(each, "127.0.0.1", port) for each in wave]
            transports += [transport for transport, _ in await asyncio.gather(*opened)]
            tick(len(wave))
    return transports


async def _change(context: Context, crowd: _Crowd, number: int) -> tuple[float, float]:
    """Post an event; seconds until all and until half have it."""
    servers = context.servers
    body = orjson.dumps(order(servers.demo, number))
    crowd.expect_change()
    started = time.perf_counter()
    await run(servers.ports["web"], [post(f"{servers.base}/events", body, servers.demo.token)], 1)
    try:
        await asyncio.wait_for(crowd.all_reached.wait(), PATIENCE_SECONDS)
    except TimeoutError:
        raise TimeoutError(
            f"a change reached {len(crowd.arrivals)} in {PATIENCE_SECONDS} s; {crowd.refused} were refused, "
            f"{crowd.lost} lost"
        ) from None
    arrivals = sorted(crowd.arrivals)
    return arrivals[-1] - started, arrivals[len(arrivals) // 2] - started
