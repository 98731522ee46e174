"""Readers of the feed that take nothing: they cost a step each, for a while, and nobody else anything."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
import pytest

from tests.http.pressure.conftest import SEND_SECONDS
from tests.http.pressure.raw import Connection
from tests.hub import Client, Hub, eventually

SLOW = 24
"""Three times as many as the process has connections to Postgres."""

PRODUCTS = [
    {"id": f"p-{n}", "sku": f"sku-{n}", "name": "A product with a name", "price": 12.5}
    for n in range(600)
]
"""An event of about 50 kB."""

EVENTS = 200
"""About 10 MB: more than the buffers of a connection hold."""


@asynccontextmanager
async def reading_nothing(client: Client, path: str, accept: str) -> AsyncIterator[Connection]:
    """A request for the feed whose client's window is small, and whose answer nobody takes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", client.hub.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    try:
        lines = (
            f"GET {client.path(path)} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {client.token}",
            f"Accept: {accept}",
        )
        writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
        await writer.drain()
        yield Connection(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def full(crowd: Client) -> Client:
    """A workspace with a large feed."""
    for _ in range(EVENTS // 10):
        events = [
            crowd.event(
                type="completedOrder",
                context="ECOMMERCE",
                properties={"orderId": str(number), "products": PRODUCTS},
            )
            for number in range(10)
        ]
        answer = await crowd.call("POST", "/events/batch", {"events": events})
        assert answer.status == 202, answer
        assert answer.body["rejected"] == 0, answer.body
    await crowd.feed_of(EVENTS)
    return crowd


def _resident_mb(hub: Hub) -> float:
    assert hub.web is not None
    return float(psutil.Process(hub.web.pid).memory_info().rss) / 1e6


def _cut(hub: Hub) -> int:
    """How many clients were cut off, as the log tells."""
    lines = hub.log_of("web")
    return sum(1 for line in lines if line["event"] == "cut off, the client takes nothing")


async def _seconds_to_read(client: Client) -> float:
    started = time.perf_counter()
    answer = await client.call("GET", "/updates?size=10")
    assert answer.status == 200
    return time.perf_counter() - started


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_a_slow_reader_costs_only_itself(
    full: Client, honest: Client, tight_hub: Hub, accept: str
) -> None:
    await honest.customer(externalId="a")
    before, cut = _resident_mb(tight_hub), _cut(tight_hub)
    # of readers that follow the process takes few: two of one workspace, of four
    slow = SLOW if accept == "application/json" else 2
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(reading_nothing(full, "/updates?size=4000", accept))
            for _ in range(slow)
        ]
        seconds = sorted([await _seconds_to_read(honest) for _ in range(40)])
        assert seconds[-3] < 0.25
        assert _resident_mb(tight_hub) - before < 60
        assert len(readers) == slow

        async def are_cut() -> bool:
            return _cut(tight_hub) - cut == slow

        await eventually(are_cut, SEND_SECONDS + 20, "them to be cut off")
    assert (await full.call("GET", "/updates?size=1")).status == 200


async def test_readers_that_follow_are_bounded_and_shared_out(
    crowd: Client, honest: Client
) -> None:
    for client in (crowd, honest):
        assert (await client.call("GET", "/updates")).status == 200
    async with AsyncExitStack() as stack:

        async def follow(client: Client) -> int:
            request = client.http.get(
                client.path("/updates"),
                headers={"Authorization": f"Bearer {client.token}", "Accept": "text/event-stream"},
            )
            answer = await stack.enter_async_context(request)
            return answer.status

        assert [await follow(crowd) for _ in range(3)] == [200, 200, 503]
        assert await follow(honest) == 200
        refused = await crowd.call("GET", "/updates?wait=1")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert (await crowd.call("GET", "/updates")).status == 200

    async def is_free_again() -> bool:
        return (await crowd.call("GET", "/updates?wait=1")).status == 200

    await eventually(is_free_again, 20, "the readers that went to be noticed")
