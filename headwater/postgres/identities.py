"""Match keys, sessions and external ids: rows under a unique constraint where two writers meet.

Source: design.md, invariant 5; event-model 4 for the race between a session and its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from headwater.domain.ids import CustomerId, NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection, Row

SQL = statements.load("identities")

MATCH = "MATCH"
SESSION = "SESSION"
EXTERNAL = "EXTERNAL"

IdentityKey: TypeAlias = tuple[NodeId, str, str]
"""Node, kind, value."""


@dataclass(slots=True, kw_only=True)  # not frozen: half the time, one for each value
class Identity:
    """Who a value names: nobody yet, or a customer. `id` is the session's id. Never mutated."""

    customer_id: CustomerId | None = None
    id: UUID | None = None
    awaited: bool = False


async def read_identities(
    conn: Connection, workspace_id: WorkspaceId, keys: Iterable[IdentityKey]
) -> dict[IdentityKey, Identity]:
    """Those of `keys` that have a row, without a lock."""
    wanted = list(keys)
    if not wanted:
        return {}
    rows = await conn.fetch(SQL["read_identities"], workspace_id, *_columns(wanted))
    return {_key(row): Identity(customer_id=row["customer_id"], id=row["id"]) for row in rows}


async def claim_identities(
    conn: Connection, workspace_id: WorkspaceId, keys: Mapping[IdentityKey, bool], now: datetime
) -> dict[IdentityKey, Identity]:
    """Lock `keys` until commit, making the rows that are missing; value: whether events wait for it.

    Returns what each names after the lock. `awaited` is also true if events waited before.

    Raises:
        Contended: two batches claimed in rounds and met; repeat.
    """
    if not keys:
        return {}
    wanted = list(keys)
    rows = await conn.fetch(
        SQL["claim_identities"], workspace_id, *_columns(wanted), [keys[key] for key in wanted], now
    )
    return {
        _key(row): Identity(customer_id=row["customer_id"], id=row["id"], awaited=row["awaited"])
        for row in rows
    }


async def set_identities(
    conn: Connection,
    workspace_id: WorkspaceId,
    identities: Mapping[IdentityKey, Identity],
    now: datetime,
) -> None:
    """Write who the values name now; nothing waits for them any more."""
    if not identities:
        return
    keys = list(identities)
    await conn.execute(
        SQL["set_identities"],
        workspace_id,
        *_columns(keys),
        [identities[key].customer_id for key in keys],
        [identities[key].id for key in keys],
        now,
    )


async def delete_identities(
    conn: Connection, workspace_id: WorkspaceId, keys: Iterable[IdentityKey]
) -> None:
    """Remove values that name nobody, unless events wait for them."""
    gone = list(keys)
    if gone:
        await conn.execute(SQL["delete_identities"], workspace_id, *_columns(gone))


async def delete_identities_of_customers(
    conn: Connection, workspace_id: WorkspaceId, customers: list[CustomerId]
) -> None:
    """Remove the match keys and sessions of customers."""
    if customers:
        await conn.execute(SQL["delete_identities_of_customers"], workspace_id, customers)


async def delete_external_identities(
    conn: Connection, workspace_id: WorkspaceId, values: list[tuple[NodeId, str]]
) -> None:
    """Remove external ids that no live customer carries; call it after the customers are written."""
    if values:
        await conn.execute(
            SQL["delete_external_identities"],
            workspace_id,
            [node for node, _ in values],
            [value for _, value in values],
        )


def _columns(keys: list[IdentityKey]) -> tuple[list[NodeId], list[str], list[str]]:
    return [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]


def _key(row: Row) -> IdentityKey:
    return NodeId(row["node_id"]), row["kind"], row["value"]
