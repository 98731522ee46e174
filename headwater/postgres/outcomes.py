"""What became of writes: operations (for the client that asks or repeats) and rejections (for the operator).

Also the lock on the configuration that a batch is judged by.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from headwater.domain.ids import NodeId, OperationId, RejectionId, WorkspaceId
from headwater.domain.json import JsonObject
from headwater.errors import Contended
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("outcomes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The outcome of a write. `outcome` is the refusal as JSON, or a body that no version holds."""

    id: OperationId
    fingerprint: str
    state: str
    http_status: int
    entity_type: str | None = None
    entity_id: UUID | None = None
    entity_version: int | None = None
    outcome: JsonObject | None = None
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A refused write with its bytes, as it came."""

    id: RejectionId
    entity_type: str
    type: str | None
    node_id: NodeId | None
    reason: str
    status: int
    message: str
    errors: list[JsonObject]
    caller: str | None
    received_at: datetime
    envelope: bytes
    payload: bytes


async def read_operations(
    conn: Connection, workspace_id: WorkspaceId, ids: Collection[OperationId], now: datetime
) -> dict[OperationId, Operation]:
    """Those of `ids` whose outcome is known and not expired."""
    if not ids:
        return {}
    rows = await conn.fetch(SQL["read_operations"], workspace_id, list(ids), now)
    return {
        row["id"]: Operation(
            id=row["id"],
            fingerprint=row["fingerprint"],
            state=row["state"],
            http_status=row["http_status"],
            entity_type=row["entity_type"],
            entity_id=row["entity_id"],
            entity_version=row["entity_version"],
            outcome=None if row["outcome"] is None else orjson.loads(row["outcome"]),
            expires_at=now,
        )
        for row in rows
    }


async def write_operations(
    conn: Connection,
    workspace_id: WorkspaceId,
    operations: Sequence[Operation],
    *,
    replayed: Collection[OperationId],
    now: datetime,
) -> None:
    """Keep outcomes, once each; those in `replayed` may replace an earlier one.

    Raises:
        Contended: another batch decided one of them first; repeat, and take its outcome.
    """
    if not operations:
        return
    rows = await conn.fetch(
        SQL["write_operations"],
        workspace_id,
        [o.id for o in operations],
        [o.fingerprint for o in operations],
        [o.state for o in operations],
        [o.http_status for o in operations],
        [o.entity_type for o in operations],
        [o.entity_id for o in operations],
        [o.entity_version for o in operations],
        [None if o.outcome is None else orjson.dumps(o.outcome).decode() for o in operations],
        [o.expires_at for o in operations],
        list(replayed),
        now,
    )
    if len(rows) != len(operations):
        raise Contended("an operation was decided by another batch meanwhile")


async def prolong_operations(
    conn: Connection, workspace_id: WorkspaceId, ids: Collection[OperationId], expires_at: datetime
) -> None:
    """Keep outcomes that are known for longer; those that are kept longer anyway stay as they are."""
    if ids:
        await conn.execute(SQL["prolong_operations"], workspace_id, list(ids), expires_at)


async def delete_expired_operations(conn: Connection, now: datetime) -> None:
    """Forget outcomes whose time is over."""
    await conn.execute(SQL["delete_expired_operations"], now)


async def write_rejections(
    conn: Connection, workspace_id: WorkspaceId, rejections: Sequence[Rejection], now: datetime
) -> None:
    """Keep refused writes. One that is refused again gets the new reasons."""
    if not rejections:
        return
    await conn.execute(
        SQL["write_rejections"],
        workspace_id,
        [r.id for r in rejections],
        [r.entity_type for r in rejections],
        [r.type for r in rejections],
        [r.node_id for r in rejections],
        [r.reason for r in rejections],
        [r.status for r in rejections],
        [r.message for r in rejections],
        [orjson.dumps(r.errors).decode() for r in rejections],
        [r.caller for r in rejections],
        [r.received_at for r in rejections],
        [r.envelope for r in rejections],
        [r.payload for r in rejections],
        now,
    )


async def is_rejected(conn: Connection, workspace_id: WorkspaceId, id_: RejectionId) -> bool:
    """Whether there is a rejection with this id, in whatever state."""
    found: bool = await conn.fetchval(SQL["is_rejected"], workspace_id, id_)
    return found


async def lock_open_rejections(
    conn: Connection, workspace_id: WorkspaceId, ids: Collection[RejectionId]
) -> set[RejectionId]:
    """Those that are still open, locked: a second replay of the same write finds none."""
    if not ids:
        return set()
    rows = await conn.fetch(SQL["lock_open_rejections"], workspace_id, list(ids))
    return {RejectionId(row["id"]) for row in rows}


async def close_rejections(
    conn: Connection, workspace_id: WorkspaceId, ids: Collection[RejectionId]
) -> None:
    """Mark rejections as replayed: their writes are applied now."""
    if ids:
        await conn.execute(SQL["close_rejections"], workspace_id, list(ids))


async def delete_old_rejections(conn: Connection, received_before: datetime) -> None:
    """Forget rejections past their retention."""
    await conn.execute(SQL["delete_old_rejections"], received_before)


async def lock_config_version(conn: Connection, workspace_id: WorkspaceId) -> int | None:
    """The version of the workspace's configuration, which can't change until commit; None if unknown."""
    version: int | None = await conn.fetchval(SQL["lock_config_version"], workspace_id)
    return version
