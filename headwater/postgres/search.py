"""Reading customers, sessions and events for clients, one statement and so one snapshot each.

Order and filters are put together from the pieces that search.sql names; what clients send travels as
parameters only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from headwater.domain.ids import CustomerId, EventId, NodeId, SessionId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("search")

MAX_ELEMENTS = 10_000
"""Searches reach and count no further than this (contacthub 2.5)."""


class Kind(StrEnum):
    """How the values of a sort key compare."""

    COLUMN = "order_column"
    ENABLED = "order_enabled"
    EXTERNAL_ID = "order_external_id"
    ID = "order_id"
    NUMBER = "order_number"
    TEXT = "order_text"
    TEXT_COLUMN = "order_text_column"


@dataclass(frozen=True, slots=True, kw_only=True)
class SortKey:
    """One key of an order. `path` leads into the customer's document; for a column it names it."""

    kind: Kind
    path: tuple[str, ...] = ()
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of a search: documents as JSON text, matches (capped), and elements before filters."""

    documents: tuple[str, ...]
    total: int
    unfiltered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A customer or an event as it is sent."""

    node_id: NodeId
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    node_id: NodeId
    customer_id: CustomerId | None
    date: datetime
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    id: SessionId
    value: str


_COLUMNS = frozenset(
    {
        "int_id", "version", "registered_at", "updated_at", "node_id", "deleted",
        "registered_by", "updated_by",
    }
)  # fmt: skip
_EVENT_COLUMNS = {"date": "date", "registeredAt": "registered_at", "updatedAt": "updated_at"}


async def find_customer(
    conn: Connection, workspace_id: WorkspaceId, customer_id: CustomerId
) -> StoredDocument | None:
    """A live customer."""
    row = await conn.fetchrow(SQL["find_customer"], workspace_id, customer_id)
    return None if row is None else StoredDocument(node_id=row[0], document=row[1])


async def find_customer_node(
    conn: Connection, workspace_id: WorkspaceId, customer_id: CustomerId
) -> NodeId | None:
    """The node of a live customer."""
    row = await conn.fetchrow(SQL["find_customer_node"], workspace_id, customer_id)
    return None if row is None else NodeId(row[0])


async def search_customers(
    conn: Connection,
    workspace_id: WorkspaceId,
    node_id: NodeId,
    *,
    external_id: str | None,
    order: Sequence[SortKey],
    limit: int,
    skip: int,
) -> Found:
    """A page of a node's live customers in `order`, ties by id."""
    parameters: list[object] = [workspace_id, node_id, limit, skip, MAX_ELEMENTS]
    filters = ""
    if external_id is not None:
        parameters.append(external_id)
        filters = SQL["customers_of_external_id"].format(parameter=len(parameters))
    pieces: list[str] = []
    for key in order:
        direction = "DESC" if key.descending else "ASC"
        if key.kind in {Kind.COLUMN, Kind.TEXT_COLUMN}:
            (column,) = key.path
            if column not in _COLUMNS:
                raise ValueError(f"customers have no column {column!r} to sort by")
            pieces.append(SQL[key.kind].format(column=column, direction=direction))
        elif key.kind in {Kind.ID, Kind.ENABLED, Kind.EXTERNAL_ID}:
            pieces.append(SQL[key.kind].format(direction=direction))
        else:
            parameters.append(list(key.path))
            pieces.append(SQL[key.kind].format(path=len(parameters), direction=direction))
    pieces.append(SQL[Kind.ID].format(direction="ASC"))
    rows = await conn.fetch(
        SQL["search_customers"].format(order=", ".join(pieces), filters=filters),
        *parameters,
    )
    return Found(
        documents=tuple(r["document"] for r in rows if r["document"] is not None),
        total=rows[0]["total"],
        unfiltered=rows[0]["unfiltered"],
    )


async def read_sessions(
    conn: Connection, workspace_id: WorkspaceId, customer_id: CustomerId
) -> list[StoredSession]:
    """A customer's sessions, oldest first."""
    rows = await conn.fetch(SQL["read_sessions"], workspace_id, customer_id)
    return [StoredSession(id=r["id"], value=r["value"]) for r in rows]


async def find_event(
    conn: Connection, workspace_id: WorkspaceId, event_id: EventId
) -> StoredEvent | None:
    """A live event."""
    row = await conn.fetchrow(SQL["find_event"], workspace_id, event_id)
    if row is None:
        return None
    return StoredEvent(
        node_id=row["node_id"],
        customer_id=row["customer_id"],
        date=row["date"],
        document=row["document"],
    )


async def find_neighbours(
    conn: Connection,
    workspace_id: WorkspaceId,
    customer_id: CustomerId,
    date: datetime,
    event_id: EventId,
) -> tuple[UUID | None, UUID | None]:
    """The customer's nearest events before and after (`date`, `event_id`)."""
    row = await conn.fetchrow(SQL["find_neighbours"], workspace_id, customer_id, date, event_id)
    assert row is not None
    return row["previous"], row["next"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What op 93 asks for; None leaves a filter out, an empty collection matches nothing."""

    customer_id: CustomerId | None = None
    nodes: frozenset[NodeId] | None = None
    types: frozenset[str] | None = None
    contexts: frozenset[str] | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None


async def search_events(
    conn: Connection,
    workspace_id: WorkspaceId,
    wanted: EventFilter,
    *,
    order: Iterable[tuple[str, bool]],
    limit: int,
    skip: int,
) -> Found:
    """A page of live events of a customer or of nodes, one of which `wanted` must name; `order` holds
    (member of the event, descending), ties by id.
    """
    parameters: list[object] = [workspace_id, limit, skip, MAX_ELEMENTS]

    def condition(name: str, value: object) -> str:
        if value is None:
            return ""
        parameters.append(list(value) if isinstance(value, frozenset) else value)
        return SQL[name].format(parameter=len(parameters))

    of_nodes = condition("events_of_nodes", wanted.nodes)
    nodes = len(parameters)
    of_customer = condition("events_of_customer", wanted.customer_id)
    if not of_nodes and not of_customer:
        raise ValueError("events are searched by customer or by nodes")
    scope = f"{of_customer} {of_nodes}"
    filters = " ".join(
        [
            condition("events_of_types", wanted.types),
            condition("events_of_contexts", wanted.contexts),
            condition("events_from", wanted.date_from),
            condition("events_to", wanted.date_to),
        ]
    )
    pieces = []
    for member, descending in order:
        direction = "DESC" if descending else "ASC"
        if member == "type":
            pieces.append(SQL["order_event_type"].format(direction=direction))
        else:
            column = _EVENT_COLUMNS[member]
            # NULLS LAST would keep the index on date from serving the order
            pieces.append(
                SQL["order_event_time"].format(column=column, direction=direction)
                if column == "updated_at"
                else SQL["order_event_date"].format(column=column, direction=direction)
            )
    pieces.append(SQL["order_event_id"])
    ordered = ", ".join(pieces)
    page = SQL["page_of_customer" if of_customer else "page_of_nodes"].format(
        order=ordered, scope=scope, filters=filters, nodes=nodes
    )
    rows = await conn.fetch(
        SQL["search_events"].format(page=page, order=ordered, scope=scope, filters=filters),
        *parameters,
    )
    return Found(
        documents=tuple(r["document"] for r in rows if r["document"] is not None),
        total=rows[0]["total"],
        unfiltered=rows[0]["unfiltered"],
    )
