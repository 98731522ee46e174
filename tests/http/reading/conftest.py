"""The reading and the configuration service in this process, on a database of the test's own."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

import control_api.routes
import stream_api.routes
from headwater import clock
from headwater.domain.configuration import Role
from headwater.domain.ids import NodeId, WorkspaceId
from headwater.http.app import build_app
from headwater.http.shared import SharedParts, open_shared
from headwater.postgres.config import hash_token, new_token
from headwater.settings import PostgresSettings, Settings, StreamSettings
from stream_api.app import open_parts, release_waiters
from stream_api.follow import Follower
from stream_api.keys import FOLLOWER
from tests.hub import eventually
from tests.postgres.writer import Writer

OPERATOR = "operator-token-of-the-tests"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Reads:
    """Calls the service as the owner of `token`, in one workspace with two nodes."""

    http: TestClient[Any, Any]
    parts: SharedParts
    token: str
    workspace_id: str
    node_id: str
    other_node_id: str
    writer: Writer

    @property
    def follower(self) -> Follower:
        follower: Follower = self.http.app[FOLLOWER]
        return follower

    def path(self, path: str) -> str:
        return f"/hub/v1/workspaces/{self.workspace_id}{path}"

    async def get(self, path: str, *, method: str = "GET", **params: Any) -> Answer:
        async with self.stream(path, method=method, **params) as answer:
            raw = await answer.read()
            is_json = "application/json" in answer.headers.get("Content-Type", "")
            parsed = json.loads(raw) if raw and is_json else None
            return Answer(answer.status, parsed, answer.headers, raw)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> AsyncIterator[ClientResponse]:
        """The answer while it comes."""
        whole = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        pairs = [
            (name, str(value))
            for name, values in params.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        url = self.path(path)
        async with self.http.request(method, url, headers=whole, params=pairs) as answer:
            yield answer

    def refused(self, answer: Answer, status: int, message: str, *errors: Any) -> None:
        """The answer is an error of four members, with these (message, path) pairs."""
        assert (answer.status, answer.body["message"]) == (status, message)
        assert set(answer.body) == {"message", "logref", "data", "errors"}
        assert answer.body["data"] is None
        assert [(e["message"], e["path"]) for e in answer.body["errors"]] == list(errors)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    def acting_as(self, token: str) -> Reads:
        return replace(self, token=token)

    async def configure(self, method: str, path: str, body: Any) -> Any:
        url = self.path(f"/configuration{path}")
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            raw = await answer.read()
            assert answer.status < 300, raw
            return json.loads(raw) if raw else None

    async def source(self, *nodes: str, provider: str = "API") -> Any:
        body = {"provider": provider, "name": "t", "nodes": list(nodes)}
        return await self.configure("POST", "/sources", body)

    async def user(self, *roles: Role, permission: str = "R") -> Reads:
        """As a new user of this workspace, with rights on its first node."""
        token = new_token()
        async with self.parts.pool.transaction() as conn:
            await conn.execute(
                "INSERT INTO users (workspace_id, username, name, roles, nodes, token_hash,"
                " created_at, updated_at)"
                " VALUES ($1, $2, 'Ada', $3, $4::text::jsonb, $5, $6, $6)",
                self.writer.workspace_id,
                uuid.uuid4().hex,
                [role.value for role in roles],
                f'[{{"id":"{self.node_id}","permission":"{permission}"}}]',
                hash_token(token),
                clock.now(),
            )
            await conn.execute(
                "UPDATE workspaces SET config_version = config_version + 1 WHERE id = $1",
                self.writer.workspace_id,
            )
        await self.parts.configs.refresh()
        return self.acting_as(token)

    async def waiting(self, count: int) -> None:
        """Until so many readers wait for the feed."""

        async def there() -> bool:
            return self.follower.waiting == count

        await eventually(there, what=f"{count} waiting readers")


@asynccontextmanager
async def reading_hub(database_url: str, stream: StreamSettings) -> AsyncIterator[Reads]:
    """As a source of both nodes of a fresh workspace."""
    settings = replace(
        Settings.from_env({"HEADWATER_DATABASE_URL": database_url}),
        postgres=PostgresSettings(database_url=database_url),
        operator_token=OPERATOR,
        stream=stream,
    )
    async with open_shared(settings) as parts, open_parts(settings, parts) as more:
        routes = [*stream_api.routes.ROUTES, *control_api.routes.ROUTES]
        app = build_app(routes, state={**parts.state(), **more})
        app.on_shutdown.append(release_waiters)
        async with TestClient(TestServer(app)) as http:
            body = {"name": "Shop", "slug": uuid.uuid4().hex, "groupPk": 7, "shard": "default"}
            headers = {"Authorization": f"Bearer {OPERATOR}"}
            async with http.post("/hub/v1/workspaces", json=body, headers=headers) as answer:
                assert answer.status == 201, await answer.read()
                workspace_id = (await answer.json())["id"]
            writer = Writer(
                pool=parts.pool,
                workspace_id=WorkspaceId(uuid.UUID(workspace_id)),
                node_id=NodeId(uuid.uuid4()),
            )
            bare = Reads(http, parts, OPERATOR, workspace_id, "", "", writer)
            nodes = [
                (await bare.configure("POST", "/nodes/entries", {"name": name}))["id"]
                for name in ("web", "till")
            ]
            writer.node_id = NodeId(uuid.UUID(nodes[0]))
            token = (await bare.source(*nodes))["token"]
            yield replace(bare, token=token, node_id=nodes[0], other_node_id=nodes[1])


@pytest.fixture
async def reads(database_url: str) -> AsyncIterator[Reads]:
    settings = StreamSettings(heartbeat_seconds=0.3, scan_rows=50)
    async with asyncio.timeout(100), reading_hub(database_url, settings) as made:
        yield made
