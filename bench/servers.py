"""What is measured, as processes: Kafka, Postgres, the hub's web process and processor, the bare floor."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headwater.cli.provision import Demo, make_demo
from headwater.embedded.child import spawn, stop
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import is_open, kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.kafka import ensure_topics
from headwater.postgres.migrate import migrate
from headwater.settings import KafkaSettings
from headwater.topics import CUSTOMERS, EVENTS

FLOOR_TOPIC = "headwater.bench"


@dataclass(slots=True)
class Usage:
    """CPU seconds of each process since a moment, by name."""

    cpu_seconds: dict[str, float]

    def minus(self, before: Usage) -> dict[str, float]:
        return {
            name: seconds - before.cpu_seconds.get(name, 0.0)
            for name, seconds in self.cpu_seconds.items()
        }


@dataclass(slots=True, kw_only=True)
class Servers:
    """The running hub. `children` are ours, by name: `web`, `processor`, `floor`, and `web 2`, `floor 2`
    beside those on the same port.
    """

    folder: Path
    ports: Mapping[str, int]
    postgres: EmbeddedPostgres
    kafka: EmbeddedKafka
    demo: Demo
    environ: Mapping[str, str]
    conn: asyncpg.Connection[asyncpg.Record]
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The path of the workspace."""
        return f"/hub/v1/workspaces/{self.demo.workspace_id}"

    async def start(self, name: str, *command: str, **environ: str) -> None:
        """Start one of our processes; a web process or floor listens when this returns."""
        if name in self.children:
            return
        process = spawn(
            [sys.executable, *command],
            log=self.folder / f"{name}.log",
            environ={**self.environ, **environ},
        )
        self.children[name] = process
        port = self.ports.get(_kind(name))
        if port is not None:
            # the port itself may be open already: another process has it too
            await until(lambda: _done(_listens(process.pid, port)), 60)

    async def start_web(self, processes: int = 1, **environ: str) -> None:
        """Returns when writes are taken by each: the port is open before Kafka is reached."""
        await self._start_several("web", processes, "-m", "deploy.single", **environ)
        await until(self._is_ready, 60)

    async def _is_ready(self) -> bool:
        # each connection of its own, so that every process is asked
        asked = 1 if "web 2" not in self.children else 32
        url = f"http://127.0.0.1:{self.ports['web']}/health/ready"
        async with aiohttp.ClientSession(headers={"Connection": "close"}) as http:
            for _ in range(asked):
                async with http.get(url) as answer:
                    if answer.status != 200:
                        return False
        return True

    async def start_floor(self, processes: int = 1) -> None:
        port = str(self.ports["floor"])
        await self._start_several("floor", processes, "-m", "bench.floor", port)

    async def _start_several(
        self, name: str, processes: int, *command: str, **environ: str
    ) -> None:
        await self.start(name, *command, **environ)
        if processes == 2:
            await self.start(f"{name} 2", *command, **environ)
        else:
            self.stop(f"{name} 2")

    async def start_processor(self) -> None:
        await self.start("processor", "-m", "processor")

    def stop(self, name: str) -> None:
        """Stop a process, and those beside it; nothing happens if there is none."""
        for each in list(self.children):
            if name in {each, _kind(each)}:
                stop(self.children.pop(each), signal.SIGTERM, 15)

    def usage(self) -> Usage:
        """CPU seconds so far, of ours, of the servers, and of this process (the load)."""
        found: dict[str, float] = {}
        for name, process in self.children.items():
            used = _cpu(psutil.Process(process.pid))
            found[_kind(name)] = found.get(_kind(name), 0.0) + used
        if self.kafka.process is not None:
            found["kafka"] = _cpu(psutil.Process(self.kafka.process.pid))
        server = self.postgres.process
        if server is not None:
            found["postgres"] = _cpu_of_family(psutil.Process(server.pid))
        found["load"] = _cpu(psutil.Process())
        return Usage(found)

    def peak_mb(self, name: str) -> float:
        """The greatest resident size that a process of ours has had, in MB."""
        return max(
            _status_mb(process.pid, "VmHWM")
            for each, process in self.children.items()
            if _kind(each) == name
        )

    def resident_mb(self, name: str) -> float:
        """The present resident size of a process of ours, in MB."""
        return _status_mb(self.children[name].pid, "VmRSS")

    async def backlog(self) -> int:
        """Records in Kafka that the processor has not applied."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await consumer.start()
        try:
            counts = {
                CUSTOMERS: KafkaSettings().customers_partitions,
                EVENTS: KafkaSettings().events_partitions,
            }
            partitions = [
                TopicPartition(topic, number)
                for topic, count in counts.items()
                for number in range(count)
            ]
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
        end = sum(int(offset) for offset in ends.values())
        return end - await self.applied()

    async def drained(
        self, seconds: float = 900, tick: Callable[[int], None] = lambda _: None
    ) -> None:
        """Return when the processor has applied everything that is in Kafka now."""
        applied = await self.applied()
        wanted = applied + await self.backlog()
        limit = time.monotonic() + seconds
        while applied < wanted:
            if time.monotonic() > limit:
                raise TimeoutError(f"{wanted - applied} records are not applied")
            await asyncio.sleep(0.02)
            now = await self.applied()
            tick(now - applied)
            applied = now

    async def moving(self) -> None:
        """Return when the processor has applied something more."""
        applied = await self.applied()
        await until(lambda: self._is_beyond(applied))

    async def _is_beyond(self, applied: int) -> bool:
        return await self.applied() > applied

    async def applied(self) -> int:
        """Records that are applied, of all topics."""
        return int(
            await self.conn.fetchval("SELECT coalesce(sum(next_offset), 0) FROM consumer_offsets")
        )


def _kind(name: str) -> str:
    """`web` of `web 2`."""
    return name.partition(" ")[0]


def _status_mb(pid: int, line_name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith(line_name + ":")]
    return int(line.split()[1]) * 1024 / 1e6


def _listens(pid: int, port: int) -> bool:
    return any(
        each.status == psutil.CONN_LISTEN and each.laddr.port == port
        for each in psutil.Process(pid).net_connections("tcp")
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cpu_of_family(parent: psutil.Process) -> float:
    """Of a process and its children, those that have ended too."""
    times = parent.cpu_times()
    total = _cpu(parent) + float(times.children_user + times.children_system)
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):
            total += _cpu(child)
    return total


async def _done(value: bool) -> bool:
    return value


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > limit:
            raise TimeoutError("the bench waited too long")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running_servers(folder: Path) -> AsyncIterator[Servers]:
    """Kafka, Postgres and a demo workspace; the hub's own processes are started by the legs."""
    ports = kept_ports(folder / "ports.json", ("postgres", "kafka", "controller", "web", "floor"))
    postgres = EmbeddedPostgres(folder / "postgres", ports["postgres"])
    kafka = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
    servers: Servers | None = None
    try:
        postgres.start()
        kafka.launch()
        await until(lambda: _done(is_open(ports["kafka"])))
        await ensure_topics(KafkaSettings(bootstrap=kafka.bootstrap))
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(FLOOR_TOPIC, 4, 1)])
        await admin.close()
        await migrate(postgres.url)
        servers = Servers(
            folder=folder,
            ports=ports,
            postgres=postgres,
            kafka=kafka,
            demo=await make_demo(postgres.url),
            environ={
                **os.environ,
                "HEADWATER_DATABASE_URL": postgres.url,
                "HEADWATER_KAFKA_BOOTSTRAP": kafka.bootstrap,
                "HEADWATER_HTTP_PORT": str(ports["web"]),
            },
            conn=await asyncpg.connect(postgres.url),
        )
        yield servers
        await servers.conn.close()
    finally:
        if servers is not None:
            for name in list(servers.children):
                servers.stop(name)
        kafka.stop()
        postgres.stop()
