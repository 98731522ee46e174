"""Making workspaces, nodes, sources and users straight in the database, for operators and the first start."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headwater import clock
from headwater.domain.configuration import (
    SLUG,
    CustomerPolicy,
    Node,
    Permission,
    Role,
    Source,
    UniqueRule,
    User,
    WorkspaceConfig,
)
from headwater.domain.ids import NodeId, SourceId, WorkspaceId
from headwater.errors import HubError
from headwater.postgres.config import (
    SourceRow,
    create_user,
    create_workspace,
    find_token_owner,
    hash_token,
    list_nodes,
    list_workspaces,
    new_token,
    read_workspace_config,
    revoke_user_token,
    write_node,
    write_source,
)
from headwater.postgres.pool import Connection, Pool, open_pool
from headwater.settings import PostgresSettings
from headwater.validation.paths import fault_of_path

PLATFORM_ROLES = frozenset({Role.CLAB_OPERATOR})
USER_ROLES = (Role.ADMIN, Role.USER, Role.GUEST, Role.DPO, Role.PLATFORM_UPDATES)


class Unfit(HubError):
    """What an operator asked for can't be made; the text names the value and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What the demo workspace is known by."""

    workspace_id: WorkspaceId
    node_id: NodeId
    token: str


async def make_demo(database_url: str) -> Demo:
    """A source with full rights on an entry node of the workspace `demo`; makes what is missing."""
    token = new_token()
    async with _transaction(database_url) as conn:
        now = clock.now()
        found = [w.id for w in await list_workspaces(conn) if w.slug == "demo"]
        workspace_id = found[0] if found else WorkspaceId(uuid.uuid4())
        if not found:
            await create_workspace(
                conn, workspace_id, name="Demo", slug="demo", group_pk=1, now=now
            )
        nodes = await list_nodes(conn, workspace_id)
        if not nodes:
            rule = UniqueRule(properties=("externalId",), case_sensitive=False)
            nodes = [Node(id=NodeId(uuid.uuid4()), name="shop", unique=rule)]
            await write_node(conn, workspace_id, nodes[0], now)
        source = _source(SourceId(uuid.uuid4()), "demo", "API", [nodes[0].id], token)
        await write_source(conn, workspace_id, source, now)
    return Demo(workspace_id=workspace_id, node_id=nodes[0].id, token=token)


async def is_token_known(database_url: str, token: str) -> bool:
    """Whether the database has the owner of this token."""
    async with _transaction(database_url) as conn:
        return await find_token_owner(conn, hash_token(token)) is not None


async def make_workspace(
    database_url: str, name: str, slug: str, group_pk: int, policy: CustomerPolicy
) -> WorkspaceId:
    """A new workspace."""
    if not SLUG.fullmatch(slug):
        raise Unfit(f"the slug is {slug!r}, expected 1 to 63 of a-z, 0-9 and -")
    _check_name(name)
    workspace_id = WorkspaceId(uuid.uuid4())
    async with _transaction(database_url) as conn:
        await create_workspace(
            conn,
            workspace_id,
            name=name,
            slug=slug,
            group_pk=group_pk,
            now=clock.now(),
            policy=policy,
        )
    return workspace_id


async def make_node(
    database_url: str,
    workspace_id: WorkspaceId,
    name: str,
    *,
    unique: Sequence[str],
    case_sensitive: bool,
    mandatory: Sequence[str],
) -> NodeId:
    """A new entry node."""
    _check_name(name)
    node_id = NodeId(uuid.uuid4())
    async with _opened(database_url) as pool:
        config = await _load_workspace(pool, workspace_id)
        for path in unique:
            _check_path(path, config, must_be_scalar=True)
        for path in mandatory:
            _check_path(path, config, must_be_scalar=False)
        node = Node(
            id=node_id,
            name=name,
            unique=UniqueRule(
                properties=tuple(dict.fromkeys(unique)), case_sensitive=case_sensitive
            ),
            mandatory=tuple(dict.fromkeys(mandatory)),
        )
        async with pool.transaction() as conn:
            await write_node(conn, workspace_id, node, clock.now())
    return node_id


async def make_source(
    database_url: str,
    workspace_id: WorkspaceId,
    name: str,
    nodes: list[NodeId],
    untrusted: bool,
) -> tuple[SourceId, str]:
    """A new source; its id and token."""
    _check_name(name)
    source_id, token = SourceId(uuid.uuid4()), new_token()
    provider = "JavaScript" if untrusted else "API"
    async with _opened(database_url) as pool:
        _check_nodes(nodes, await _load_workspace(pool, workspace_id))
        row = _source(source_id, name, provider, nodes, token)
        async with pool.transaction() as conn:
            await write_source(conn, workspace_id, row, clock.now())
    return source_id, token


async def make_user(
    database_url: str,
    workspace_id: WorkspaceId | None,
    name: str,
    *,
    roles: frozenset[Role],
    nodes: Mapping[NodeId, Permission],
    username: str | None,
    surname: str | None,
    email: str | None,
) -> tuple[int, str]:
    """A new user of a workspace, or of the platform (role CLAB_OPERATOR); id and token."""
    _check_name(name)
    if (workspace_id is None) != bool(roles & PLATFORM_ROLES):
        raise Unfit(
            "a user with the role CLAB_OPERATOR belongs to no workspace, every other user to one: "
            "name it with --workspace"
        )
    if workspace_id is None and (nodes or roles - PLATFORM_ROLES):
        raise Unfit("a CLAB_OPERATOR may do everything: expected no other role and no nodes")
    for what, text in (("username", username), ("surname", surname), ("email", email)):
        _check_text(what, text)
    token = new_token()
    user = User(id=0, name=name, roles=roles, nodes=nodes, token_hash=hash_token(token))
    async with _opened(database_url) as pool:
        if workspace_id is not None:
            _check_nodes(list(nodes), await _load_workspace(pool, workspace_id))
        async with pool.transaction() as conn:
            user_id = await create_user(
                conn,
                workspace_id,
                user,
                username=username or name,
                surname=surname,
                email=email,
                now=clock.now(),
            )
    return user_id, token


async def revoke_user(database_url: str, user_id: int) -> None:
    """The user's token is dead within a second."""
    async with _transaction(database_url) as conn:
        await revoke_user_token(conn, user_id, clock.now())


@asynccontextmanager
async def _opened(database_url: str) -> AsyncIterator[Pool]:
    pool = await open_pool(PostgresSettings(database_url=database_url), max_size=1)
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def _transaction(database_url: str) -> AsyncIterator[Connection]:
    async with _opened(database_url) as pool, pool.transaction() as conn:
        yield conn


async def _load_workspace(pool: Pool, workspace_id: WorkspaceId) -> WorkspaceConfig:
    async with pool.connection() as conn:
        config = await read_workspace_config(conn, workspace_id)
    if config is None:
        raise Unfit(f"there is no workspace {workspace_id}")
    return config


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= 255 or "\0" in name:
        raise Unfit(f"the name {name[:60]!r} has {len(name)} characters, expected 1 to 255")
    _check_text("name", name)


def _check_text(what: str, text: str | None) -> None:
    # bytes of an argument that are no UTF-8 come as lone surrogates
    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit(f"the {what} {text[:60]!r} is no text in UTF-8") from None


def _check_nodes(nodes: Sequence[NodeId], config: WorkspaceConfig) -> None:
    for node_id in nodes:
        if node_id not in config.nodes:
            known = ", ".join(f"{node.name} ({node.id})" for node in config.nodes.values())
            raise Unfit(
                f"there is no node {node_id} in the workspace {config.id}: it has {known or 'none'}"
            )


def _check_path(path: str, config: WorkspaceConfig, *, must_be_scalar: bool) -> None:
    fault = fault_of_path(path, config, must_be_scalar=must_be_scalar)
    if fault is not None:
        raise Unfit(f"{path!r}: {fault}, expected one like externalId or base.contacts.email")


def _source(
    source_id: SourceId, name: str, provider: str, nodes: list[NodeId], token: str
) -> SourceRow:
    return SourceRow(
        source=Source(
            id=source_id,
            name=name,
            provider=provider,
            nodes=frozenset(nodes),
            enabled=True,
            token_hash=hash_token(token),
        ),
        description=None,
        properties={},
    )
