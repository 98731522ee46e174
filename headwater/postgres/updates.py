"""Appending to the feed: dense offsets, in commit order. Source: design.md, invariant 4."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from headwater.domain.ids import NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("updates")


class Update(NamedTuple):
    """One effective change of an entity, not yet in the feed; columns in order."""

    operation: str
    entity_type: str
    entity_id: UUID
    node_id: NodeId
    version: int
    changed_at: datetime


_COLUMNS = ("workspace_id", "feed_offset", *Update._fields)


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
    latest = max(update.changed_at for update in updates)
    feed = await conn.fetchrow(SQL["move_feed"], workspace_id, len(updates), latest)
    if feed is None:
        raise LookupError(f"workspace {workspace_id} has no feed")
    changed_at: datetime = feed["last_changed_at"]
    rows = []
    for feed_offset, update in enumerate(updates, feed["last_offset"] + 1):
        if update.changed_at >= changed_at:
            changed_at = update.changed_at
            rows.append((workspace_id, feed_offset, *update))
        else:
            rows.append((workspace_id, feed_offset, *update[:-1], changed_at))
    await conn.copy_records_to_table("updates", columns=_COLUMNS, records=rows)
