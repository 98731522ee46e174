"""Appending to the feed: dense offsets, in commit order. Source: design.md, invariant 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from headwater.domain.ids import NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("updates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One effective change of an entity, not yet in the feed."""

    operation: str
    entity_type: str
    entity_id: UUID
    node_id: NodeId
    version: int
    changed_at: datetime


async def append_updates(
    conn: Connection, workspace_id: WorkspaceId, updates: Sequence[Update]
) -> None:
    """Give `updates` the next offsets of the workspace's feed, in their order.

    The row of the counter is locked from here to commit. That lock is what makes the feed safe to read
    "after N": whoever would take a higher offset waits until this transaction has ended, so no offset
    becomes visible before a lower one, and a rollback leaves no hole. Hence this comes last in the
    batch. `changed_at` is raised where needed so that it never decreases along the feed.
    """
    if not updates:
        return
    feed = await conn.fetchrow(SQL["lock_feed"], workspace_id)
    if feed is None:
        raise LookupError(f"workspace {workspace_id} has no feed")
    first = feed["last_offset"] + 1
    changed_at = feed["last_changed_at"]
    times: list[datetime] = []
    for update in updates:
        changed_at = max(changed_at, update.changed_at)
        times.append(changed_at)
    await conn.execute(
        SQL["append_updates"],
        workspace_id,
        list(range(first, first + len(updates))),
        [u.operation for u in updates],
        [u.entity_type for u in updates],
        [u.entity_id for u in updates],
        [u.node_id for u in updates],
        [u.version for u in updates],
        times,
    )
    await conn.execute(SQL["move_feed"], workspace_id, first + len(updates) - 1, changed_at)
