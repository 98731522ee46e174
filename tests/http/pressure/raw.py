"""Requests that take their time: connections whose bytes a test sends one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.hub import Client


@dataclass(slots=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, seconds: float = 10) -> tuple[int, dict[str, str], Any]:
        """Status, headers with lower-case names, body."""
        async with asyncio.timeout(seconds):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
            }
            raw = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, json.loads(raw) if raw else None

    async def is_closed(self, seconds: float = 10) -> bool:
        """Whether the server has closed it, with whatever it sent before."""
        try:
            async with asyncio.timeout(seconds):
                while await self.reader.read(65_536):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.hub.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def head(client: Client, path: str, length: int, *lines: str) -> bytes:
    """The head of a POST whose body has so many bytes."""
    every = [
        f"POST {client.path(path)} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {client.token}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        *lines,
    ]
    return "".join(f"{line}\r\n" for line in every).encode() + b"\r\n"


@asynccontextmanager
async def at_work(client: Client, count: int, body: bytes) -> AsyncIterator[list[Connection]]:
    """So many posts of this event that were let in, and lack their last byte."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(connected(client)) for _ in range(count)]
        for connection in made:
            # the word to go on comes when the handler begins: then it has its place
            await connection.send(head(client, "/events", len(body), "Expect: 100-continue"))
        for connection in made:
            async with asyncio.timeout(10):
                line = await connection.reader.readuntil(b"\r\n\r\n")
            assert line.startswith(b"HTTP/1.1 100"), line
            await connection.send(body[:-1])
        yield made
