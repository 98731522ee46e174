"""Many connections that do nothing must not keep an honest client from being served."""

from __future__ import annotations

import asyncio
import resource
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from headwater.http.connection import SPARE_FILES, connections_that_fit
from tests.hub import Client, Hub, eventually, make_client
from tests.servers import web_beside

MANY = 10_000
LIMIT = 100
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
SENT = (b"", REQUEST[:20], REQUEST)
"""Of each kind a third: connections that say nothing, half a head, and a request, and then nothing more."""


@pytest.fixture
def open_files() -> Iterator[None]:
    """As many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + SPARE_FILES:
        pytest.skip(f"this system allows only {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open(port: int, count: int) -> list[socket.socket]:
    made = []
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        # a reset at the end: no port stays taken for a minute
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(SENT[number % len(SENT)])
        made.append(connection)
    return made


def _read_answers(connections: list[socket.socket]) -> None:
    for number, connection in enumerate(connections):
        if SENT[number % len(SENT)] == REQUEST:
            assert connection.recv(12) == b"HTTP/1.1 200"


def _ended(connections: list[socket.socket]) -> int:
    """How many the other side has ended."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLRDHUP)
    return len(poll.poll(0))


def _resident(hub: Hub) -> int:
    assert hub.web is not None
    return int(psutil.Process(hub.web.pid).memory_info().rss)


async def test_an_honest_client_is_served_beside_10_000_connections(
    hub: Hub, client: Client, open_files: None
) -> None:
    before = _resident(hub)
    connections = await asyncio.to_thread(_open, hub.port, MANY)
    try:
        began = time.monotonic()
        made = await client.customer(externalId="a1")
        assert (await client.call("GET", f"/customers/{made['id']}")).body == made
        seconds = time.monotonic() - began
        grown = _resident(hub) - before
        # those that say nothing are let go soon, the others are all there
        assert _ended(connections) <= 2 * MANY // 3 + 1
        print(f"{seconds:.3f} s for a write and a read; {grown / MANY:.0f} bytes a connection")  # noqa: T201
        assert seconds < 5
        assert grown < MANY * 40_000

        async def are_let_go() -> Any:
            return _ended(connections) >= 2 * (MANY // 3)

        await eventually(are_let_go, 40, "the slow heads to be let go")
    finally:
        for connection in connections:
            connection.close()


@pytest.fixture
def small(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    limits = {"HEADWATER_HTTP_CONNECTIONS": str(LIMIT), "HEADWATER_HTTP_HEAD_SECONDS": "60"}
    with web_beside(hub, server_folder / "small", limits) as running:
        yield running


async def test_beyond_the_limit_those_go_that_have_idled_for_longest(small: Hub) -> None:
    async with make_client(small) as client:
        await _crowd(small, client)


async def _crowd(small: Hub, client: Client) -> None:
    waiting = asyncio.create_task(
        client.call("GET", "/updates", params={"offset": "0", "wait": "30"})
    )
    await asyncio.to_thread(_exchange, small)
    first = await asyncio.to_thread(_open, small.port, LIMIT // 2)
    await asyncio.to_thread(_read_answers, first)  # so that these are the ones that came first
    later = await asyncio.to_thread(_open, small.port, 3 * LIMIT // 4)
    # what is not yet served does not idle: without an idle one the newest would be cut
    await asyncio.to_thread(_read_answers, later)
    later += await asyncio.to_thread(_open, small.port, LIMIT // 4)
    try:

        async def have_gone() -> Any:
            return _ended(first) == len(first)

        await eventually(have_gone, 10, "the first to be cut")
        newest = later[-LIMIT // 4 :]
        assert _ended(newest) == 0
        made = await client.customer(externalId="a1")
        # who was being served stayed
        answer = await asyncio.wait_for(waiting, 30)
        assert [update["entity"]["data"]["id"] for update in answer.body["updates"]] == [made["id"]]
    finally:
        for connection in [*first, *later]:
            connection.close()
    events = [line["event"] for line in small.log_of("web")]
    assert events.count("too many connections, cutting those that idle") == 1


def _exchange(hub: Hub) -> None:
    """A request and its answer: what was sent before has arrived."""
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
        connection.sendall(REQUEST)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_process_raises_its_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
        assert connections_that_fit(2_000) == 2_000
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (2_000 + SPARE_FILES, hard)
        # it never lowers it
        assert connections_that_fit(10) == 10
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (2_000 + SPARE_FILES, hard)
        # and beyond what the system allows, it takes fewer
        if hard != resource.RLIM_INFINITY:
            assert connections_that_fit(10 * hard) == hard - SPARE_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
