"""A hub whose every part can be broken: real servers and processes, each leg between them a proxy.

    clients -client-> web (ingest, stream_api, control_api) -ingest-kafka-> Kafka -processor-kafka-> processors
                          web -ingest-postgres-> Postgres <-processor-postgres- processors
                                              Kafka <-results- processors

Processes are started from the main thread (the kernel ends them with it).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headwater.embedded.child import spawn, stop
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import LOOPBACK, kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.postgres.migrate import migrate
from tests.chaos.process import CLOCK, DEFECT, RESULTS, SECONDS
from tests.chaos.proxy import Proxies
from tests.hub import OPERATOR_TOKEN

LEGS = (
    "client",
    "ingest-kafka",
    "processor-kafka",
    "results",
    "ingest-postgres",
    "processor-postgres",
)
SESSION_SECONDS = 4
KAFKA_MEBIBYTES = 1024
POSTGRES_MEBIBYTES = 2048

_FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


@dataclass(slots=True)
class Service:
    """A process of the hub. `held`: a fault wants it down, so nobody starts it again."""

    name: str
    what: str
    number: int
    process: subprocess.Popen[bytes] | None = None
    held: bool = False
    wanted: bool = True
    environ: dict[str, str] = field(default_factory=dict)
    pause_until: float = 0.0


class ChaosHub:
    """Servers, services and proxies in a temporary folder. `running()` makes one."""

    def __init__(
        self, folder: Path, *, workers: int, processors: int, defect: str | None, limited: bool
    ) -> None:
        self.folder = folder
        self.limited = limited
        """Whether the servers' data lie on disks of a limited size, that can be filled."""
        self.faketime = next((str(p) for p in Path("/").glob(_FAKETIME[1:])), None)
        self._defect = defect
        names = ("postgres", "kafka", "controller", "web", "l1", "l2", "l3", *LEGS)
        self.ports = kept_ports(folder / "ports.json", names)
        self.postgres = EmbeddedPostgres(self.disk("postgres") / "data", self.ports["postgres"])
        self.kafka = EmbeddedKafka(
            self.disk("kafka") / "data",
            self.ports["kafka"],
            self.ports["controller"],
            properties=_listeners(self.ports),
        )
        self.services = {
            name: Service(name=name, what=what, number=number)
            for what, count in (("web", workers), ("processor", processors))
            for number in range(count)
            for name in (f"{what}-{number}",)
        }
        self.ends: list[str] = []
        """Processes that ended by themselves to be started again, as they may: the watchdog."""
        self.unexplained_ends: list[str] = []
        self._clock = folder / "clock"
        self._faketime_file = folder / "faketime"
        self.proxies = Proxies()
        self.move_clock(0)
        self.move_wall_clock(0)

    @property
    def url(self) -> str:
        """Where clients call: through the proxy."""
        return f"http://{LOOPBACK}:{self.ports['client']}"

    @property
    def direct_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['web']}"

    def disk(self, server: str) -> Path:
        """The folder, or the mount, that holds all data of a server."""
        return self.folder / server

    def start(self) -> None:
        """Start everything; when this returns the hub serves."""
        for leg, upstream in {
            "client": "web",
            "ingest-kafka": "l1",
            "processor-kafka": "l2",
            "results": "l3",
            "ingest-postgres": "postgres",
            "processor-postgres": "postgres",
        }.items():
            self.proxies.add(leg, self.ports[leg], self.ports[upstream])
        self.kafka.launch()
        self.postgres.start()
        asyncio.run(migrate(self.postgres.url))
        self.kafka.wait()
        for service in self.services.values():
            self.start_service(service)
        limit = time.monotonic() + 60
        while not self.serves():
            for service in self.services.values():
                ended = service.process is not None and service.process.poll() is not None
                if ended or time.monotonic() > limit:
                    log = (self.folder / f"{service.name}.log").read_text(errors="replace")
                    raise RuntimeError(f"{service.name} does not start: {log[-3000:]}")
            time.sleep(0.05)

    def start_service(self, service: Service, **environ: str) -> None:
        """Start a process, or start it again."""
        service.held = False
        service.process = spawn(
            [sys.executable, "-m", "tests.chaos.process", service.what],
            log=self.folder / f"{service.name}.log",
            environ={**self._environ(service), **environ},
        )

    def supervise(self) -> None:
        """Start again what has ended by itself, as a production supervisor does, after a short pause."""
        now = time.monotonic()
        for service in self.services.values():
            process = service.process
            if service.held or not service.wanted or process is None or process.poll() is None:
                continue
            if service.pause_until == 0.0:
                self._note_end(service, process.returncode)
                service.pause_until = now + 0.3
            elif now >= service.pause_until:
                service.pause_until = 0.0
                self.start_service(service)

    def _note_end(self, service: Service, code: int) -> None:
        log = (self.folder / f"{service.name}.log").read_text(errors="replace")[-6000:]
        last = log.splitlines()[-1:] or [""]
        if '"kind": "Unavailable"' in last[0]:
            self.ends.append(f"{service.name}: {last[0]}")
        else:
            self.unexplained_ends.append(f"{service.name} ended with {code}: {log[-3000:]}")

    def kill(self, service: Service) -> None:
        """SIGKILL, and it stays down until it is started."""
        service.held = True
        if service.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait()

    def serves(self) -> bool:
        """Whether a web process answers that all is well, asked directly."""
        try:
            with urllib.request.urlopen(f"{self.direct_url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def tree(self, server: str) -> list[psutil.Process]:
        """Every process of Kafka, of Postgres or of a service."""
        process = self.server_process(server)
        if process is None or process.poll() is not None:
            return []
        try:
            root = psutil.Process(process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal_tree(self, server: str, number: signal.Signals) -> None:
        for process in self.tree(server):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def server_process(self, server: str) -> subprocess.Popen[bytes] | None:
        if server == "kafka":
            return self.kafka.process
        if server == "postgres":
            return self.postgres.process
        return self.services[server].process

    async def start_server(self, server: str) -> None:
        """Start Kafka or Postgres if it does not run, and wait until it answers."""
        owner = self.kafka if server == "kafka" else self.postgres
        process = owner.process
        if process is None or process.poll() is not None:
            owner.launch()
        await asyncio.to_thread(owner.wait)

    def move_clock(self, seconds: float) -> None:
        """The hub's own clock, in all processes at once."""
        if not self._clock.exists():
            self._clock.write_bytes(SECONDS.pack(seconds))
        with self._clock.open("r+b") as file:
            file.write(SECONDS.pack(seconds))

    def move_wall_clock(self, seconds: float) -> None:
        """What the operating system tells our processes, where libfaketime is there (within 1 s)."""
        part = self._faketime_file.with_suffix(".part")
        part.write_text(f"{seconds:+.1f}\n")
        part.replace(self._faketime_file)

    def stop(self) -> None:
        for service in self.services.values():
            service.wanted = False
            self.signal_tree(service.name, signal.SIGCONT)
            if service.process is not None:
                stop(service.process, signal.SIGTERM, 10)
        self.signal_tree("kafka", signal.SIGCONT)
        self.signal_tree("postgres", signal.SIGCONT)
        self.kafka.stop()
        self.postgres.stop()
        self.proxies.stop()

    def _environ(self, service: Service) -> dict[str, str]:
        side = "ingest" if service.what == "web" else "processor"
        environ = {
            **os.environ,
            "HEADWATER_DATABASE_URL": _through(self.postgres.url, self.ports[f"{side}-postgres"]),
            "HEADWATER_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.ports[f'{side}-kafka']}",
            "HEADWATER_HTTP_PORT": str(self.ports["web"]),
            "HEADWATER_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "HEADWATER_INGEST_INSTANCE": service.name,
            "HEADWATER_PROCESSOR_INSTANCE": service.name,
            "HEADWATER_PROCESSOR_SESSION_SECONDS": str(SESSION_SECONDS),
            "HEADWATER_PROCESSOR_WATCHDOG_SECONDS": "15",
            CLOCK: str(self._clock),
            RESULTS: f"{LOOPBACK}:{self.ports['results']}",
            **service.environ,
        }
        if self._defect is not None:
            environ[DEFECT] = self._defect
        if self.faketime is not None:
            environ |= {
                "LD_PRELOAD": self.faketime,
                "FAKETIME_TIMESTAMP_FILE": str(self._faketime_file),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
        return environ


def _through(url: str, port: int) -> str:
    head, _, tail = url.rpartition(":")
    return f"{head}:{port}/{tail.partition('/')[2]}"


def _listeners(ports: Mapping[str, int]) -> dict[str, str]:
    """A listener per leg, each telling its clients to come back through their proxy."""
    own = {"PLAINTEXT": ports["kafka"], "CONTROLLER": ports["controller"]}
    legs = {"INGEST": "l1", "PROCESSOR": "l2", "RESULTS": "l3"}
    proxies = {"INGEST": "ingest-kafka", "PROCESSOR": "processor-kafka", "RESULTS": "results"}
    listening = {**own, **{name: ports[key] for name, key in legs.items()}}
    told = {"PLAINTEXT": own["PLAINTEXT"], **{name: ports[leg] for name, leg in proxies.items()}}
    return {
        "listeners": _listed(listening),
        "advertised.listeners": _listed(told),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listening),
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _listed(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())


@contextmanager
def running(
    *, workers: int = 2, processors: int = 2, defect: str | None = None, scale: int = 1
) -> Iterator[ChaosHub]:
    """A hub that serves; stopped, and its folder removed, at the end. `scale` multiplies the disks' sizes."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="headwater-chaos-"))
        folder.chmod(0o711)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sizes = {"kafka": KAFKA_MEBIBYTES * scale, "postgres": POSTGRES_MEBIBYTES * scale}
        mounted = [
            stack.enter_context(_mounted(folder / name, size)) for name, size in sizes.items()
        ]
        hub = ChaosHub(
            folder,
            workers=workers,
            processors=processors,
            defect=defect,
            limited=all(mounted),
        )
        stack.callback(hub.stop)
        hub.start()
        yield hub


@contextmanager
def _mounted(folder: Path, mebibytes: int) -> Iterator[bool]:
    """A tmpfs of that size at `folder` if we may mount one; else a plain folder, and False."""
    folder.mkdir()
    folder.chmod(0o711)
    mode = ["-t", "tmpfs", "-o", f"size={mebibytes}m,mode=711", "tmpfs", str(folder)]
    can = os.geteuid() == 0 and shutil.which("mount") is not None
    done = (
        can and subprocess.run(["mount", *mode], capture_output=True, check=False).returncode == 0
    )
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
