"""Clients that take their time on purpose, or take what is sent to them never.

Each is let go within a limit, and none keeps an honest client from being served meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.hub import Client, Hub, eventually, make_client
from tests.openapi import Document

ENOUGH_SECONDS = 15
"""For what should take one or two, on a busy machine."""


async def _connect(hub: Hub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", hub.port)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends; a cut ends it too."""
    parts = []
    try:
        async with asyncio.timeout(ENOUGH_SECONDS):
            while part := await reader.read(65_536):
                parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


async def _trickle(writer: asyncio.StreamWriter, pieces: AsyncIterator[bytes]) -> None:
    """Send piece after piece, until nobody takes them."""
    try:
        async for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
    except ConnectionError:
        pass


async def _endless(piece: bytes) -> AsyncIterator[bytes]:
    while True:
        yield piece


def _is_timeout(raw: bytes, sentence: str) -> None:
    head, _, text = raw.partition(b"\r\n\r\n")
    assert head.split(b" ", 1)[1].startswith(b"408 "), raw[:200]
    body = json.loads(text)
    assert body == {
        "message": "request timeout",
        "logref": body["logref"],
        "data": None,
        "errors": [{"message": sentence, "path": "", "code": None, "data": None}],
    }


HEAD_SENTENCE = "the head of the request took longer than 1 s"
BODY_SENTENCE = "the body took longer than 1 s"


async def test_a_head_that_trickles_is_answered_408(narrow: Hub) -> None:
    reader, writer = await _connect(narrow)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
    trickling = asyncio.create_task(_trickle(writer, _endless(b"X-Header: a\r\n")))
    try:
        _is_timeout(await _rest(reader), HEAD_SENTENCE)
    finally:
        trickling.cancel()
        writer.close()


async def test_a_head_that_trickles_behind_an_answered_request_is_answered_408(
    narrow: Hub,
) -> None:
    reader, writer = await _connect(narrow)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-")
    try:
        _is_timeout(await _rest(reader), HEAD_SENTENCE)
    finally:
        writer.close()


async def test_a_head_that_grows_is_refused(narrow: Hub) -> None:
    """Each line and their number are allowed; together they would be a megabyte a connection."""
    reader, writer = await _connect(narrow)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
    try:
        for number in range(100):
            writer.write(b"X-%d: %b\r\n" % (number, b"x" * 8_000))
            await writer.drain()
    except ConnectionError:
        pass
    raw = await _rest(reader)
    writer.close()
    if raw:  # a client that goes on sending may lose the answer
        assert raw.split(b" ", 1)[1].startswith(b"400 ")
        body = json.loads(raw.partition(b"\r\n\r\n")[2])
        assert body["errors"][0]["message"] == "the URL or a header is too long"
    events = [line.get("reason") for line in narrow.log_of("web")]
    assert "malformed_request" in events


async def test_a_connection_that_says_nothing_is_cut(narrow: Hub) -> None:
    reader, writer = await _connect(narrow)
    assert await _rest(reader) == b""
    writer.close()


async def test_a_connection_that_idles_behind_its_request_is_cut(narrow: Hub) -> None:
    reader, writer = await _connect(narrow)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await _rest(reader)).count(b"HTTP/1.1 200 ") == 1
    writer.close()


async def test_a_connection_that_is_used_now_and_then_is_kept(narrow: Hub) -> None:
    """Longer than each of the limits."""
    reader, writer = await _connect(narrow)
    began = time.monotonic()
    while time.monotonic() - began < 3:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        await asyncio.sleep(0.5)
    writer.close()


def _post(client: Client, path: str, *headers: bytes) -> bytes:
    lines = [
        f"POST {client.path(path)} HTTP/1.1".encode(),
        b"Host: x",
        f"Authorization: Bearer {client.token}".encode(),
        b"Content-Type: application/json",
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize("path", ["/customers", "/events", "/events/batch", "/customers/batch"])
async def test_a_body_that_trickles_is_answered_408(
    narrow: Hub, narrow_client: Client, path: str
) -> None:
    reader, writer = await _connect(narrow)
    writer.write(_post(narrow_client, path, b"Content-Length: 60000") + b'{"x":"')
    trickling = asyncio.create_task(_trickle(writer, _endless(b"x")))
    try:
        raw = await _rest(reader)
    finally:
        trickling.cancel()
        writer.close()
    _is_timeout(raw, BODY_SENTENCE)
    head, _, text = raw.partition(b"\r\n\r\n")
    named = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    headers = dict(named)
    Document().check("POST", narrow_client.path(path), 408, headers, text)


async def test_chunks_that_trickle_are_answered_408(narrow: Hub, narrow_client: Client) -> None:
    reader, writer = await _connect(narrow)
    writer.write(_post(narrow_client, "/events", b"Transfer-Encoding: chunked"))
    trickling = asyncio.create_task(_trickle(writer, _endless(b"1\r\nx\r\n")))
    try:
        _is_timeout(await _rest(reader), BODY_SENTENCE)
    finally:
        trickling.cancel()
        writer.close()


async def test_a_write_whose_body_never_ends_leaves_no_trace(
    narrow: Hub, narrow_client: Client
) -> None:
    body = json.dumps({"nodeId": narrow_client.node_id, "externalId": "a1"}).encode()
    reader, writer = await _connect(narrow)
    length = f"Content-Length: {len(body) + 1}".encode()
    writer.write(_post(narrow_client, "/customers", length) + body)
    _is_timeout(await _rest(reader), BODY_SENTENCE)
    writer.close()
    made = await narrow_client.customer(externalId="b1")
    assert [update["entity"]["data"]["id"] for update in await narrow_client.feed_of(1)] == [
        made["id"]
    ]


def _deaf_socket(port: int) -> socket.socket:
    """A connection with the smallest of buffers, that nobody reads from."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    made.connect(("127.0.0.1", port))
    return made


def _is_cut(connection: socket.socket) -> bool:
    """Whether the other side has given the connection up, without reading from it."""
    # the state in the kernel's table of TCP: 7 is closed, as after a reset
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    (state,) = struct.unpack_from("B", info)
    return bool(state == 7)


async def _make_customers(client: Client, megabytes: int) -> None:
    for part in range(megabytes):
        customers = [
            {"nodeId": client.node_id, "externalId": f"{part}-{number}", "extra": "x" * 50_000}
            for number in range(20)
        ]
        answer = await client.call("POST", "/customers/batch", {"customers": customers})
        assert answer.body["accepted"] == len(customers)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/updates?offset=0&size=4000", "application/json"),
        ("/updates?offset=0", "application/x-ndjson"),
        ("/updates?offset=0", "text/event-stream"),
        ("/customers?size=50&nodeId=", "application/json"),
    ],
)
async def test_a_reader_that_takes_nothing_is_cut(
    narrow: Hub, big: Client, path: str, accept: str
) -> None:
    there = big.path(path + (big.node_id if path.endswith("=") else ""))
    connection = _deaf_socket(narrow.port)
    head = f"GET {there} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {big.token}\r\n"
    connection.sendall(f"{head}Accept: {accept}\r\n\r\n".encode())
    try:

        async def is_cut() -> Any:
            return _is_cut(connection)

        await eventually(is_cut, ENOUGH_SECONDS, "the reader to be cut")
        assert (await big.call("GET", "/updates/last-offset")).status == 200
    finally:
        connection.close()


async def test_a_reader_that_asks_for_much_and_takes_no_answer_is_cut(
    narrow: Hub, big: Client
) -> None:
    """Answers that are small, so that what is kept for it never fills a buffer of ours."""
    connection = _deaf_socket(narrow.port)
    connection.setblocking(False)
    request = (
        f"GET {big.path('/updates?offset=0&size=2')} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {big.token}\r\n\r\n"
    ).encode()

    async def is_cut() -> Any:
        try:
            connection.send(request * 20)
        except BlockingIOError:
            pass
        except ConnectionError:
            return True
        return _is_cut(connection)

    try:
        await eventually(is_cut, ENOUGH_SECONDS, "the reader to be cut")
    finally:
        connection.close()


async def test_a_reader_that_is_slow_but_reads_gets_all(narrow: Hub, big: Client) -> None:
    """It takes several times the limit, and has taken something within each."""
    reader, writer = await _connect(narrow)
    there = big.path("/updates?offset=0&size=4000")
    head = f"GET {there} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {big.token}\r\n\r\n"
    writer.write(head.encode())
    whole = b""
    while part := await reader.read(262_144):
        whole += part
        await asyncio.sleep(0.15)
    writer.close()
    body = json.loads(whole.partition(b"\r\n\r\n")[2])
    assert len(whole) > 8_000_000
    assert body["nextOffset"] == len(body["updates"])


@pytest.fixture(scope="module")
async def big(narrow: Hub) -> AsyncIterator[Client]:
    """A workspace with more to read than the buffers between two processes hold."""
    async with make_client(narrow) as client:
        await _make_customers(client, 10)
        yield client
