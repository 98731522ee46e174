"""Callers beside the fixture `client`: other sources, people, another node; and how answers are compared."""

from __future__ import annotations

import json
import uuid
from typing import Any

import aiohttp

from headwater import clock
from headwater.postgres.config import hash_token, new_token
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings
from tests.hub import OPERATOR_TOKEN, Answer, Client, eventually

UNAUTHORIZED = "The client is not authorized to access the API"
FORBIDDEN = "You don't have the necessary permissions for the resource"


def refused(answer: Answer, status: int, message: str, *errors: tuple[str, str]) -> None:
    """The whole answer is this refusal; `errors` are pairs of message and path."""
    assert isinstance(answer.body, dict), answer
    logref = answer.body.get("logref")
    assert isinstance(logref, str)
    assert logref
    assert (answer.status, {**answer.body, "errors": _pairs(answer)}) == (
        status,
        {"message": message, "logref": logref, "data": None, "errors": sorted(errors)},
    )
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Tracing-ID"]


def refused_loosely(answer: Answer, status: int, message: str) -> None:
    """As `refused`, whatever the explanations in `errors` say."""
    refused(answer, status, message, *_pairs(answer))


def _pairs(answer: Answer) -> list[tuple[str, str]]:
    errors = answer.body["errors"]
    assert all(
        error == {"message": error["message"], "path": error["path"], "code": None, "data": None}
        for error in errors
    )
    return sorted((error["message"], error["path"]) for error in errors)


async def configure(client: Client, path: str, body: Any) -> Any:
    """POST below the workspace's configuration, as the platform's operator."""
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    answer = await client.call("POST", f"/configuration{path}", body, headers=headers)
    assert answer.status == 201, answer
    return answer.body


async def another_node(client: Client, *, unique: list[str] | None = None) -> str:
    """Another entry node of the workspace, that `client` may not use."""
    rule = {"properties": ["externalId"] if unique is None else unique, "caseSensitive": False}
    made = await configure(client, "/nodes/entries", {"name": "web", "uniqueCustomer": rule})
    return str(made["id"])


async def source(client: Client, *, provider: str = "API", node: str | None = None) -> Client:
    """Another source of the workspace, for the client's node or `node`."""
    node = node or client.node_id
    made = await configure(
        client, "/sources", {"provider": provider, "name": "s", "nodes": [node], "properties": {}}
    )
    return await _known(client, node, made["token"])


async def untrusted(client: Client) -> Client:
    """A source whose token sits in a browser."""
    return await source(client, provider="JavaScript")


async def person(
    client: Client, role: str, permission: str = "RW", *, node: str | None = None
) -> Client:
    """A user of the workspace with a role, and a permission on the client's node or `node`."""
    token = new_token()
    pool = await open_pool(PostgresSettings(database_url=client.hub.postgres.url), max_size=1)
    try:
        async with pool.transaction() as conn:
            workspace_id = uuid.UUID(client.workspace_id)
            await conn.execute(
                "INSERT INTO users (workspace_id, username, name, roles, nodes, token_hash,"
                " created_at, updated_at)"
                " VALUES ($1, $2, 'Ada', $3, $4::text::jsonb, $5, $6, $6)",
                workspace_id,
                uuid.uuid4().hex,
                [role],
                json.dumps([{"id": node or client.node_id, "permission": permission}]),
                hash_token(token),
                clock.now(),
            )
            await conn.execute(
                "UPDATE workspaces SET config_version = config_version + 1 WHERE id = $1",
                workspace_id,
            )
    finally:
        await pool.close()
    return await _known(client, client.node_id, token)


def operator(client: Client) -> Client:
    """The platform's operator, in the client's workspace."""
    return acting_as(client, OPERATOR_TOKEN)


def acting_as(client: Client, token: str, *, node: str | None = None) -> Client:
    return Client(client.hub, client.http, client.workspace_id, node or client.node_id, token)


async def _known(client: Client, node: str, token: str) -> Client:
    made = acting_as(client, token, node=node)

    async def is_known() -> bool:
        return (await made.call("GET", f"/operations/{uuid.uuid4()}")).status != 401

    await eventually(is_known, 10, "a token to be known")
    return made


async def raw_call(client: Client, method: str, path: str, **options: Any) -> Answer:
    """A call with exactly these headers and this body, as from a client of another make."""
    headers = {"Authorization": f"Bearer {client.token}", **options.pop("headers", {})}
    async with aiohttp.ClientSession(
        client.hub.url, skip_auto_headers=("Content-Type", "Accept", "User-Agent")
    ) as http:
        url = client.path(path)
        async with http.request(method, url, headers=headers, **options) as answer:
            raw = await answer.read()
            parsed = json.loads(raw) if raw else None
            return Answer(answer.status, parsed, dict(answer.headers), raw)
