"""Customers and their versions, as the processor reads and writes them, set-wise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import orjson

from headwater.domain.customer import StoredCustomer
from headwater.domain.ids import CustomerId, NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection, Row

SQL = statements.load("customers")


async def lock_customers(
    conn: Connection,
    workspace_id: WorkspaceId,
    ids: Iterable[CustomerId],
    to_delete: Iterable[CustomerId] = (),
) -> dict[CustomerId, StoredCustomer]:
    """Lock and read customers, deleted ones too; ids that don't exist are left out.

    Those in `to_delete` are locked first and fully: nobody stores an event for them meanwhile.
    """
    doomed = set(to_delete)
    others = sorted(set(ids) - doomed)
    rows: list[Row] = []
    if doomed:
        rows += await conn.fetch(SQL["lock_customers_to_delete"], workspace_id, sorted(doomed))
    if others:
        rows += await conn.fetch(SQL["lock_customers"], workspace_id, others)
    return {row["id"]: _stored(row) for row in rows}


async def hold_customers(
    conn: Connection, workspace_id: WorkspaceId, ids: Iterable[CustomerId]
) -> dict[CustomerId, NodeId]:
    """Keep live customers from being deleted until commit; their nodes by id."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = await conn.fetch(SQL["hold_customers"], workspace_id, wanted)
    return {row["id"]: NodeId(row["node_id"]) for row in rows}


async def read_nodes_of_customers(
    conn: Connection, workspace_id: WorkspaceId, ids: Iterable[CustomerId]
) -> dict[CustomerId, NodeId]:
    """The node of each customer that exists, deleted ones too; no lock (it never changes)."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = await conn.fetch(SQL["read_nodes_of_customers"], workspace_id, wanted)
    return {row["id"]: NodeId(row["node_id"]) for row in rows}


async def find_by_external_ids(
    conn: Connection,
    workspace_id: WorkspaceId,
    values: Iterable[tuple[NodeId, str]],
    *,
    excluding: Iterable[CustomerId] = (),
) -> dict[tuple[NodeId, str], tuple[CustomerId, datetime]]:
    """The live customer of each (node, externalId) and when it was updated.

    Of several the most recently updated, of equals the lowest id; those in `excluding` don't count.
    """
    wanted = list(values)
    if not wanted:
        return {}
    rows = await conn.fetch(
        SQL["find_by_external_ids"],
        workspace_id,
        [node for node, _ in wanted],
        [value for _, value in wanted],
        list(excluding),
    )
    return {
        (NodeId(row["node_id"]), row["external_id"]): (CustomerId(row["id"]), row["updated_at"])
        for row in rows
    }


async def take_int_ids(conn: Connection, workspace_id: WorkspaceId, count: int) -> range:
    """The next `count` numbers of the workspace's customers. Call it outside of the batch's
    transaction: a lock held to commit would let only one batch create customers at a time.
    """
    last: int = await conn.fetchval(SQL["take_int_ids"], workspace_id, count)
    return range(last - count + 1, last + 1)


async def write_customers(
    conn: Connection, workspace_id: WorkspaceId, customers: Sequence[StoredCustomer]
) -> None:
    """Insert or replace customers by id."""
    if not customers:
        return
    await conn.execute(
        SQL["write_customers"],
        workspace_id,
        [c.id for c in customers],
        [c.node_id for c in customers],
        [c.int_id for c in customers],
        [c.document.get("externalId") for c in customers],
        [c.version for c in customers],
        [c.deleted for c in customers],
        [c.registered_at for c in customers],
        [c.updated_at for c in customers],
        [c.registered_by for c in customers],
        [c.updated_by for c in customers],
        [orjson.dumps(c.document).decode() for c in customers],
    )


async def write_versions(
    conn: Connection, workspace_id: WorkspaceId, versions: Sequence[tuple[UUID, int, str]]
) -> None:
    """Keep documents as they are sent: (entity id, version, JSON text)."""
    if versions:
        await conn.copy_records_to_table(
            "versions",
            columns=("workspace_id", "entity_id", "version", "document"),
            records=[(workspace_id, *version) for version in versions],
        )


async def read_versions(
    conn: Connection, workspace_id: WorkspaceId, wanted: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], str]:
    """The documents of (entity id, version) pairs that are still kept."""
    if not wanted:
        return {}
    rows = await conn.fetch(
        SQL["read_versions"],
        workspace_id,
        [entity_id for entity_id, _ in wanted],
        [version for _, version in wanted],
    )
    return {(row["entity_id"], row["version"]): row["document"] for row in rows}


def _stored(row: Row) -> StoredCustomer:
    return StoredCustomer(
        id=row["id"],
        node_id=NodeId(row["node_id"]),
        int_id=row["int_id"],
        version=row["version"],
        deleted=row["deleted"],
        registered_at=row["registered_at"],
        updated_at=row["updated_at"],
        registered_by=row["registered_by"],
        updated_by=row["updated_by"],
        document=orjson.loads(row["document"]),
    )
