"""Making workspaces, nodes and sources straight in the database, for operators and the first start."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from headwater import clock
from headwater.domain.configuration import CustomerPolicy, Node, Source, UniqueRule
from headwater.domain.ids import NodeId, SourceId, WorkspaceId
from headwater.postgres.config import (
    SourceRow,
    create_workspace,
    hash_token,
    list_nodes,
    list_workspaces,
    new_token,
    write_node,
    write_source,
)
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import PostgresSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What the demo workspace is known by."""

    workspace_id: WorkspaceId
    node_id: NodeId
    token: str


async def make_demo(database_url: str) -> Demo:
    """A source with full rights on an entry node of the workspace `demo`; makes what is missing."""
    token = new_token()
    pool = await _pool(database_url)
    try:
        async with pool.transaction() as conn:
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
    finally:
        await pool.close()
    return Demo(workspace_id=workspace_id, node_id=nodes[0].id, token=token)


async def make_workspace(
    database_url: str, name: str, slug: str, group_pk: int, policy: CustomerPolicy
) -> WorkspaceId:
    """A new workspace."""
    workspace_id = WorkspaceId(uuid.uuid4())
    pool = await _pool(database_url)
    try:
        async with pool.transaction() as conn:
            await create_workspace(
                conn,
                workspace_id,
                name=name,
                slug=slug,
                group_pk=group_pk,
                now=clock.now(),
                policy=policy,
            )
    finally:
        await pool.close()
    return workspace_id


async def make_node(
    database_url: str,
    workspace_id: WorkspaceId,
    name: str,
    unique: tuple[str, ...],
    case_sensitive: bool,
) -> NodeId:
    """A new entry node."""
    node_id = NodeId(uuid.uuid4())
    pool = await _pool(database_url)
    try:
        async with pool.transaction() as conn:
            rule = UniqueRule(properties=unique, case_sensitive=case_sensitive)
            node = Node(id=node_id, name=name, unique=rule)
            await write_node(conn, workspace_id, node, clock.now())
    finally:
        await pool.close()
    return node_id


async def make_source(
    database_url: str,
    workspace_id: WorkspaceId,
    name: str,
    nodes: list[NodeId],
    untrusted: bool,
) -> tuple[SourceId, str]:
    """A new source; its id and token."""
    source_id, token = SourceId(uuid.uuid4()), new_token()
    provider = "JavaScript" if untrusted else "API"
    pool = await _pool(database_url)
    try:
        async with pool.transaction() as conn:
            row = _source(source_id, name, provider, nodes, token)
            await write_source(conn, workspace_id, row, clock.now())
    finally:
        await pool.close()
    return source_id, token


async def _pool(database_url: str) -> Pool:
    return await open_pool(PostgresSettings(database_url=database_url), max_size=1)


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
