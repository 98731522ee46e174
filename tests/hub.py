"""A hub under test: real processes on real servers, to be called, killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson

from headwater.embedded.child import spawn, stop
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.postgres.migrate import migrate

OPERATOR_TOKEN = "operator-token-of-the-tests"
SECRETS = {OPERATOR_TOKEN}
"""What no log line may hold: the tokens that were given out. `tests/leaks.py` looks for them."""


class Hub:
    """A web process and processors against a database and a broker."""

    def __init__(
        self, folder: Path, postgres: EmbeddedPostgres, kafka: EmbeddedKafka, port: int
    ) -> None:
        self.postgres = postgres
        self.kafka = kafka
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.web: subprocess.Popen[bytes] | None = None
        self.processors: dict[int, subprocess.Popen[bytes]] = {}
        self.settings: dict[str, str] = {}
        """What its processes are told beside the usual, as environment variables."""
        self._read_bytes: dict[Path, int] = {}
        self._provoked: set[str] = set()

    def start(self) -> None:
        asyncio.run(migrate(self.postgres.url))
        self.start_processor(0)
        self.start_web()

    def start_web(self) -> None:
        self.web = spawn(
            [sys.executable, "-m", "deploy.single"],
            log=self.folder / "web.log",
            environ=self._environ(),
        )
        wait_for(self._serves, 30, f"the hub to serve; see {self.folder / 'web.log'}")

    def start_processor(self, number: int = 0, *, crash_at: str = "") -> None:
        environ = {
            **self._environ(),
            "HEADWATER_PROCESSOR_CRASH_AT": crash_at,
            "HEADWATER_PROCESSOR_INSTANCE": f"test-{number}",
            "HEADWATER_PROCESSOR_SESSION_SECONDS": "6",
        }
        self.processors[number] = spawn(
            [sys.executable, "-m", "processor"],
            log=self.folder / f"processor-{number}.log",
            environ=environ,
        )

    def kill_processor(self, number: int = 0) -> None:
        process = self.processors.pop(number)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def terminate_backends(self) -> None:
        """Cut all connections to the database from the server's side."""
        asyncio.run(_terminate_backends(self.postgres.url))

    def log_of(self, name: str) -> list[Any]:
        """What a process has logged so far."""
        return list(log_lines((self.folder / f"{name}.log").read_bytes()))

    def last_lines(self, count: int = 40) -> dict[str, str]:
        """The end of the log of each process, by the name of its file."""
        logs = sorted(self.folder.glob("*.log"))
        return {
            log.name: "\n".join(log.read_text(errors="replace").splitlines()[-count:])
            for log in logs
        }

    def new_errors(self, provoked: Collection[str] = ()) -> list[str]:
        """What the processes logged as errors since the last call, stray exceptions too.

        Left out are those with one of the sentences that are `provoked`. An exception that nobody retrieved is
        only told of when the garbage is collected: that may be long after the call which provoked it.
        """
        self._provoked.update(provoked)
        found = []
        for log in sorted([self.folder / "web.log", *self.folder.glob("processor-*.log")]):
            if log.exists():
                with log.open("rb") as file:
                    file.seek(self._read_bytes.get(log, 0))
                    raw = file.read()
                # a line that is still being written is left for the next call
                end = raw.rfind(b"\n") + 1
                found += [f"{log.name}: {error}" for error in errors_in(raw[:end])]
                self._read_bytes[log] = self._read_bytes.get(log, 0) + end

        def is_provoked(error: str) -> bool:
            sentences = self._provoked if "never retrieved" in error else provoked
            return any(sentence in error for sentence in sentences)

        return [error for error in found if not is_provoked(error)]

    def stop_processor(self, number: int = 0) -> None:
        stop(self.processors.pop(number), signal.SIGTERM, 10)

    def stop_web(self) -> None:
        assert self.web is not None
        stop(self.web, signal.SIGTERM, 20)

    def kill_web(self) -> None:
        assert self.web is not None
        os.killpg(self.web.pid, signal.SIGKILL)
        self.web.wait()

    def stop(self) -> None:
        if self.web is not None:
            stop(self.web, signal.SIGTERM, 10)
        for process in self.processors.values():
            stop(process, signal.SIGTERM, 10)

    def _environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "HEADWATER_DATABASE_URL": self.postgres.url,
            "HEADWATER_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "HEADWATER_HTTP_PORT": str(self.port),
            "HEADWATER_OPERATOR_TOKEN": OPERATOR_TOKEN,
            # tests refuse many writes on purpose; an error line would fail them
            "HEADWATER_PROCESSOR_ALARM_SHARE": "1",
            **self.settings,
        }

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def log_lines(raw: bytes) -> Iterator[dict[str, Any]]:
    """The structured lines of a log; a line that a kill cut off is none."""
    for line in raw.splitlines():
        if line.startswith(b"{"):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


_ERROR_LEVELS = {"error", "critical"}
_STRAY = re.compile(
    rb"^(?:ERROR|CRITICAL):|^Traceback |never retrieved|never awaited|^Fatal |Exception ignored"
)
_MILD = re.compile(rb"^(?:DEBUG|INFO|WARNING):")


def errors_in(raw: bytes) -> list[str]:
    """Lines of level error, and what Python itself prints about exceptions that nobody handled, whole.

    The trace below a library's warning is part of the warning.
    """
    found: list[str] = []
    stray: bool | None = False  # None: below a warning
    for line in raw.splitlines():
        if line.startswith(b"{"):
            stray = False
            found += [
                orjson.dumps(fields).decode()
                for fields in log_lines(line)
                if fields.get("level") in _ERROR_LEVELS
            ]
        elif _MILD.search(line):
            stray = None
        elif stray:
            found[-1] += "\n" + line.decode(errors="replace")
        elif _STRAY.search(line) and not (stray is None and line.startswith(b"Traceback ")):
            stray = True
            found.append(line.decode(errors="replace"))
    return found


async def _terminate_backends(database_url: str) -> None:
    conn = await asyncpg.connect(database_url)
    try:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await conn.close()


def freeze(child: subprocess.Popen[bytes]) -> None:
    """Stop a child's process group, to go on at SIGCONT; returns when all its threads stand still.

    The signal is sent at once, but those that run on the other core do so for a moment.
    """
    os.killpg(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once the condition holds."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


async def eventually(
    condition: Callable[[], Awaitable[Any]], seconds: float = 20, what: str = "a condition"
) -> Any:
    """The first true value of the condition."""
    limit = time.monotonic() + seconds
    while not (value := await condition()):
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {seconds} s for {what}")
        await asyncio.sleep(0.02)
    return value


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]
    raw: bytes


class Client:
    """Calls one workspace with one token."""

    def __init__(
        self, hub: Hub, http: aiohttp.ClientSession, workspace: str, node: str, token: str
    ) -> None:
        self.hub = hub
        self.http = http
        self.workspace_id = workspace
        self.node_id = node
        self.token = token

    def path(self, path: str) -> str:
        return f"/hub/v1/workspaces/{self.workspace_id}{path}"

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer:
        whole = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if data is not None:
            whole.setdefault("Content-Type", "application/json")
        async with self.http.request(
            method, self.path(path), json=body, data=data, headers=whole, params=params
        ) as answer:
            raw = await answer.read()
            parsed = None
            if raw and "json" in answer.headers.get("Content-Type", ""):
                parsed = await answer.json()
            return Answer(answer.status, parsed, dict(answer.headers), raw)

    async def customer(self, **members: Any) -> Any:
        """A new customer."""
        answer = await self.call("POST", "/customers", {"nodeId": self.node_id, **members})
        assert answer.status == 201, answer
        return answer.body

    def event(self, **members: Any) -> dict[str, Any]:
        """A valid event of nobody, unless `members` say otherwise."""
        event: dict[str, Any] = {
            "type": "viewedPage",
            "context": "WEB",
            "properties": {"url": "https://example.com/"},
        }
        if "customerId" not in members:
            event["bringBackProperties"] = {
                "type": "SESSION_ID",
                "value": "s1",
                "nodeId": self.node_id,
            }
        return {**event, **members}

    async def feed(self, offset: int = 0) -> list[Any]:
        """Everything behind an offset."""
        updates: list[Any] = []
        while True:
            answer = await self.call(
                "GET", "/updates", params={"offset": str(offset), "size": "4000"}
            )
            assert answer.status == 200, answer
            if not answer.body["updates"]:
                return updates
            updates += answer.body["updates"]
            assert answer.body["nextOffset"] == offset + len(answer.body["updates"])
            offset = answer.body["nextOffset"]

    async def feed_of(self, count: int, seconds: float = 60) -> list[Any]:
        """The whole feed once it has `count` entries or more."""

        async def long_enough() -> list[Any]:
            try:
                updates = await self.feed()
            except (AssertionError, aiohttp.ClientError):
                return []
            return updates if len(updates) >= count else []

        found: list[Any] = await eventually(long_enough, seconds, f"{count} updates")
        return found


@asynccontextmanager
async def make_client(
    hub: Hub, *, unique: list[str] | None = None, mandatory: list[str] | None = None
) -> AsyncIterator[Client]:
    """A fresh workspace with an entry node and a source of full rights."""
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with aiohttp.ClientSession(hub.url) as http:

        async def post(path: str, body: Any) -> Any:
            async with http.post(path, json=body, headers=operator) as answer:
                made = await answer.json()
                assert answer.status == 201, made
                return made

        slug = uuid.uuid4().hex
        workspace = (
            await post(
                "/hub/v1/workspaces",
                {"name": "Test", "slug": slug, "groupPk": 1, "shard": "default"},
            )
        )["id"]
        base = f"/hub/v1/workspaces/{workspace}/configuration"
        rule = {"properties": ["externalId"] if unique is None else unique, "caseSensitive": False}
        body = {"name": "shop", "uniqueCustomer": rule, "mandatoryProperties": mandatory or []}
        node = (await post(f"{base}/nodes/entries", body))["id"]
        source = await post(f"{base}/sources", {"provider": "API", "name": "t", "nodes": [node]})
        SECRETS.add(source["token"])
        yield Client(hub, http, workspace, node, source["token"])
