"""`headwater up`: a whole hub on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import click

from headwater.cli.hub import SERVERS, read_env, write_env
from headwater.cli.provision import is_token_known, make_demo
from headwater.embedded.child import spawn, stop
from headwater.embedded.home import held
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import LOOPBACK, is_free, kept_ports, read_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.errors import HubError
from headwater.postgres.config import new_token
from headwater.postgres.migrate import migrate
from headwater.settings import Settings

DATABASE = "HEADWATER_DATABASE_URL"
KAFKA = "HEADWATER_KAFKA_BOOTSTRAP"
DEMO = ("HEADWATER_WORKSPACE_ID", "HEADWATER_NODE_ID", "HEADWATER_TOKEN")
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LEAST_DISK = 1_000_000_000
SERVE_SECONDS = 30
RESTART_SECONDS = (0.2, 1.0, 3.0, 10.0)


class Supervised:
    """A service process that is started again when it ends by itself."""

    def __init__(
        self, name: str, module: str, log: Path, environ: Mapping[str, str], keep: Sequence[int]
    ) -> None:
        self.name = name
        self._module = module
        self._log = log
        self._environ = environ
        self._keep = keep
        self._failures = 0
        self._next_start = 0.0
        self._started_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the process."""
        self._started_at = time.monotonic()
        self.process = spawn(
            [sys.executable, "-m", self._module],
            log=self._log,
            environ=self._environ,
            keep=self._keep,
        )

    def look_after(self) -> None:
        """Start it again if it ended, later and later if it keeps ending."""
        if self.process is None:
            if time.monotonic() >= self._next_start:
                self.start()
            return
        status = self.process.poll()
        if status is None:
            return
        if time.monotonic() - self._started_at > 60:
            self._failures = 0
        pause = RESTART_SECONDS[min(self._failures, len(RESTART_SECONDS) - 1)]
        self._failures += 1
        _say(
            f"{self.name} ended with status {status}; starting it again in {pause} s "
            f"(its log: {self._log})"
        )
        self.process = None
        self._next_start = time.monotonic() + pause

    def stop(self, seconds: float) -> None:
        """Ask it to end; killed after `seconds`."""
        if self.process is not None:
            stop(self.process, signal.SIGTERM, seconds)


@click.command()
@click.option("--port", envvar="PORT", type=click.IntRange(1, 65535), default=8080, show_default=True,
              show_envvar=True, help="Port of the hub.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Web processes that share the port.")  # fmt: skip
@click.option("--processors", type=click.IntRange(1, 16), default=1, show_default=True,
              help="Processes that apply writes.")  # fmt: skip
@click.option("--home", envvar="HEADWATER_HOME", default=".headwater", show_default=True,
              show_envvar=True, type=click.Path(path_type=Path), help="Folder of the data.")  # fmt: skip
def up(port: int, workers: int, processors: int, home: Path) -> None:
    """Run a whole hub on this machine: servers, services, a demo workspace.

    HEADWATER_DATABASE_URL and HEADWATER_KAFKA_BOOTSTRAP name existing servers to use instead of the
    embedded ones; hubs that share a Kafka must share the database. Ctrl-C stops everything in order.
    """
    # the services would end by a wrong one, again and again
    settings = Settings.from_env()
    if not settings.kafka.bootstrap and settings.kafka.security.protocol != "PLAINTEXT":
        raise click.ClickException(
            "HEADWATER_KAFKA_SECURITY_PROTOCOL is for a Kafka of your own, expected HEADWATER_KAFKA_BOOTSTRAP too"
        )
    home = home.resolve()
    _check_home(home)
    # Ctrl-C, a closed terminal and a supervisor's SIGTERM all end in the same order
    for number in STOPPING:
        signal.signal(number, _interrupt)
    try:
        with held(home) as lock:
            # not before: what is left of an earlier hub may still hold the port
            _check_port(port)
            _run(port, workers, processors, home, lock)
    except HubError as exc:
        raise click.ClickException(str(exc)) from exc
    except KeyboardInterrupt:
        pass


def _interrupt(_: int, __: object) -> None:
    # once: a second Ctrl-C must not break the orderly end off
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _check_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f"probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise click.ClickException(
            f"{home} can't be used: {exc.strerror}; name another folder (HEADWATER_HOME=...)"
        ) from exc
    free = shutil.disk_usage(home).free
    if free < LEAST_DISK:
        raise click.ClickException(
            f"{home} has {free // 10**6} MB free, expected 1000 MB or more; make room or name "
            "another folder (HEADWATER_HOME=...)"
        )


def _check_port(port: int) -> None:
    host = os.environ.get("HEADWATER_HTTP_HOST") or LOOPBACK
    try:
        is_taken = not is_free(port, host)
    except OSError as exc:
        raise click.ClickException(f"port {port} of {host} can't be used: {exc.strerror}") from exc
    if is_taken:
        raise click.ClickException(
            f"port {port} is taken: stop what listens there or name another (make run PORT=9090)"
        )


def _say(text: str) -> None:
    # the terminal may be closed, or the pipe: no reason not to go on, or not to end in order
    with suppress(OSError):
        click.echo(text, err=True)


def _run(port: int, workers: int, processors: int, home: Path, lock: int) -> None:
    ports = _ports(home)
    database_url = os.environ.get(DATABASE)
    bootstrap = os.environ.get(KAFKA)
    keep = (lock,)
    postgres = kafka = None
    if not database_url:
        postgres = EmbeddedPostgres(home / "postgres", ports["postgres"], keep=keep)
    if not bootstrap:
        kafka = EmbeddedKafka(home / "kafka", ports["kafka"], ports["controller"], keep=keep)
    services: list[Supervised] = []
    servers = home / SERVERS
    servers.unlink(missing_ok=True)
    try:
        _say("Starting Postgres and Kafka ...")
        # in this thread: a child is told to end when the thread that started it does
        if kafka is not None:
            kafka.launch()
            bootstrap = kafka.bootstrap
        if postgres is not None:
            postgres.start()
            database_url = postgres.url
        if kafka is not None:
            kafka.wait()
        assert database_url
        assert bootstrap
        asyncio.run(migrate(database_url))
        known = _demo(home, port, database_url)
        environ = {
            **os.environ,
            DATABASE: database_url,
            KAFKA: bootstrap,
            "HEADWATER_HTTP_PORT": str(port),
            "HEADWATER_OPERATOR_TOKEN": known["HEADWATER_ADMIN_TOKEN"],
            "PYTHONUNBUFFERED": "1",
        }
        # the same at each start, another one for each hub: several may share a Kafka and its database
        here = f"{zlib.crc32(f'{socket.gethostname()} {home}'.encode()):08x}"
        for number in range(processors):
            own = {**environ, "HEADWATER_PROCESSOR_INSTANCE": f"processor-{number}-{here}"}
            log = home / f"processor-{number}.log"
            services.append(Supervised(f"processor {number}", "processor", log, own, keep))
        for number in range(workers):
            log = home / f"web-{number}.log"
            services.append(Supervised(f"web {number}", "deploy.single", log, environ, keep))
        _wait_until_serving(port, services, home)
        write_env(servers, {name: environ[name] for name in (DATABASE, KAFKA)})
        _write_demo(home, known)
        with suppress(OSError):
            _greet(home, known)
        while True:
            for service in services:
                service.look_after()
            _check_server("Postgres", postgres)
            _check_server("Kafka", kafka)
            time.sleep(0.3)
    finally:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        _say("Stopping ...")
        servers.unlink(missing_ok=True)
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda service: service.stop(4.0), services))
            list(threads.map(lambda server: server.stop(4.0), filter(None, (kafka, postgres))))
        _say(f"Stopped. The data stay in {home}")


def _check_server(name: str, server: EmbeddedPostgres | EmbeddedKafka | None) -> None:
    if server is not None and server.process is not None and server.process.poll() is not None:
        _say(f"{name} ended; starting it again")
        server.start()


def _ports(home: Path) -> dict[str, int]:
    file = home / "ports.json"
    before = read_ports(file)
    ports = kept_ports(file, ("postgres", "kafka", "controller"))
    for name, port in ports.items():
        if before.get(name, port) != port:
            _say(f"Port {before[name]} of {name} is taken now, using {port}")
    return ports


def _demo(home: Path, port: int, database_url: str) -> dict[str, str]:
    """What `demo.env` says: as at an earlier start, or made now.

    The file is set aside until the hub serves: scripts wait for it.
    """
    file, aside = home / "demo.env", home / "demo.env.before"
    if file.exists():
        file.replace(aside)
    before = read_env(aside) if aside.exists() else {}
    token = before.get("HEADWATER_TOKEN")
    # another database than at the earlier start doesn't know the tokens of that one
    if token and all(before.get(name) for name in DEMO) and _is_known(database_url, token):
        known = {name: before[name] for name in DEMO}
    else:
        demo = asyncio.run(make_demo(database_url))
        known = {
            "HEADWATER_WORKSPACE_ID": str(demo.workspace_id),
            "HEADWATER_NODE_ID": str(demo.node_id),
            "HEADWATER_TOKEN": demo.token,
        }
    operator = os.environ.get("HEADWATER_OPERATOR_TOKEN") or before.get("HEADWATER_ADMIN_TOKEN")
    return {
        "HEADWATER_URL": f"http://{_host()}:{port}",
        **known,
        "HEADWATER_ADMIN_TOKEN": operator or new_token(),
    }


def _is_known(database_url: str, token: str) -> bool:
    return asyncio.run(is_token_known(database_url, token))


def _host() -> str:
    """Where this machine reaches the services: they may listen everywhere, or on one address."""
    host = os.environ.get("HEADWATER_HTTP_HOST") or LOOPBACK
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        return LOOPBACK
    return f"[{host}]" if ":" in host else host


def _write_demo(home: Path, known: Mapping[str, str]) -> None:
    write_env(home / "demo.env", known)
    (home / "demo.env.before").unlink(missing_ok=True)


def _wait_until_serving(port: int, services: list[Supervised], home: Path) -> None:
    limit = time.monotonic() + SERVE_SECONDS
    last = "nothing answers"
    while time.monotonic() < limit:
        for service in services:
            service.look_after()
        try:
            with urllib.request.urlopen(f"http://{_host()}:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as exc:
            last = exc.read(2_000).decode(errors="replace")
        except (urllib.error.URLError, OSError) as exc:
            last = str(exc)
        time.sleep(0.05)
    raise HubError(
        f"the hub does not serve after {SERVE_SECONDS} s ({last}); see the logs in {home}"
    )


def _greet(home: Path, known: Mapping[str, str]) -> None:
    base = "$HEADWATER_URL/hub/v1/workspaces/$HEADWATER_WORKSPACE_ID"
    auth = '-H "Authorization: Bearer $HEADWATER_TOKEN"'
    file = shlex.quote(str(home / "demo.env"))
    headwater = _shown(Path(sys.executable).parent / "headwater")
    example = Path(__file__).parents[2] / "examples" / "cdnow_orders.csv"
    load = f"\nLoad the real data:  {headwater} load cdnow {_shown(example)}"
    click.echo(
        f"""
Headwater serves at {known["HEADWATER_URL"]}

  workspace       {known["HEADWATER_WORKSPACE_ID"]}
  node            {known["HEADWATER_NODE_ID"]}
  token           {known["HEADWATER_TOKEN"]}
  operator token  {known["HEADWATER_ADMIN_TOKEN"]}

They stand in {home / "demo.env"} too. In another terminal:

  set -a; . {file}; set +a

  curl -s {auth} -H 'Content-Type: application/json' "{base}/customers" -d '{{"nodeId":"'$HEADWATER_NODE_ID'","externalId":"ann-1","base":{{"firstName":"Ann"}}}}'

  curl -s {auth} -H 'Content-Type: application/json' "{base}/events" -d '{{"type":"viewedPage","context":"WEB","properties":{{"url":"https://example.com/"}},"bringBackProperties":{{"type":"EXTERNAL_ID","value":"ann-1","nodeId":"'$HEADWATER_NODE_ID'"}}}}'

  curl -s {auth} "{base}/updates?wait=10"

Follow the feed:     {headwater} tail{load if example.is_file() else ""}
Is it well:          {headwater} doctor
Stop:                Ctrl-C
"""
    )


def _shown(path: Path) -> str:
    """The shortest way to a file from here, as it is typed."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
