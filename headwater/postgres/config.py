"""Configuration in Postgres: read as one value per workspace, written with its version raised.

Tokens are never stored; their SHA-256 is.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

import orjson

from headwater.domain import refusal as refusals
from headwater.domain.configuration import (
    CustomerPolicy,
    Node,
    NodeType,
    Permission,
    Role,
    Source,
    UniqueRule,
    User,
    WorkspaceConfig,
    WorkspaceStatus,
)
from headwater.domain.ids import NodeId, SourceId, WorkspaceId
from headwater.domain.json import JsonObject
from headwater.domain.matching import match_key
from headwater.errors import Refused
from headwater.postgres import statements
from headwater.postgres.pool import Connection, Row

SQL = statements.load("config")

REKEYED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace as provisioning and its configuration page show it."""

    id: WorkspaceId
    name: str
    slug: str
    group_pk: int
    shard: str
    status: WorkspaceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """Whose token it is: exactly one of `source_id` and `user_id` is set."""

    workspace_id: WorkspaceId | None
    source_id: SourceId | None
    user_id: int | None
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source with what only the configuration pages need."""

    source: Source
    description: str | None
    properties: JsonObject


def new_token() -> str:
    """A bearer token with 384 bits of randomness."""
    return secrets.token_urlsafe(48)


def hash_token(token: str) -> bytes:
    """What is stored of a token. It is random, so a plain digest is enough."""
    return hashlib.sha256(token.encode()).digest()


# reading


async def read_workspace_config(
    conn: Connection, workspace_id: WorkspaceId
) -> WorkspaceConfig | None:
    """The whole configuration of a workspace, None if there is no such workspace."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        row = await conn.fetchrow(SQL["read_workspace"], workspace_id)
        if row is None:
            return None
        nodes = await conn.fetch(SQL["read_nodes"], workspace_id)
        sources = await conn.fetch(SQL["read_sources"], workspace_id)
        users = await conn.fetch(SQL["read_users"], workspace_id)
        extended = await conn.fetch(SQL["read_extended_properties"], workspace_id)
        types = await conn.fetch(SQL["read_event_types"], workspace_id)
    customer_extended: dict[str, JsonObject] = {}
    event_extended: dict[str, dict[str, JsonObject]] = {}
    for definition in extended:
        scope, value = definition["scope"], orjson.loads(definition["definition"])
        if scope == "customer":
            customer_extended[definition["name"]] = value
        elif scope.startswith("event:"):
            of_type = event_extended.setdefault(scope.removeprefix("event:"), {})
            of_type[definition["name"]] = value
    return WorkspaceConfig(
        id=workspace_id,
        version=row["config_version"],
        name=row["name"],
        status=WorkspaceStatus(row["status"]),
        customer_policy=CustomerPolicy(row["customer_policy"]),
        nodes=MappingProxyType({NodeId(n["id"]): _node(n) for n in nodes}),
        sources=MappingProxyType({SourceId(s["id"]): _source(s).source for s in sources}),
        users=MappingProxyType({u["id"]: _user(u) for u in users}),
        customer_extended=MappingProxyType(customer_extended),
        event_extended=MappingProxyType(event_extended),
        disabled_event_types=frozenset(t["type"] for t in types if not t["enabled"]),
        event_max_bytes=MappingProxyType(
            {t["type"]: t["max_bytes"] for t in types if t["max_bytes"] is not None}
        ),
        max_requests_per_minute=row["max_requests_per_minute"],
    )


async def read_config_versions(
    conn: Connection, workspace_ids: Sequence[WorkspaceId]
) -> dict[WorkspaceId, int]:
    """The present version of each of these configurations."""
    rows = await conn.fetch(SQL["read_versions"], list(workspace_ids))
    return {WorkspaceId(row["id"]): row["config_version"] for row in rows}


async def read_platform_version(conn: Connection) -> int:
    """Raised whenever a user of the platform changes."""
    version: int = await conn.fetchval(SQL["read_platform_version"])
    return version


async def find_token_owner(conn: Connection, token_hash: bytes) -> TokenOwner | None:
    """Whose token this is."""
    row = await conn.fetchrow(SQL["find_token"], token_hash)
    if row is None:
        return None
    return TokenOwner(
        workspace_id=row["workspace_id"],
        source_id=row["source_id"],
        user_id=row["user_id"],
        roles=frozenset(Role(role) for role in row["roles"] or ()),
    )


async def read_user(conn: Connection, user_id: int) -> JsonObject | None:
    """Name, surname, email, roles of a user."""
    row = await conn.fetchrow(SQL["read_user"], user_id)
    return None if row is None else dict(row)


async def list_workspaces(conn: Connection, *, only: WorkspaceId | None = None) -> list[Workspace]:
    """Workspaces in order of creation."""
    rows = await conn.fetch(SQL["list_workspaces"], only)
    return [
        Workspace(
            id=WorkspaceId(row["id"]),
            name=row["name"],
            slug=row["slug"],
            group_pk=row["group_pk"],
            shard=row["shard"],
            status=WorkspaceStatus(row["status"]),
        )
        for row in rows
    ]


async def read_workspace_configuration(
    conn: Connection, workspace_id: WorkspaceId
) -> JsonObject | None:
    """What operation 18 shows, except for the policy that it always reports."""
    row = await conn.fetchrow(SQL["read_workspace"], workspace_id)
    if row is None:
        return None
    return {key: row[key] for key in ("name", "industry", "logo", "timezone", "currency", "tier")}


async def list_nodes(conn: Connection, workspace_id: WorkspaceId) -> list[Node]:
    """All nodes in order of creation."""
    return [_node(row) for row in await conn.fetch(SQL["read_nodes"], workspace_id)]


async def list_sources(conn: Connection, workspace_id: WorkspaceId) -> list[SourceRow]:
    """All sources in order of creation."""
    return [_source(row) for row in await conn.fetch(SQL["read_sources"], workspace_id)]


# writing


async def create_workspace(
    conn: Connection,
    workspace_id: WorkspaceId,
    *,
    name: str,
    slug: str,
    group_pk: int,
    now: datetime,
    shard: str = "default",
    policy: CustomerPolicy = CustomerPolicy.MERGE,
) -> None:
    """A new workspace with its feed.

    Raises:
        Refused: 409, the slug is taken.
    """
    created = await conn.fetchval(
        SQL["insert_workspace"], workspace_id, name, slug, group_pk, shard, policy.value, now
    )
    if created is None:
        raise Refused(refusals.conflict(f"the slug {slug!r} is taken"))
    await conn.execute(SQL["insert_feed"], workspace_id)
    await conn.execute(SQL["insert_customer_numbers"], workspace_id)


async def set_workspace_status(
    conn: Connection, workspace_id: WorkspaceId, status: WorkspaceStatus
) -> None:
    """ENABLED, SUSPENDED (reads only) or DISABLED."""
    await conn.execute(SQL["raise_version"], workspace_id)
    await conn.execute(SQL["set_workspace_status"], workspace_id, status.value)


async def set_workspace_policy(
    conn: Connection, workspace_id: WorkspaceId, policy: CustomerPolicy, now: datetime
) -> None:
    """What a POST does that matches; BLOCK and NO_CHECK are the operator's only.

    Customers that were made without a check get match keys when the check begins.

    Raises:
        Refused: 409, two live customers of a node would share a key; nothing changes.
    """
    before = await conn.fetchval(SQL["raise_version"], workspace_id)
    await conn.execute(SQL["set_workspace_policy"], workspace_id, policy.value)
    if before == CustomerPolicy.NO_CHECK and policy is not CustomerPolicy.NO_CHECK:
        for node in await list_nodes(conn, workspace_id):
            await _write_match_keys(conn, workspace_id, node, now)


async def set_workspace_configuration(
    conn: Connection, workspace_id: WorkspaceId, fields: Mapping[str, str | None]
) -> None:
    """`fields`: name, industry, logo, timezone, currency."""
    await conn.execute(SQL["raise_version"], workspace_id)
    names = ("name", "industry", "logo", "timezone", "currency")
    await conn.execute(
        SQL["set_workspace_configuration"], workspace_id, *(fields[name] for name in names)
    )


async def set_throttling(
    conn: Connection, workspace_id: WorkspaceId, max_requests_per_minute: int
) -> None:
    """How many requests a minute the workspace may make; 0 for as many as come."""
    await conn.execute(SQL["raise_version"], workspace_id)
    await conn.execute(SQL["set_throttling"], workspace_id, max_requests_per_minute)


async def write_node(
    conn: Connection, workspace_id: WorkspaceId, node: Node, now: datetime
) -> None:
    """Create or change an entry node. A changed rule gives its customers new match keys.

    Raises:
        Refused: 409, two live customers would share a key under the new rule; nothing changes.
    """
    policy = await conn.fetchval(SQL["raise_version"], workspace_id)
    before = next((n for n in await list_nodes(conn, workspace_id) if n.id == node.id), None)
    await conn.execute(
        SQL["write_node"],
        workspace_id,
        node.id,
        node.name,
        node.description,
        node.image_url,
        list(node.unique.properties),
        node.unique.case_sensitive,
        list(node.mandatory),
        list(node.source_priority),
        now,
    )
    if policy != CustomerPolicy.NO_CHECK and before is not None and before.unique != node.unique:
        await _write_match_keys(conn, workspace_id, node, now)


async def _write_match_keys(
    conn: Connection, workspace_id: WorkspaceId, node: Node, now: datetime
) -> None:
    """New match keys for all customers of a node, some at a time: memory and event loop stay free."""
    await conn.execute(SQL["delete_match_keys"], workspace_id, node.id)
    if not node.unique.properties:
        return
    customers = await conn.cursor(SQL["read_documents_of_node"], workspace_id, node.id)
    while rows := await customers.fetch(REKEYED_AT_ONCE):
        owners: dict[str, UUID] = {}
        for row in rows:
            key = match_key(orjson.loads(row["document"]), node.unique)
            if key is None:
                continue
            if key in owners:
                raise Refused(_shared_key(owners[key], row["id"]))
            owners[key] = row["id"]
        values = list(owners)
        free = await conn.fetch(
            SQL["insert_match_keys"], workspace_id, node.id, values, list(owners.values()), now
        )
        for value in owners.keys() - {row["value"] for row in free}:
            other = await conn.fetchval(SQL["find_match_key"], workspace_id, node.id, value)
            raise Refused(_shared_key(other, owners[value]))


def _shared_key(one: UUID, other: UUID) -> refusals.Refusal:
    return refusals.conflict(f"customers {one} and {other} would share a key")


async def lock_configuration(conn: Connection, workspace_id: WorkspaceId) -> None:
    """Let nobody else change this configuration until the transaction ends; raises its version.

    For a change that keeps a part of what it read, as a source's token.
    """
    await conn.execute(SQL["raise_version"], workspace_id)


async def write_source(
    conn: Connection, workspace_id: WorkspaceId, row: SourceRow, now: datetime
) -> None:
    """Create or change a source; its `token_hash` becomes the one that counts."""
    await conn.execute(SQL["raise_version"], workspace_id)
    source = row.source
    await conn.execute(
        SQL["write_source"],
        workspace_id,
        source.id,
        source.provider,
        source.name,
        row.description,
        orjson.dumps(row.properties).decode(),
        sorted(source.nodes),
        source.enabled,
        source.token_hash,
        now,
    )


async def delete_source(conn: Connection, workspace_id: WorkspaceId, source_id: SourceId) -> None:
    """The token dies; the id stays valid where documents name it."""
    await conn.execute(SQL["raise_version"], workspace_id)
    await conn.execute(SQL["delete_source"], workspace_id, source_id)


async def create_user(
    conn: Connection,
    workspace_id: WorkspaceId | None,
    user: User,
    *,
    username: str,
    surname: str | None,
    email: str | None,
    now: datetime,
) -> int:
    """A new user, of the platform if `workspace_id` is None; the id (that of `user` is not looked at).

    Raises:
        Refused: 409, the username is taken.
    """
    if workspace_id is not None:
        await conn.execute(SQL["raise_version"], workspace_id)
    nodes = [{"id": str(node), "permission": right.value} for node, right in user.nodes.items()]
    user_id: int | None = await conn.fetchval(
        SQL["insert_user"],
        workspace_id,
        username,
        user.name,
        surname,
        email,
        sorted(role.value for role in user.roles),
        orjson.dumps(nodes).decode(),
        user.token_hash,
        now,
    )
    if user_id is None:
        raise Refused(refusals.conflict(f"the username {username!r} is taken"))
    return user_id


async def revoke_user_token(conn: Connection, user_id: int, now: datetime) -> None:
    """The user's token is dead within a second.

    Raises:
        Refused: 404, no such user.
    """
    row = await conn.fetchrow(SQL["revoke_user_token"], user_id, now)
    if row is None:
        raise Refused(refusals.entity_not_found("user", str(user_id)))
    if row["workspace_id"] is None:
        await conn.execute(SQL["raise_platform_version"])
    else:
        await conn.execute(SQL["raise_version"], row["workspace_id"])


async def ensure_operator(conn: Connection, token: str, now: datetime) -> None:
    """Make this the platform operator's token, if it is not yet."""
    changed = await conn.fetchval(SQL["write_operator"], hash_token(token), now)
    if changed is not None:
        await conn.execute(SQL["raise_platform_version"])


def _node(row: Row) -> Node:
    return Node(
        id=NodeId(row["id"]),
        name=row["name"],
        type=NodeType(row["node_type"]),
        unique=UniqueRule(
            properties=tuple(row["unique_properties"]), case_sensitive=row["case_sensitive"]
        ),
        mandatory=tuple(row["mandatory_properties"]),
        description=row["description"],
        image_url=row["image_url"],
        source_priority=tuple(SourceId(s) for s in row["source_priority"]),
    )


def _source(row: Row) -> SourceRow:
    properties: JsonObject = orjson.loads(row["properties"])
    allowed = properties.get("allowedIPs") or ()
    if isinstance(allowed, str):
        allowed = [part for part in allowed.split(",") if part.strip()]
    return SourceRow(
        source=Source(
            id=SourceId(row["id"]),
            name=row["name"],
            provider=row["provider"],
            nodes=frozenset(NodeId(n) for n in row["nodes"]),
            enabled=row["enabled"],
            token_hash=row["token_hash"],
            allowed_ips=tuple(part.strip() for part in allowed),
        ),
        description=row["description"],
        properties=properties,
    )


def _user(row: Row) -> User:
    return User(
        id=row["id"],
        name=row["name"],
        roles=frozenset(Role(role) for role in row["roles"]),
        nodes=MappingProxyType(
            {
                NodeId(UUID(entry["id"])): Permission(entry["permission"])
                for entry in orjson.loads(row["nodes"])
            }
        ),
        token_hash=row["token_hash"],
    )
