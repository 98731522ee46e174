"""TCP proxies between the parts of a hub, in a process of their own: `python -m tests.chaos.proxy`.

A leg is a kind of connection (client to ingest, ingest to Kafka, ...) with one listening port. The
process reads one JSON object a line from its input, and ends with it:

    {"leg": "client", "listen": 5000, "upstream": 6000}     a new leg
    {"leg": "client", "conduct": {...}, "cut": true}        how it behaves from now on

Each line is answered by the same line. `Proxies` is the other end of that.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

LOOPBACK = "127.0.0.1"
CHUNK = 65_536
_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How a leg treats its connections; the defaults pass everything on at once.

    - `refuse`: new connections are reset.
    - `deaf`: "up" forwards nothing to the server, "down" nothing to the client, "both" neither: a half-open
      line. New connections are accepted and stay silent too.
    - `delay_seconds` before each piece goes on; `bytes_per_second` at most (0: no limit).
    """

    refuse: bool = False
    deaf: str = ""
    delay_seconds: float = 0.0
    bytes_per_second: int = 0


OPEN = Conduct()


class _Leg:
    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.conduct = OPEN
        self.changed = asyncio.Event()
        self.writers: set[asyncio.StreamWriter] = set()

    def behave(self, conduct: Conduct, *, cut: bool) -> None:
        self.conduct = conduct
        self.changed.set()
        self.changed = asyncio.Event()
        if cut:
            for writer in self.writers:
                _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.conduct.refuse:
            _reset(writer)
            return
        self.writers.add(writer)
        server: asyncio.StreamWriter | None = None
        try:
            while self.conduct.deaf == "both":
                await self.changed.wait()
            answer, server = await asyncio.open_connection(LOOPBACK, self.upstream, limit=CHUNK)
            self.writers.add(server)
            pumps = {
                asyncio.create_task(self._pump(reader, server, "up")),
                asyncio.create_task(self._pump(answer, writer, "down")),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
        except OSError:
            _reset(writer)  # nobody listens there
        finally:
            for end in (writer, server):
                if end is not None:
                    self.writers.discard(end)
                    end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                if self.conduct.delay_seconds:
                    await asyncio.sleep(self.conduct.delay_seconds)
                if self.conduct.bytes_per_second:
                    await asyncio.sleep(len(piece) / self.conduct.bytes_per_second)
                while self.conduct.deaf in {direction, "both"}:
                    await self.changed.wait()
                writer.write(piece)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close as a cut line does: what is buffered is lost, the other side sees a reset."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
    writer.transport.abort()


async def _obey() -> None:
    legs: dict[str, _Leg] = {}
    servers = []
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        if "listen" in order:
            leg = legs[order["leg"]] = _Leg(order["upstream"])
            servers.append(
                await asyncio.start_server(
                    leg.serve, LOOPBACK, order["listen"], limit=CHUNK, backlog=512
                )
            )
        else:
            legs[order["leg"]].behave(Conduct(**order["conduct"]), cut=order["cut"])
        sys.stdout.write(line)
        sys.stdout.flush()
    for server in servers:
        server.close()
    for leg in legs.values():
        leg.behave(OPEN, cut=True)


class Proxies:
    """The process of the proxies, and orders to it."""

    def __init__(self) -> None:
        self._conducts: dict[str, Conduct] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def add(self, leg: str, listen: int, upstream: int) -> None:
        """Listen on a port and connect to another for each connection."""
        self._order({"leg": leg, "listen": listen, "upstream": upstream})
        self._conducts[leg] = OPEN

    def change(self, leg: str, *, cut: bool = False, **members: Any) -> None:
        """Change members of the leg's conduct; `cut` resets what is connected."""
        self._conducts[leg] = replace(self._conducts[leg], **members)
        self._order({"leg": leg, "conduct": asdict(self._conducts[leg]), "cut": cut})

    def stop(self) -> None:
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()

    def _order(self, order: Mapping[str, Any]) -> None:
        line = json.dumps(order) + "\n"
        stdin = _pipe(self._process.stdin)
        stdin.write(line)
        stdin.flush()
        answered = _pipe(self._process.stdout).readline()
        if answered != line:
            raise RuntimeError(f"the proxies did not obey {order}: {answered!r}")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


if __name__ == "__main__":
    asyncio.run(_obey())
