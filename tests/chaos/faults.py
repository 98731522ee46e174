"""What can go wrong: each kind of fault a small class that strikes and heals.

`strike` begins it, `heal` ends it; between them lie `seconds`. Healing brings the servers and processes
back, it does not wait until the hub has recovered: that is measured. Two faults of one wave never have
the same `target`.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from random import Random

import aiohttp
import asyncpg
import psutil

from headwater.embedded.child import stop
from tests.chaos.hub import LEGS, SESSION_SECONDS, ChaosHub, Service
from tests.chaos.load import Place
from tests.hub import OPERATOR_TOKEN, eventually

SERVERS = ("kafka", "postgres")


@dataclass(slots=True, kw_only=True)
class Fault(ABC):
    """`kind` is its row in the report."""

    seconds: float
    target: str
    kind: str

    @abstractmethod
    async def strike(self, hub: ChaosHub) -> None: ...

    @abstractmethod
    async def heal(self, hub: ChaosHub) -> None: ...


@dataclass(slots=True, kw_only=True)
class KillService(Fault):
    """SIGKILL of one of our processes, or SIGTERM; it is away for `seconds`, then started again."""

    how: signal.Signals = signal.SIGKILL

    async def strike(self, hub: ChaosHub) -> None:
        service = hub.services[self.target]
        service.held = True
        if self.how is signal.SIGKILL:
            hub.kill(service)
        elif service.process is not None:
            await asyncio.to_thread(stop, service.process, self.how, 12)

    async def heal(self, hub: ChaosHub) -> None:
        hub.start_service(hub.services[self.target])


@dataclass(slots=True, kw_only=True)
class KillServer(Fault):
    """SIGKILL of Kafka or Postgres, or an orderly stop."""

    how: str = "SIGKILL"

    async def strike(self, hub: ChaosHub) -> None:
        server = hub.kafka if self.target == "kafka" else hub.postgres
        if self.how == "SIGKILL":
            hub.signal_tree(self.target, signal.SIGKILL)
            if server.process is not None:
                await asyncio.to_thread(server.process.wait)
        else:
            await asyncio.to_thread(server.stop)

    async def heal(self, hub: ChaosHub) -> None:
        await hub.start_server(self.target)


@dataclass(slots=True, kw_only=True)
class KillBackend(Fault):
    """One process of Postgres dies. SIGKILL takes all its sessions down; SIGTERM ends one of them."""

    how: signal.Signals = signal.SIGKILL
    pick: float = 0.0

    async def strike(self, hub: ChaosHub) -> None:
        backends = []
        for process in hub.tree("postgres")[1:]:
            with suppress(psutil.NoSuchProcess):
                if any("headwater headwater" in part for part in process.cmdline()):
                    backends.append(process)
        if backends:
            with suppress(psutil.NoSuchProcess):
                backends[int(self.pick * len(backends))].send_signal(self.how)

    async def heal(self, hub: ChaosHub) -> None:
        await hub.start_server("postgres")


@dataclass(slots=True, kw_only=True)
class Pause(Fault):
    """SIGSTOP, then SIGCONT: a virtual machine that is suspended. Longer than the session of a group
    member it makes a zombie, that wakes when its partitions have moved."""

    async def strike(self, hub: ChaosHub) -> None:
        hub.signal_tree(self.target, signal.SIGSTOP)

    async def heal(self, hub: ChaosHub) -> None:
        hub.signal_tree(self.target, signal.SIGCONT)


@dataclass(slots=True, kw_only=True)
class Slow(Fault):
    """A server gets one quarter of the time: paused 75 ms of each 100."""

    task: asyncio.Task[None] | None = None

    async def strike(self, hub: ChaosHub) -> None:
        self.task = asyncio.create_task(self._throttle(hub))

    async def _throttle(self, hub: ChaosHub) -> None:
        while True:
            hub.signal_tree(self.target, signal.SIGSTOP)
            await asyncio.sleep(0.075)
            hub.signal_tree(self.target, signal.SIGCONT)
            await asyncio.sleep(0.025)

    async def heal(self, hub: ChaosHub) -> None:
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        hub.signal_tree(self.target, signal.SIGCONT)


@dataclass(slots=True, kw_only=True)
class FillDisk(Fault):
    """The server's disk has not one page left. Kafka ends by itself then, and is started again."""

    async def strike(self, hub: ChaosHub) -> None:
        await asyncio.to_thread(_fill, hub, self.target)

    async def heal(self, hub: ChaosHub) -> None:
        (hub.disk(self.target) / "ballast").unlink(missing_ok=True)
        await asyncio.sleep(0.1)
        await hub.start_server(self.target)


def _fill(hub: ChaosHub, server: str) -> None:
    with (hub.disk(server) / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 24, 1 << 20, 1 << 14, 1 << 12):
            piece = bytes(size)
            with suppress(OSError):
                while file.write(piece) == size:
                    pass


@dataclass(slots=True, kw_only=True)
class BadLine(Fault):
    """A leg is cut, refuses, is slow, narrow or half-open."""

    how: str

    async def strike(self, hub: ChaosHub) -> None:
        match self.how:
            case "cut":
                hub.proxies.change(self.target, cut=True)
            case "refused":
                hub.proxies.change(self.target, cut=True, refuse=True)
            case "delayed":
                hub.proxies.change(self.target, delay_seconds=0.15)
            case "throttled":
                hub.proxies.change(self.target, bytes_per_second=40_000)
            case "half-open":
                hub.proxies.change(self.target, deaf="both")
            case "half-open up":
                hub.proxies.change(self.target, deaf="up")
            case _:
                hub.proxies.change(self.target, deaf="down")

    async def heal(self, hub: ChaosHub) -> None:
        # what was half-open is cut: a line like that seldom comes back
        hub.proxies.change(
            self.target,
            cut=self.how.startswith("half-open"),
            refuse=False,
            deaf="",
            delay_seconds=0.0,
            bytes_per_second=0,
        )


@dataclass(slots=True, kw_only=True)
class ClockJump(Fault):
    """The clock is off by so much, forwards or backwards, then right again."""

    jump_seconds: float
    wall: bool = False

    async def strike(self, hub: ChaosHub) -> None:
        (hub.move_wall_clock if self.wall else hub.move_clock)(self.jump_seconds)

    async def heal(self, hub: ChaosHub) -> None:
        (hub.move_wall_clock if self.wall else hub.move_clock)(0)


@dataclass(slots=True, kw_only=True)
class Rebalance(Fault):
    """A further processor joins the group, and leaves it."""

    abrupt: bool = False

    async def strike(self, hub: ChaosHub) -> None:
        guest = Service(name=self.target, what="processor", number=99, wanted=False)
        hub.services[self.target] = guest
        hub.start_service(guest)

    async def heal(self, hub: ChaosHub) -> None:
        guest = hub.services.pop(self.target)
        if guest.process is not None:
            how = signal.SIGKILL if self.abrupt else signal.SIGTERM
            await asyncio.to_thread(stop, guest.process, how, 12)


@dataclass(slots=True, kw_only=True)
class RollingRestart(Fault):
    """Every process of ours, one after the other, as an upgrade does it."""

    async def strike(self, hub: ChaosHub) -> None:
        for service in [s for s in hub.services.values() if s.wanted]:
            service.held = True
            if service.process is not None:
                await asyncio.to_thread(stop, service.process, signal.SIGTERM, 12)
            hub.start_service(service)
            with suppress(TimeoutError):
                await eventually(partial(_serves, hub), 15)

    async def heal(self, hub: ChaosHub) -> None:
        pass


async def _serves(hub: ChaosHub) -> bool:
    return await asyncio.to_thread(hub.serves)


@dataclass(slots=True, kw_only=True)
class ChangeConfiguration(Fault):
    """The configuration of each workspace moves again and again: batches have to be judged anew.

    What changes decides nothing about a write, so that the books can be balanced.
    """

    places: list[Place]
    task: asyncio.Task[None] | None = None

    async def strike(self, hub: ChaosHub) -> None:
        self.task = asyncio.create_task(self._change(hub))

    async def _change(self, hub: ChaosHub) -> None:
        headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        async with aiohttp.ClientSession(hub.direct_url, headers=headers) as http:
            number = 0
            while True:
                number += 1
                for place in self.places:
                    body = {
                        "name": f"chaos-{place.index} {number}",
                        "customerUniquenessPolicy": None,
                    }
                    with suppress(aiohttp.ClientError, TimeoutError, OSError):
                        async with (
                            asyncio.timeout(3),
                            http.put(place.path("/configuration"), json=body),
                        ):
                            pass
                await asyncio.sleep(0.2)

    async def heal(self, hub: ChaosHub) -> None:  # noqa: ARG002  # the hub has nothing to do with it
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@dataclass(slots=True, kw_only=True)
class LockFeed(Fault):
    """A long transaction of somebody else holds a feed's row, as a backup or a person at psql does."""

    places: list[Place]
    connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def strike(self, hub: ChaosHub) -> None:
        try:
            self.connection = await asyncpg.connect(hub.postgres.url, timeout=5)
            await self.connection.execute("begin")
            await self.connection.execute(
                "select 1 from feeds where workspace_id = $1::text::uuid for update",
                self.places[0].workspace_id,
                timeout=5,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # Postgres is away or busy: then there is nothing to hold

    async def heal(self, hub: ChaosHub) -> None:  # noqa: ARG002  # the hub has nothing to do with it
        if self.connection is not None:
            self.connection.terminate()


@dataclass(slots=True, kw_only=True)
class CrashPoint(Fault):
    """A processor that ends itself between two named steps of its next batch, then is started again."""

    point: str

    async def strike(self, hub: ChaosHub) -> None:
        service = hub.services[self.target]
        hub.kill(service)
        hub.start_service(service, HEADWATER_PROCESSOR_CRASH_AT=self.point)
        service.held = True

    async def heal(self, hub: ChaosHub) -> None:
        service = hub.services[self.target]
        if service.process is not None:
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(service.process.wait, 10)
        hub.kill(service)
        hub.start_service(service)


def crash_points() -> tuple[str, ...]:
    """The named steps at which a processor can be told to end."""
    if find_spec("processor.crash") is None:
        return ()
    return tuple(str(step) for step in import_module("processor.crash").Step)


Maker = Callable[[Random], Fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What there is to break."""

    workers: int
    processors: int
    places: list[Place]
    limited_disks: bool
    faketime: bool

    def web(self, random: Random) -> str:
        return f"web-{random.randrange(self.workers)}"

    def processor(self, random: Random) -> str:
        return f"processor-{random.randrange(self.processors)}"


def makers(shape: Shape) -> dict[str, Maker]:
    """Every kind that can be made here, by name; a plan draws them in turn."""
    made: dict[str, Maker] = {
        "SIGKILL web": lambda r: KillService(
            seconds=r.uniform(0, 1.5), target=shape.web(r), kind="SIGKILL web"
        ),
        "SIGKILL processor": lambda r: KillService(
            seconds=r.uniform(0, 1.5), target=shape.processor(r), kind="SIGKILL processor"
        ),
        "SIGTERM processor": lambda r: KillService(
            seconds=r.uniform(0, 1),
            target=shape.processor(r),
            kind="SIGTERM processor",
            how=signal.SIGTERM,
        ),
        "SIGSTOP web": lambda r: Pause(
            seconds=r.uniform(0.3, 3), target=shape.web(r), kind="SIGSTOP web"
        ),
        "SIGSTOP processor": lambda r: Pause(
            seconds=r.uniform(0.3, 2.5), target=shape.processor(r), kind="SIGSTOP processor"
        ),
        "zombie processor": lambda r: Pause(
            seconds=SESSION_SECONDS + r.uniform(1, 3),
            target=shape.processor(r),
            kind="zombie processor",
        ),
        "SIGKILL backend": lambda r: KillBackend(
            seconds=0.2, target="postgres", kind="SIGKILL backend", pick=r.random()
        ),
        "SIGTERM backend": lambda r: KillBackend(
            seconds=0.2,
            target="postgres",
            kind="SIGTERM backend",
            how=signal.SIGTERM,
            pick=r.random(),
        ),
        "clock jump": lambda r: ClockJump(
            seconds=r.uniform(0.5, 3),
            target="clock",
            kind="clock jump",
            jump_seconds=r.choice([-1, 1]) * r.uniform(1, 1200),
        ),
        "rebalance": lambda r: Rebalance(
            seconds=r.uniform(2, 5),
            target="processor-guest",
            kind="rebalance",
            abrupt=r.random() < 0.5,
        ),
        "rolling restart": lambda _: RollingRestart(
            seconds=0, target="rolling", kind="rolling restart"
        ),
        "configuration changes": lambda r: ChangeConfiguration(
            seconds=r.uniform(1, 3),
            target="configuration",
            kind="configuration changes",
            places=shape.places,
        ),
        "feed row locked": lambda r: LockFeed(
            seconds=r.uniform(0.5, 3), target="feed", kind="feed row locked", places=shape.places
        ),
    }
    for server in SERVERS:
        made |= _server_makers(server)
        if shape.limited_disks:
            made[f"disk full: {server}"] = _disk_maker(server)
    for leg in LEGS:
        for how in ("cut", "refused", "delayed", "throttled", "half-open"):
            made[f"{how}: {leg}"] = _line_maker(leg, how)
    if shape.faketime:
        made["wall clock jump"] = lambda r: ClockJump(
            seconds=r.uniform(1.5, 4),
            target="wall clock",
            kind="wall clock jump",
            jump_seconds=r.choice([-1, 1]) * r.uniform(1, 1200),
            wall=True,
        )
    for point in crash_points():
        made[f"crash at {point}"] = _crash_maker(point, shape)
    return made


def _server_makers(server: str) -> dict[str, Maker]:
    name = server.capitalize()
    return {
        f"SIGKILL {name}": lambda r: KillServer(
            seconds=r.uniform(0, 2), target=server, kind=f"SIGKILL {name}"
        ),
        f"{name} restarted": lambda _: KillServer(
            seconds=0, target=server, kind=f"{name} restarted", how="stop"
        ),
        f"{name} stopped": lambda r: KillServer(
            seconds=r.uniform(2, 6), target=server, kind=f"{name} stopped", how="stop"
        ),
        f"SIGSTOP {name}": lambda r: Pause(
            seconds=r.uniform(0.3, 4), target=server, kind=f"SIGSTOP {name}"
        ),
        f"slow {name}": lambda r: Slow(seconds=r.uniform(1, 4), target=server, kind=f"slow {name}"),
    }


def _disk_maker(server: str) -> Maker:
    return lambda r: FillDisk(seconds=r.uniform(0.5, 3), target=server, kind=f"disk full: {server}")


def _line_maker(leg: str, how: str) -> Maker:
    def make(random: Random) -> Fault:
        seconds = 0.0 if how == "cut" else random.uniform(0.5, 4)
        chosen = how
        if how == "half-open":
            chosen = random.choice(["half-open", "half-open up", "half-open down"])
        return BadLine(seconds=seconds, target=leg, kind=f"{how}: {leg}", how=chosen)

    return make


def _crash_maker(point: str, shape: Shape) -> Maker:
    return lambda r: CrashPoint(
        seconds=r.uniform(0.5, 2),
        target=shape.processor(r),
        kind=f"crash at {point}",
        point=f"{point}:{r.randint(1, 4)}",
    )
