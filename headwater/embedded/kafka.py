"""A real Apache Kafka as our child: one node, KRaft, on the loopback address."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headwater.embedded.ahead import ahead_file, ahead_options
from headwater.embedded.child import command_of, environ_of, spawn, stop
from headwater.embedded.jars import fetch_jars
from headwater.embedded.java import find_java
from headwater.embedded.ports import LOOPBACK, is_open, kept_ports
from headwater.embedded.postgres import ServerFailed
from headwater.errors import Unavailable
from headwater.kafka import answers

_LOGGING = """\
Configuration:
  Properties:
    Property: {name: pattern, value: "[%d] %p %m (%c)%n"}
  Appenders:
    Console: {name: STDOUT, target: SYSTEM_OUT, PatternLayout: {pattern: "${pattern}"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: STDOUT}}
"""

# a killed broker may register again only when its session has ended: the default is 9 s
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
"""

_REHEARSAL_SECONDS = 120.0
"""How long Java may take to write what it keeps."""


class EmbeddedKafka:
    """One broker with its data in `folder`; `port` for clients, `controller_port` for itself.

    `properties` add to ours, or take their place; `java_options` take the place of those of ahead.py.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        controller_port: int,
        *,
        keep: Sequence[int] = (),
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] | None = None,
    ) -> None:
        self._folder = folder
        self._java_options = java_options
        self._more = properties or {}
        self._keep = keep
        self.port = port
        self._controller_port = controller_port
        self._log = folder.parent / "kafka.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Launch and wait; for the errors see there."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Format the data folder if it is new, and start.

        Raises:
            JarsBroken: the jars are not what the lock says.
            ServerFailed: the folder can't be formatted.
        """
        jars = fetch_jars()
        home = self._folder.parent
        home.mkdir(parents=True, exist_ok=True)
        properties = home / "kafka.properties"
        properties.write_text(self._written(self._folder.name), encoding="ascii")
        logging = home / "kafka-log4j2.yaml"
        logging.write_text(_LOGGING, encoding="utf-8")
        java = find_java()
        options = self._java_options
        run = [
            str(java),
            "-Xms384m", "-Xmx384m", "-XX:+UseSerialGC",
            *(ahead_options(java, jars) if options is None else options),
            f"-Dlog4j2.configurationFile={logging.resolve().as_uri()}",
            "-cp", os.pathsep.join(str(jar) for jar in jars),
        ]  # fmt: skip
        if not (self._folder / "meta.properties").exists():
            self._format(run)
        self.process = spawn(
            [*run, "kafka.Kafka", str(properties)],
            log=self._log,
            cwd=home,
            environ=self._environ(),
            keep=self._keep,
        )

    def _written(self, folder: str) -> str:
        ours = _PROPERTIES.format(
            host=LOOPBACK,
            port=self.port,
            controller_port=self._controller_port,
            # relative: the way there may hold commas, which separate folders here, and letters that
            # a file of properties can't
            folder=folder,
        )
        # of two lines with one name the later holds
        return ours + "".join(f"{name}={value}\n" for name, value in self._more.items())

    def _environ(self) -> dict[str, str]:
        # without a locale of UTF-8 Java can't name folders with letters beyond ASCII
        return {**os.environ, "LC_ALL": "C.UTF-8"}

    def stop(self, seconds: float = 6.0) -> None:
        """A controlled shutdown; killed after `seconds` (what was acknowledged is on disk)."""
        if self.process is not None:
            stop(self.process, signal.SIGTERM, seconds)

    def kill(self) -> None:
        """As a crash."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _format(self, java: list[str]) -> None:
        # made beside and moved, or a folder that was begun would be taken for a whole one
        home, new = self._folder.parent, self._folder.with_name(f"{self._folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        properties = home / "kafka-format.properties"
        properties.write_text(self._written(new.name), encoding="ascii")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if cluster.startswith("-"):
            cluster = "A" + cluster[1:]  # else it would be taken for an option
        format_it = [
            # it ends before a better compiler has paid for itself
            *java, "-XX:TieredStopAtLevel=1",
            "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), "--standalone",
        ]  # fmt: skip
        # ends with us and holds the folder's lock: the start after a kill must not meet it at work
        done = subprocess.run(
            command_of(format_it, end_with=signal.SIGKILL),
            cwd=home,
            env=environ_of(self._environ()),
            capture_output=True,
            text=True,
            check=False,
            pass_fds=self._keep,
        )
        properties.unlink()
        if done.returncode:
            raise ServerFailed(f"Kafka's storage can't be formatted: {done.stdout} {done.stderr}")
        shutil.rmtree(self._folder, ignore_errors=True)
        new.rename(self._folder)

    def wait(self) -> None:
        """Return when the broker answers.

        Raises:
            ServerFailed: it didn't come up within 60 s.
        """
        assert self.process is not None
        limit = time.monotonic() + 60
        # asked from a thread, because the caller's may run an event loop already
        with ThreadPoolExecutor(max_workers=1) as asker:
            while time.monotonic() < limit and self.process.poll() is None:
                # a client that connects before the port is open logs a warning for each try
                if is_open(self.port):
                    try:
                        asker.submit(asyncio.run, answers(self.bootstrap)).result()
                    except Unavailable:
                        continue
                    return
                time.sleep(0.05)
        raise ServerFailed(f"Kafka did not start; see {self._log}")


def rehearse(jars: Sequence[Path]) -> Path | None:
    """Start and stop a Kafka to keep what its start has loaded (about 30 s); None if it is kept already.

    Raises:
        JarsBroken: as of `launch`.
        ServerFailed: it could not be started, or Java kept nothing.
    """
    file = ahead_file(find_java(), jars)
    if file is None or file.is_file():
        return None
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="rehearsal-") as name:
        folder = Path(name)
        ports = kept_ports(folder / "ports.json", ("kafka", "controller"))
        made = folder / file.name
        kafka = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
        kafka.launch()  # formats; with what keeps the classes it would keep those of the storage tool
        kafka.kill()
        kafka = EmbeddedKafka(
            folder / "kafka",
            ports["kafka"],
            ports["controller"],
            java_options=[f"-XX:AOTCacheOutput={made}", "-Xlog:aot*=error"],
        )
        try:
            kafka.start()
        finally:
            kafka.stop(_REHEARSAL_SECONDS)
        if not made.is_file():
            raise ServerFailed("Java kept nothing of Kafka's start")
        made.replace(file)  # another process may rehearse too: either file is whole
    for old in file.parent.glob("kafka-*.aot"):
        if old != file:
            old.unlink(missing_ok=True)
    return file
