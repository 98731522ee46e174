"""Outcomes as clients ask for them: an event's status, an operation, the kept rejections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from headwater.domain.ids import NodeId, OperationId, WorkspaceId
from headwater.domain.json import JsonObject
from headwater.postgres import statements
from headwater.postgres.pool import Connection, Row

SQL = statements.load("outcomes_read")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStatus:
    """STORED, ANONYMOUS or FAILED; `gone` for a deleted event."""

    status: str
    reason: str | None
    node_id: NodeId | None
    gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionFilter:
    """Which rejections are meant; None leaves a member out. `nodes` are those the caller may see,
    and a write that names no node is seen by `caller`, its writer.
    """

    id: UUID | None = None
    entity_type: str | None = None
    type: str | None = None
    reason: str | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    state: str | None = None
    nodes: frozenset[NodeId] | None = None
    caller: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRejection:
    """A rejection with its bytes."""

    id: UUID
    entity_type: str
    type: str | None
    reason: str
    message: str
    errors: list[JsonObject]
    caller: str | None
    state: str
    received_at: datetime
    envelope: bytes
    payload: bytes


async def find_event_status(
    conn: Connection, workspace_id: WorkspaceId, event_id: UUID
) -> EventStatus | None:
    """What is known of an event; None before the processor has seen it."""
    row = await conn.fetchrow(SQL["find_event_status"], workspace_id, event_id)
    return None if row is None else EventStatus(**dict(row))


async def find_fingerprints(
    conn: Connection, workspace_id: WorkspaceId, ids: Sequence[OperationId]
) -> dict[OperationId, str]:
    """The fingerprints under which operations were decided, of those that were."""
    rows = await conn.fetch(SQL["find_fingerprints"], workspace_id, ids)
    return {row["id"]: row["fingerprint"] for row in rows}


async def find_operation(
    conn: Connection, workspace_id: WorkspaceId, operation_id: UUID
) -> JsonObject | None:
    """state, http_status, entity_type, entity_id, outcome (JSON or None)."""
    row = await conn.fetchrow(SQL["find_operation"], workspace_id, operation_id)
    if row is None:
        return None
    outcome = None if row["outcome"] is None else orjson.loads(row["outcome"])
    return {**dict(row), "outcome": outcome}


async def list_rejections(
    conn: Connection,
    workspace_id: WorkspaceId,
    wanted: RejectionFilter,
    *,
    limit: int,
    skip: int = 0,
) -> tuple[list[KeptRejection], int]:
    """A page of rejections, newest first, and how many there are in all."""
    rows = await conn.fetch(
        SQL["list_rejections"],
        workspace_id,
        wanted.id,
        wanted.entity_type,
        wanted.type,
        wanted.reason,
        wanted.received_from,
        wanted.received_to,
        wanted.state,
        None if wanted.nodes is None else list(wanted.nodes),
        limit,
        skip,
        wanted.caller,
    )
    return [_kept(row) for row in rows], rows[0]["total"] if rows else 0


async def read_rejections_after(
    conn: Connection,
    workspace_id: WorkspaceId,
    wanted: RejectionFilter,
    after: KeptRejection | None,
    *,
    limit: int,
) -> list[KeptRejection]:
    """The next rejections behind `after` (None: from the first), in the order of their acceptance."""
    rows = await conn.fetch(
        SQL["read_rejections_after"],
        workspace_id,
        *_filters(wanted),
        None if after is None else after.received_at,
        None if after is None else after.id,
        limit,
    )
    return [_kept(row) for row in rows]


async def count_matching_rejections(
    conn: Connection, workspace_id: WorkspaceId, wanted: RejectionFilter
) -> int:
    """How many the filter matches."""
    count: int = await conn.fetchval(
        SQL["count_matching_rejections"], workspace_id, *_filters(wanted)
    )
    return count


def _filters(wanted: RejectionFilter) -> tuple[object, ...]:
    return (
        wanted.entity_type,
        wanted.type,
        wanted.reason,
        wanted.received_from,
        wanted.received_to,
        wanted.state,
        None if wanted.nodes is None else list(wanted.nodes),
        wanted.caller,
    )


def _kept(row: Row) -> KeptRejection:
    return KeptRejection(
        id=row["id"],
        entity_type=row["entity_type"],
        type=row["type"],
        reason=row["reason"],
        message=row["message"],
        errors=orjson.loads(row["errors"]),
        caller=row["caller"],
        state=row["state"],
        received_at=row["received_at"],
        envelope=row["envelope"],
        payload=row["payload"],
    )


async def discard_rejection(
    conn: Connection, workspace_id: WorkspaceId, rejection_id: UUID
) -> bool:
    """Whether it was open and is discarded now."""
    found = await conn.fetchval(SQL["discard_rejection"], workspace_id, rejection_id)
    return found is not None
