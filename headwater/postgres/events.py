"""Events, as the processor writes them, set-wise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from headwater.domain.ids import CustomerId, EventId, NodeId, WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("events")


class NewEvent(NamedTuple):
    """A row to insert, its columns in order; `document` is the JSON text as it is sent."""

    id: EventId
    node_id: NodeId
    customer_id: CustomerId | None
    type: str
    context: str
    date: datetime
    registered_at: datetime
    bring_back_type: str | None
    bring_back_value: str | None
    document: str


_NEW_COLUMNS = ("workspace_id", *NewEvent._fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousEvent:
    """An event that waits for a customer, locked."""

    id: EventId
    node_id: NodeId
    version: int
    document: str
    bring_back_type: str
    bring_back_value: str
    registered_at: datetime
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The new state of an event that found its customer."""

    id: EventId
    customer_id: CustomerId
    version: int
    updated_at: datetime
    document: str


async def insert_events(
    conn: Connection, workspace_id: WorkspaceId, events: Sequence[NewEvent]
) -> set[EventId]:
    """Insert events; returns the ids that were new. One that exists stays as it is: a replayed write has
    no second effect.

    By COPY, which costs half of an INSERT of arrays on both sides and knows no ON CONFLICT.

    Raises:
        Contended: another transaction has just stored one of them; repeat.
    """
    if not events:
        return set()
    ids = [event.id for event in events]
    found = await conn.fetch(SQL["find_stored_events"], workspace_id, ids)
    stored = {row["id"] for row in found}
    new = {event.id: event for event in reversed(events) if event.id not in stored}
    await conn.copy_records_to_table(
        "events",
        columns=_NEW_COLUMNS,
        records=[(workspace_id, *event) for event in new.values()],
    )
    return set(new)


async def read_event_versions(
    conn: Connection, workspace_id: WorkspaceId, wanted: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], str]:
    """The documents of (event id, version) pairs that are still kept."""
    if not wanted:
        return {}
    rows = await conn.fetch(
        SQL["read_event_versions"],
        workspace_id,
        [event_id for event_id, _ in wanted],
        [version for _, version in wanted],
    )
    return {(row["id"], row["version"]): row["document"] for row in rows}


async def lock_anonymous_events(
    conn: Connection, workspace_id: WorkspaceId, values: Sequence[tuple[NodeId, str, str]]
) -> list[AnonymousEvent]:
    """The events that wait for any of (node, bring-back type, value), oldest first, locked."""
    if not values:
        return []
    rows = await conn.fetch(
        SQL["lock_anonymous_events"],
        workspace_id,
        [node for node, _, _ in values],
        [kind for _, kind, _ in values],
        [value for _, _, value in values],
    )
    return [AnonymousEvent(**dict(row)) for row in rows]


async def attach_events(
    conn: Connection, workspace_id: WorkspaceId, attached: Sequence[Attached]
) -> None:
    """Give events their customer; the caller keeps the document of the version before."""
    if attached:
        await conn.execute(
            SQL["attach_events"],
            workspace_id,
            [a.id for a in attached],
            [a.customer_id for a in attached],
            [a.version for a in attached],
            [a.updated_at for a in attached],
            [a.document for a in attached],
        )


async def delete_events_of_customers(
    conn: Connection, workspace_id: WorkspaceId, customers: Sequence[CustomerId]
) -> list[tuple[EventId, NodeId, int]]:
    """Mark all events of customers as deleted; (id, node, version) of each, oldest first."""
    if not customers:
        return []
    rows = await conn.fetch(SQL["delete_events_of_customers"], workspace_id, list(customers))
    return sorted((EventId(row["id"]), NodeId(row["node_id"]), row["version"]) for row in rows)
