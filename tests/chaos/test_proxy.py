"""The proxies do to a connection what a fault says, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headwater.embedded.ports import LOOPBACK, kept_ports
from tests.chaos.proxy import Proxies

LEG = "echo"


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.stop()


@pytest.fixture
async def port(proxies: Proxies, tmp_path: Path) -> AsyncIterator[int]:
    """The proxy's port, before a server that sends back what it gets."""
    ports = kept_ports(tmp_path / "ports.json", ("proxy", "echo"))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1024):
                writer.write(piece)
        except ConnectionError:
            return
        finally:
            writer.close()

    async with await asyncio.start_server(echo, LOOPBACK, ports["echo"]):
        proxies.add(LEG, ports["proxy"], ports["echo"])
        yield ports["proxy"]


async def _said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello")
    return await reader.readexactly(5)


async def _connected_and_said(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    return await _said(reader, writer)


async def test_an_open_leg_passes_everything_on(port: int) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    assert await _said(reader, writer) == b"hello"
    writer.close()


async def test_a_cut_resets_what_is_connected(proxies: Proxies, port: int) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    assert await _said(reader, writer) == b"hello"
    proxies.change(LEG, cut=True)
    with pytest.raises(ConnectionError):
        await reader.readexactly(1)
    writer.close()
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    assert await _said(reader, writer) == b"hello"
    writer.close()


async def test_a_leg_that_refuses_resets_new_connections(proxies: Proxies, port: int) -> None:
    proxies.change(LEG, refuse=True)
    with pytest.raises(ConnectionError):
        await _connected_and_said(port)
    proxies.change(LEG, refuse=False)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    assert await _said(reader, writer) == b"hello"
    writer.close()


@pytest.mark.parametrize("deaf", ["up", "down", "both"])
async def test_a_half_open_leg_is_silent_until_it_hears_again(
    proxies: Proxies, port: int, deaf: str
) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    assert await _said(reader, writer) == b"hello"
    proxies.change(LEG, deaf=deaf)
    answer = asyncio.create_task(_said(reader, writer))
    done, _ = await asyncio.wait([answer], timeout=0.3)
    assert not done
    proxies.change(LEG, deaf="")
    assert await asyncio.wait_for(answer, 5) == b"hello"
    writer.close()


async def test_a_slow_leg_is_late(proxies: Proxies, port: int) -> None:
    proxies.change(LEG, delay_seconds=0.2)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    began = time.monotonic()
    assert await _said(reader, writer) == b"hello"
    assert time.monotonic() - began >= 0.4  # there and back
    writer.close()
