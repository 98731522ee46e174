"""A hub as users meet it: processes of our own, that a test can also kill, stop and wake.

`Hub` runs the processes, `Workspace` is one workspace of it with a source's token.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from headwater.embedded.child import spawn, stop
from headwater.embedded.ports import LOOPBACK, kept_ports
from tests.servers import eventually

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `json` is the body, None if it is empty or no JSON."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        try:
            return orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return None


@dataclass(slots=True)
class Child:
    """A process of the hub."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """As a crash."""
        if self.is_running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def pause(self) -> None:
        """Nothing in it moves until `resume`."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self, seconds: float = 15.0) -> None:
        """As an operator does: SIGTERM."""
        stop(self.process, signal.SIGTERM, seconds)

    def log_lines(self) -> list[dict[str, Any]]:
        """Its log so far; lines that are not JSON stand under `text`."""
        lines: list[dict[str, Any]] = []
        for raw in self.log.read_text(encoding="utf-8").splitlines():
            try:
                value = orjson.loads(raw)
            except orjson.JSONDecodeError:
                value = None
            lines.append(value if isinstance(value, dict) else {"text": raw})
        return lines

    def errors(self) -> list[dict[str, Any]]:
        """The log's errors."""
        return [line for line in self.log_lines() if line.get("level") in {"error", "critical"}]


@dataclass(slots=True)
class Hub:
    """One hub on given servers. `environ` may be changed before a process is started."""

    folder: Path
    database_url: str
    bootstrap: str
    environ: dict[str, str] = field(default_factory=dict)
    admin_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    port: int = 0
    children: list[Child] = field(default_factory=list)
    _http: aiohttp.ClientSession | None = None

    def __post_init__(self) -> None:
        self.port = self.port or kept_ports(self.folder / "hub-ports.json", ("web",))["web"]
        self.environ = {
            "HEADWATER_DATABASE_URL": self.database_url,
            "HEADWATER_KAFKA_BOOTSTRAP": self.bootstrap,
            "HEADWATER_HTTP_PORT": str(self.port),
            "HEADWATER_OPERATOR_TOKEN": self.admin_token,
            "HEADWATER_LOG_FORMAT": "json",
            **self.environ,
        }

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hub/v1"

    @property
    def http(self) -> aiohttp.ClientSession:
        """A client without a token."""
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self._http

    def run_child(self, name: str, module: str, environ: Mapping[str, str] | None = None) -> Child:
        """Start `python -m module`."""
        log = self.folder / f"{name}-{len(self.children)}.log"
        process = spawn(
            [sys.executable, "-m", module],
            log=log,
            end_with=signal.SIGKILL,
            environ={**os.environ, **self.environ, **(environ or {})},
        )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    async def start_web(self, environ: Mapping[str, str] | None = None) -> Child:
        """All HTTP services on the hub's port; returns when they take requests."""
        child = self.run_child("web", "deploy.single", environ)
        await self.wait_for_web(child)
        return child

    async def wait_for_web(self, child: Child, seconds: float = 30.0) -> None:
        """Return when the hub answers."""

        async def is_live() -> bool:
            assert child.is_running, child.log.read_text(encoding="utf-8")
            try:
                return (await self.call("GET", "/health/live")).status == 200
            except aiohttp.ClientError:
                return False

        await eventually(is_live, seconds=seconds, what="the web process serves")

    async def start_processor(
        self, instance: str = "processor-1", environ: Mapping[str, str] | None = None
    ) -> Child:
        """A processor; returns when it says that it runs. Killed ones come back under their name."""
        child = self.run_child(
            instance,
            "processor",
            {"HEADWATER_PROCESSOR_INSTANCE": instance, **(environ or {})},
        )

        def is_started() -> bool:
            assert child.is_running, child.log.read_text(encoding="utf-8")
            return any(line.get("event") == "processor started" for line in child.log_lines())

        await eventually(is_started, seconds=30, what=f"{instance} starts")
        return child

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    ) -> Answer:
        """One request below /hub/v1. `body`: bytes go as they are, anything else as JSON."""
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        data = None
        if body is not None:
            sent = {**JSON, **sent}
            data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.http.request(
            method, self.url + path, data=data, headers=sent, params=params
        ) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.text())

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a request as the platform operator; it must succeed."""
        answer = await self.call(method, path, body, token=self.admin_token)
        assert answer.status < 300, (method, path, answer)
        return answer.json

    async def create_workspace(self, *, node: Mapping[str, Any] | None = None) -> Workspace:
        """A new workspace with a node (`node` changes its defaults) and a trusted source."""
        slug = f"test-{uuid.uuid4().hex[:12]}"
        made = await self.admin(
            "POST",
            "/workspaces",
            {"name": slug, "slug": slug, "groupPk": 1, "shard": "default"},
        )
        workspace_id = made["id"]
        configuration = f"/workspaces/{workspace_id}/configuration"
        entry = await self.admin(
            "POST", f"{configuration}/nodes/entries", {"name": "entry", **(node or {})}
        )
        workspace = Workspace(self, workspace_id, entry["id"])
        source = await workspace.create_source()
        workspace.source_id, workspace.token = source["id"], source["token"]
        return workspace

    async def close(self) -> None:
        """Stop what still runs: the front door first."""
        if self._http is not None:
            await self._http.close()
            self._http = None
        for child in self.children:
            if child.is_running:
                child.resume()
                child.stop()

    def errors(self) -> list[dict[str, Any]]:
        """The errors in all logs."""
        return [line for child in self.children for line in child.errors()]


@dataclass(slots=True)
class Workspace:
    """One workspace, its entry node, and a trusted source with all rights on the node."""

    hub: Hub
    id: str
    node_id: str
    source_id: str = ""
    token: str = ""

    @property
    def path(self) -> str:
        return f"/workspaces/{self.id}"

    async def create_source(
        self, provider: str = "API", nodes: Sequence[str] | None = None, **members: Any
    ) -> Any:
        """A further source, with its token."""
        return await self.hub.admin(
            "POST",
            f"{self.path}/configuration/sources",
            {
                "provider": provider,
                "name": f"source {uuid.uuid4().hex[:6]}",
                "nodes": list(nodes or [self.node_id]),
                **members,
            },
        )

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    ) -> Answer:
        """A request within the workspace (`/customers`), as its source."""
        return await self.hub.call(
            method,
            self.path + path,
            body,
            token=token or self.token,
            headers=headers,
            params=params,
        )

    async def get(self, path: str, **params: str) -> Answer:
        return await self.call("GET", path, params=params)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """`headers` by their names with underscores: `Prefer=...`, `Idempotency_Key=...`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", path, body, headers=named)

    async def read_feed(self, after: int = 0) -> list[Any]:
        """All updates after an offset that are visible now."""
        updates: list[Any] = []
        while True:
            page = (await self.get("/updates", offset=str(after), size="1000")).json
            updates += page["elements"]
            if not page["elements"]:
                return updates
            after = page["nextOffset"]

    async def feed_of(self, count: int, *, after: int = 0, seconds: float = 30.0) -> list[Any]:
        """The feed once it has at least `count` updates after an offset."""
        seen: list[Any] = []

        async def has_enough() -> bool:
            seen[:] = await self.read_feed(after)
            return len(seen) >= count

        await eventually(has_enough, seconds=seconds, what=f"{count} updates")
        return seen
