"""Writes customers, events and their updates as the processor does, and remembers what it wrote."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from headwater.domain.customer import StoredCustomer, render
from headwater.domain.event import attach, render_event
from headwater.domain.ids import CustomerId, EventId, NodeId, WorkspaceId
from headwater.domain.json import JsonObject
from headwater.postgres.config import create_workspace
from headwater.postgres.customers import write_customers, write_versions
from headwater.postgres.events import (
    Attached,
    NewEvent,
    attach_events,
    delete_events_of_customers,
    insert_events,
)
from headwater.postgres.pool import Connection, Pool
from headwater.postgres.updates import Update, append_updates

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Writer:
    """Writes into one workspace. `feed` is what a reader of everything must see, in order."""

    pool: Pool
    workspace_id: WorkspaceId
    node_id: NodeId
    feed: list[JsonObject] = field(default_factory=list)
    customers: dict[CustomerId, StoredCustomer] = field(default_factory=dict)
    events_of: dict[CustomerId, list[EventId]] = field(default_factory=dict)
    documents: dict[uuid.UUID, JsonObject] = field(default_factory=dict)
    now: datetime = EPOCH

    def tick(self) -> datetime:
        """The next millisecond."""
        self.now += timedelta(milliseconds=1)
        return self.now

    async def events(self, count: int = 1, **options: Any) -> list[EventId]:
        """New events, all in one transaction; `options` as for `store_events`."""
        async with self.pool.transaction() as conn:
            return await self.store_events(conn, count, **options)

    async def store_events(
        self,
        conn: Connection,
        count: int,
        *,
        node_id: NodeId | None = None,
        customer_id: CustomerId | None = None,
        properties: JsonObject | None = None,
        dates: Sequence[datetime] = (),
        event_type: str = "viewedPage",
        context: str = "WEB",
        session: str = "s1",
    ) -> list[EventId]:
        node_id = node_id or self.node_id
        new: list[NewEvent] = []
        for number in range(count):
            at = self.tick()
            back: Any = None
            if customer_id is None:
                back = {"type": "SESSION_ID", "value": session, "nodeId": str(node_id)}
            body: JsonObject = {
                "type": event_type,
                "context": context,
                "properties": {"url": "https://example.com/"} if properties is None else properties,
                "bringBackProperties": back,
            }
            event_id = EventId(uuid.uuid4())
            date = dates[number] if dates else at
            document = render_event(
                body=body,
                event_id=event_id,
                node_id=node_id,
                customer_id=customer_id,
                date=date,
                registered_at=at,
                updated_at=None,
                version=0,
            )
            self.documents[event_id] = document
            new.append(
                NewEvent(
                    id=event_id,
                    node_id=node_id,
                    customer_id=customer_id,
                    type=event_type,
                    context=context,
                    date=date,
                    registered_at=at,
                    bring_back_type=None if back is None else "SESSION_ID",
                    bring_back_value=None if back is None else session,
                    document=orjson.dumps(document).decode(),
                )
            )
        await insert_events(conn, self.workspace_id, new)
        await self._append(
            conn,
            [("CREATE", "EVENT", event.id, event.node_id, 0, event.registered_at) for event in new],
        )
        if customer_id is not None:
            self.events_of.setdefault(customer_id, []).extend(event.id for event in new)
        return [event.id for event in new]

    async def attach(self, event_id: EventId, customer_id: CustomerId) -> None:
        """An anonymous event finds its customer."""
        old, at = self.documents[event_id], self.tick()
        new = attach(old, customer_id, at)
        async with self.pool.transaction() as conn:
            await write_versions(
                conn, self.workspace_id, [(event_id, old["version"], orjson.dumps(old).decode())]
            )
            change = Attached(
                id=event_id,
                customer_id=customer_id,
                version=new["version"],
                updated_at=at,
                document=orjson.dumps(new).decode(),
            )
            await attach_events(conn, self.workspace_id, [change])
            self.documents[event_id] = new
            node_id = NodeId(uuid.UUID(new["nodeId"]))
            await self._append(conn, [("UPDATE", "EVENT", event_id, node_id, new["version"], at)])
        self.events_of.setdefault(customer_id, []).append(event_id)

    async def customer(
        self,
        *,
        node_id: NodeId | None = None,
        customer_id: CustomerId | None = None,
        by: str = "test",
        **document: Any,
    ) -> CustomerId:
        """A new customer, written by a source or user; `document` is its compact form."""
        at = self.tick()
        made = StoredCustomer(
            id=customer_id or CustomerId(uuid.uuid4()),
            node_id=node_id or self.node_id,
            int_id=len(self.customers) + 1,
            version=0,
            deleted=0,
            registered_at=at,
            updated_at=at,
            registered_by=by,
            updated_by=by,
            document=document,
        )
        await self._store("CREATE", made)
        return made.id

    async def change(self, customer_id: CustomerId, **document: Any) -> None:
        """The next version of a customer."""
        await self._store("UPDATE", self._next(customer_id, document=document))

    async def delete(self, customer_id: CustomerId) -> None:
        """Delete a customer and its events."""
        gone = self._next(customer_id, deleted=1)
        await self._store("DELETE", gone)

    def _next(self, customer_id: CustomerId, **members: Any) -> StoredCustomer:
        old = self.customers[customer_id]
        values = {name: getattr(old, name) for name in StoredCustomer.__dataclass_fields__}
        values |= {"version": old.version + 1, "updated_at": self.tick(), **members}
        return StoredCustomer(**values)

    async def _store(self, operation: str, customer: StoredCustomer) -> None:
        document = render(customer)
        at = customer.updated_at
        async with self.pool.transaction() as conn:
            await write_customers(conn, self.workspace_id, [customer])
            text = orjson.dumps(document).decode()
            await write_versions(conn, self.workspace_id, [(customer.id, customer.version, text)])
            self.customers[customer.id] = customer
            self.documents[customer.id] = document
            updates: list[tuple[Any, ...]] = [
                (operation, "CUSTOMER", customer.id, customer.node_id, customer.version, at)
            ]
            if customer.deleted:
                gone = await delete_events_of_customers(conn, self.workspace_id, [customer.id])
                updates += [
                    ("DELETE", "EVENT", event_id, node_id, version, at)
                    for event_id, node_id, version in gone
                ]
                self.events_of.pop(customer.id, None)
            await self._append(conn, updates)

    async def _append(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        updates = [Update(*row) for row in rows]
        await append_updates(conn, self.workspace_id, updates)
        self.feed += [
            {
                "operation": update.operation,
                "entity": {"type": update.entity_type, "data": self.documents[update.entity_id]},
            }
            for update in updates
        ]


async def make_writer(pool: Pool) -> Writer:
    """A writer into a new workspace."""
    workspace_id = WorkspaceId(uuid.uuid4())
    async with pool.transaction() as conn:
        await create_workspace(
            conn, workspace_id, name="Test", slug=workspace_id.hex, group_pk=1, now=EPOCH
        )
    return Writer(pool=pool, workspace_id=workspace_id, node_id=NodeId(uuid.uuid4()))
