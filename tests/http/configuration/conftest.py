"""The configuration service in this process, on a database of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from control_api.routes import ROUTES
from headwater import clock
from headwater.domain.configuration import Role
from headwater.domain.ids import WorkspaceId
from headwater.http.app import build_app
from headwater.http.shared import SharedParts, open_shared
from headwater.postgres.config import hash_token, lock_configuration, new_token
from headwater.settings import PostgresSettings, Settings

OPERATOR = "operator-token-of-the-tests"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Control:
    """Calls the service as the owner of `token`, in one workspace with one node."""

    http: TestClient[Any, Any]
    parts: SharedParts
    token: str
    workspace_id: str = ""
    node_id: str = ""

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """`path` below the workspace's configuration, or from the root if it begins with /hub."""
        if not path.startswith("/hub"):
            path = f"/hub/v1/workspaces/{self.workspace_id}/configuration{path}"
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        options = options if body is None else {"json": body, **options}
        async with self.http.request(method, path, headers=headers, **options) as answer:
            raw = await answer.read()
            parsed = await answer.json() if raw else None
            return Answer(answer.status, parsed, answer.headers)

    async def refused(self, answer: Answer, status: int, message: str, *errors: Any) -> None:
        """The answer is an error of four members, with these (message, path) pairs."""
        assert (answer.status, answer.body["message"]) == (status, message)
        assert set(answer.body) == {"message", "logref", "data", "errors"}
        assert answer.body["data"] is None
        assert [(e["message"], e["path"]) for e in answer.body["errors"]] == list(errors)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Tracing-ID"]

    def acting_as(self, token: str) -> Control:
        return replace(self, token=token)

    async def another_workspace(self) -> Control:
        body = {"name": "Shop", "slug": uuid.uuid4().hex, "groupPk": 7, "shard": "default"}
        made = await self.acting_as(OPERATOR).call("POST", "/hub/v1/workspaces", body)
        assert made.status == 201, made
        there = replace(self, token=OPERATOR, workspace_id=made.body["id"])
        node = await there.call("POST", "/nodes/entries", {"name": "web"})
        assert node.status == 201, node
        return replace(there, node_id=node.body["id"])

    async def source(self, **members: Any) -> Any:
        """A new source of this workspace."""
        body = {"provider": "API", "name": "till", "nodes": [self.node_id], **members}
        made = await self.acting_as(OPERATOR).call("POST", "/sources", body)
        assert made.status == 201, made
        return made.body

    async def user(self, *roles: Role) -> Control:
        """As a new user of this workspace, with read rights on its node."""
        token = new_token()
        async with self.parts.pool.transaction() as conn:
            await conn.execute(
                "INSERT INTO users (workspace_id, username, name, roles, nodes, token_hash,"
                " created_at, updated_at)"
                " VALUES ($1, $2, 'Ada', $3, $4::text::jsonb, $5, $6, $6)",
                uuid.UUID(self.workspace_id),
                uuid.uuid4().hex,
                [role.value for role in roles],
                f'[{{"id":"{self.node_id}","permission":"R"}}]',
                hash_token(token),
                clock.now(),
            )
            await conn.execute(
                "UPDATE workspaces SET config_version = config_version + 1 WHERE id = $1",
                uuid.UUID(self.workspace_id),
            )
        await self.parts.configs.refresh()
        return self.acting_as(token)

    async def define_extended(self, definitions: Mapping[str, Any]) -> None:
        """Extended properties of customers in this workspace."""
        async with self.parts.pool.transaction() as conn:
            for name, definition in definitions.items():
                await conn.execute(
                    "INSERT INTO extended_properties (workspace_id, scope, name, definition)"
                    " VALUES ($1, 'customer', $2, $3::text::jsonb)",
                    uuid.UUID(self.workspace_id),
                    name,
                    orjson.dumps(definition).decode(),
                )
            await lock_configuration(conn, WorkspaceId(uuid.UUID(self.workspace_id)))
        await self.parts.configs.refresh()

    async def set_status(self, status: str) -> None:
        path = f"/hub/v1/workspaces/{self.workspace_id}/status"
        answer = await self.acting_as(OPERATOR).call("PUT", path, {"status": status})
        assert answer.status == 200, answer


@pytest.fixture
async def control(database_url: str) -> AsyncIterator[Control]:
    """As the platform's operator, in a fresh workspace."""
    settings = replace(
        Settings.from_env({"HEADWATER_DATABASE_URL": database_url}),
        postgres=PostgresSettings(database_url=database_url),
        operator_token=OPERATOR,
    )
    async with open_shared(settings) as parts:
        app = build_app(ROUTES, state=parts.state())
        async with TestClient(TestServer(app)) as http:
            yield await Control(http, parts, OPERATOR).another_workspace()
