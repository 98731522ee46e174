"""Reading the feed of a workspace, and dropping its past. Appending to it is in updates.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import itemgetter
from types import MappingProxyType
from typing import cast

from headwater.domain.ids import FeedOffset, NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import BY_INDEX, Connection, Pool

SQL = statements.load("feed")

_FEED_OFFSET = itemgetter("feed_offset")

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


class Form(StrEnum):
    """How the updates of a page are written: each value names the pieces of feed.sql."""

    PAGE = "page"
    """Elements of a JSON array, with commas between: `{"operation":..,"entity":..}`."""
    LINES = "lines"
    """Lines of JSON: `{"offset":..,"operation":..,"entity":..}`."""
    EVENTS = "events"
    """Server-sent events with the same JSON, `id` is the offset."""


_READ_PAGE = {form: SQL["read_page"].replace("{row}", SQL[f"row_of_{form}"]) for form in Form}


PINNED_PLAN = MappingProxyType({**BY_INDEX, "enable_bitmapscan": "off", "enable_nestloop": "off"})
"""Settings for the connections that run `read_page` and nothing else.

Its one sound plan is known: along the primary keys, and one hash join. A planner without statistics, as on
tables that have just grown, sorts all the rows that a filter may look through, or compares each update with
each document. With its other ways closed it can't, and needn't think anew for each page.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPage:
    """Updates of the feed, ready to be sent.

    `position` is where the page starts, `next_offset` the last row looked at, `reached` the offset of
    the last update in it (0 without one). `is_end` says that nothing stood behind `next_offset` in the
    page's snapshot, `is_cut` that the bound on bytes ended the page.
    """

    body: bytes
    updates: int
    reached: FeedOffset
    position: FeedOffset
    next_offset: FeedOffset
    earliest_offset: FeedOffset
    is_end: bool
    is_cut: bool

    @property
    def is_expired(self) -> bool:
        """Whether updates right after `position` were dropped by retention."""
        return self.position + 1 < self.earliest_offset


async def read_page(
    conn: Connection,
    workspace_id: WorkspaceId,
    after: int | None,
    *,
    form: Form,
    limit: int,
    limit_bytes: int,
    scan_rows: int,
    wanted: FeedFilter,
) -> FeedPage:
    """The updates after an offset, at most `limit`, looking at no more than `scan_rows` rows.

    `after` None starts before the first update that is kept. Documents are stored text, never parsed:
    Postgres puts the page together, in one statement and so one snapshot; the connection should be one with
    `PINNED_PLAN`. It ends after the document
    that reaches `limit_bytes`; the documents before that one are shorter in sum.
    """
    scan = limit if wanted.is_open else max(limit, scan_rows)
    records = await conn.fetch(
        _READ_PAGE[form],
        workspace_id,
        None if after is None else min(after, MAX_POSITION),
        limit,
        scan,
        wanted.entity_type,
        None if wanted.nodes is None else list(wanted.nodes),
        limit_bytes,
    )
    if not records:
        raise LookupError(f"workspace {workspace_id} has no feed")
    records.sort(key=_FEED_OFFSET)  # they are, as far as we know: then it costs nothing
    bounds = records[0]
    bodies = [body for record in records if (body := record["body"]) is not None]
    updates = len(bodies)
    position: int = bounds["position"] if after is None else after
    last: int = bounds["last_offset"]
    reached: int = records[updates]["feed_offset"]
    is_cut = updates < len(records) - 1
    if is_cut or (limit and updates == limit):
        next_offset = reached
    else:
        next_offset = max(position, min(position + scan, last))
    return FeedPage(
        body=joined(bodies, form) if form is Form.PAGE else _on_its_lines(joined(bodies, form)),
        updates=updates,
        reached=FeedOffset(reached),
        position=FeedOffset(position),
        next_offset=FeedOffset(next_offset),
        earliest_offset=FeedOffset(bounds["earliest_offset"]),
        is_end=next_offset >= last,
        is_cut=is_cut,
    )


def joined(bodies: Iterable[bytes], form: Form) -> bytes:
    """Pieces of one form as one."""
    return (b"," if form is Form.PAGE else b"").join(bodies)


def _on_its_lines(body: bytes) -> bytes:
    """`body` with the line ends of Unicode, which JSON may hold as they are, escaped.

    Many clients split a stream with a function that knows these too: one in a customer's name, and they
    would never get past it. The first look costs next to nothing, and most texts pass it.
    """
    if b"\xe2" in body:
        body = body.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
    return body.replace(b"\xc2\x85", rb"\u0085") if b"\xc2" in body else body


async def find_position(conn: Connection, workspace_id: WorkspaceId, moment: datetime) -> int:
    """The offset after which everything changed at or after `moment`."""
    return cast("int", await conn.fetchval(SQL["find_position"], workspace_id, moment)) or 0


async def read_last_offset(
    conn: Connection, workspace_id: WorkspaceId, wanted: FeedFilter
) -> FeedOffset:
    """The greatest offset that passes the filters, 0 if none does.

    Where none is kept it is the last one that was dropped: a reader can go on from there, and from
    nothing below. A node that has nothing costs no more than the feed since it was made.
    """
    if wanted.is_open:
        return FeedOffset(await conn.fetchval(SQL["read_last_offset"], workspace_id) or 0)
    nodes = None if wanted.nodes is None else list(wanted.nodes)
    sought = (workspace_id, wanted.entity_type, nodes)
    record = await conn.fetchrow(SQL["find_last_offset"], *sought, None)
    if record is None:
        raise LookupError(f"workspace {workspace_id} has no feed")
    is_whole = record["looked_to"] == record["dropped"] or nodes == []
    if record["found"] is None and not is_whole:
        start = None
        if nodes is not None:
            start = await conn.fetchval(SQL["find_start_of_nodes"], workspace_id, nodes)
        position = 0 if start is None else await find_position(conn, workspace_id, start)
        record = await conn.fetchrow(SQL["find_last_offset"], *sought, position)
        assert record is not None
    return FeedOffset(record["found"] or record["dropped"])


async def read_last_offsets(
    conn: Connection, workspace_ids: Iterable[WorkspaceId]
) -> Mapping[WorkspaceId, FeedOffset]:
    """The last offsets of several feeds at once."""
    records = await conn.fetch(SQL["read_last_offsets"], list(workspace_ids))
    return {WorkspaceId(r["workspace_id"]): FeedOffset(r["last_offset"]) for r in records}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one batch of a pruning dropped: updates, past documents, deleted customers and events."""

    updates: int
    documents: int
    customers: int
    events: int


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


async def hide_past(conn: Connection, workspace_id: WorkspaceId, first_kept: int) -> None:
    """Let readers see nothing below `first_kept` any more. Commit it before rows are dropped, so that
    the lock of the feed's row, which keeps out whoever appends, is held for a moment only.
    """
    await conn.execute(SQL["raise_earliest"], workspace_id, first_kept)


async def prune_batch(pool: Pool, workspace_id: WorkspaceId, limit: int) -> Pruned:
    """Drop up to `limit` updates of the hidden past, and what no update refers to without them.

    One transaction beside all writers. Repeat it until it drops none; safe to interrupt and to repeat.
    """
    async with pool.transaction() as conn:
        await conn.execute(SQL["lock_pruning"], workspace_id)
        record = await conn.fetchrow(SQL["prune_updates"], workspace_id, limit)
    assert record is not None
    return Pruned(
        updates=record["updates"],
        documents=record["documents"],
        customers=record["customers"],
        events=record["events"],
    )
