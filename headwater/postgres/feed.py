"""Reading the feed of a workspace, and dropping its past. Appending to it is in updates.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from headwater.domain.ids import FeedOffset, NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection, Pool, Row

SQL = statements.load("feed")

MAX_POSITION = 2**62
"""Positions above this are read as this: far beyond every feed, and still a bigint after an addition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFilter:
    """What a reader wants to see, and may: None leaves nothing out."""

    entity_type: str | None = None
    nodes: frozenset[NodeId] | None = None

    @property
    def is_open(self) -> bool:
        return self.entity_type is None and self.nodes is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRow:
    """An update with its entity as JSON text, ready to be sent: `{"type":..,"data":..}`."""

    feed_offset: FeedOffset
    operation: str
    entity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPage:
    """`position` is where the page starts, `next_offset` the last row looked at.

    `is_end` says that nothing stood behind `next_offset` in the page's snapshot.
    """

    rows: tuple[FeedRow, ...]
    position: FeedOffset
    next_offset: FeedOffset
    earliest_offset: FeedOffset
    is_end: bool

    @property
    def is_expired(self) -> bool:
        """Whether updates right after `position` were dropped by retention."""
        return self.position + 1 < self.earliest_offset


async def read_page(
    conn: Connection,
    workspace_id: WorkspaceId,
    after: int | None,
    *,
    limit: int,
    scan_rows: int,
    wanted: FeedFilter,
) -> FeedPage:
    """The updates after an offset, at most `limit`, looking at no more than `scan_rows` rows.

    `after` None starts before the first update that is kept. Documents are stored text, never parsed.
    One statement, so that bounds, updates and documents are of one snapshot.
    """
    scan = limit if wanted.is_open else max(limit, scan_rows)
    records = await conn.fetch(
        SQL["read_page"],
        workspace_id,
        None if after is None else min(after, MAX_POSITION),
        limit,
        scan,
        wanted.entity_type,
        None if wanted.nodes is None else list(wanted.nodes),
    )
    if not records:
        raise LookupError(f"workspace {workspace_id} has no feed")
    first = records[0]
    position: int = first["position"] if after is None else after
    last: int = first["last_offset"]
    rows = tuple(_feed_row(r) for r in records if r["feed_offset"] is not None)
    if limit and len(rows) == limit:
        reached: int = rows[-1].feed_offset
    else:
        reached = max(position, min(position + scan, last))
    return FeedPage(
        rows=rows,
        position=FeedOffset(position),
        next_offset=FeedOffset(reached),
        earliest_offset=FeedOffset(first["earliest_offset"]),
        is_end=reached >= last,
    )


def _feed_row(record: Row) -> FeedRow:
    kind = record["entity_type"]
    document = record["document"]
    if document is None:
        head = f'{{"id":"{record["entity_id"]}","nodeId":"{record["node_id"]}"'
        document = head + (',"deleted":-1}' if kind == "CUSTOMER" else "}")
    return FeedRow(
        feed_offset=FeedOffset(record["feed_offset"]),
        operation=record["operation"],
        entity=f'{{"type":"{kind}","data":{document}}}',
    )


async def find_position(conn: Connection, workspace_id: WorkspaceId, moment: datetime) -> int:
    """The offset after which everything changed at or after `moment`."""
    return cast("int", await conn.fetchval(SQL["find_position"], workspace_id, moment)) or 0


async def read_last_offset(
    conn: Connection, workspace_id: WorkspaceId, wanted: FeedFilter
) -> FeedOffset:
    """The greatest offset that passes the filters, 0 if none does."""
    if wanted.is_open:
        found = await conn.fetchval(SQL["read_last_offset"], workspace_id)
    else:
        nodes = None if wanted.nodes is None else list(wanted.nodes)
        found = await conn.fetchval(
            SQL["find_last_offset"], workspace_id, wanted.entity_type, nodes
        )
    return FeedOffset(found or 0)


async def read_last_offsets(
    conn: Connection, workspace_ids: Iterable[WorkspaceId]
) -> Mapping[WorkspaceId, FeedOffset]:
    """The last offsets of several feeds at once."""
    records = await conn.fetch(SQL["read_last_offsets"], list(workspace_ids))
    return {WorkspaceId(r["workspace_id"]): FeedOffset(r["last_offset"]) for r in records}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one batch of a pruning dropped; `earliest_offset` is the first offset kept now."""

    earliest_offset: FeedOffset
    updates: int
    documents: int


async def find_prune_target(
    conn: Connection,
    workspace_id: WorkspaceId,
    *,
    before_offset: int | None = None,
    older_than: datetime | None = None,
) -> tuple[FeedOffset, FeedOffset] | None:
    """The first offset kept now, and the first one to keep; None without such a workspace."""
    record = await conn.fetchrow(SQL["find_prune_target"], workspace_id, before_offset, older_than)
    if record is None:
        return None
    return FeedOffset(record["earliest_offset"]), FeedOffset(record["target"])


async def prune_feed(pool: Pool, workspace_id: WorkspaceId, first_kept: int) -> Pruned:
    """Drop everything below `first_kept` in one transaction. Safe to repeat.

    The bound is raised first: its row lock keeps out whoever appends or prunes until the commit, so
    callers go in batches.
    """
    async with pool.transaction() as conn:
        await conn.fetchval(SQL["raise_earliest"], workspace_id, first_kept)
        record = await conn.fetchrow(SQL["prune_updates"], workspace_id, first_kept)
    assert record is not None
    return Pruned(
        earliest_offset=FeedOffset(first_kept),
        updates=record["updates"],
        documents=record["documents"],
    )
