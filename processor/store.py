"""Write the changes of one workspace, set-wise, inside the batch's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import orjson

from headwater.domain.customer import StoredCustomer, render
from headwater.domain.event import attach
from headwater.domain.ids import CustomerId, EventId, WorkspaceId
from headwater.postgres.customers import write_customers, write_versions
from headwater.postgres.events import (
    AnonymousEvent,
    Attached,
    attach_events,
    delete_events_of_customers,
    insert_events,
    lock_anonymous_events,
)
from headwater.postgres.identities import (
    EXTERNAL,
    Identity,
    IdentityKey,
    claim_identities,
    delete_external_identities,
    delete_identities,
    delete_identities_of_customers,
    set_identities,
)
from headwater.postgres.pool import Connection
from headwater.postgres.updates import Update
from processor.crash import CrashPoint, Step
from processor.fold import Changes

_BRING_BACK_TYPE = {"SESSION": "SESSION_ID", "EXTERNAL": "EXTERNAL_ID"}
_KIND = {name: kind for kind, name in _BRING_BACK_TYPE.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the workspace's feed gets, and the documents that answer the waiting clients."""

    updates: list[Update]
    documents: dict[tuple[UUID, int], str]


async def store(
    conn: Connection,
    workspace_id: WorkspaceId,
    changes: Changes,
    int_ids: Mapping[CustomerId, int],
    crash: CrashPoint,
    now: datetime,
) -> Stored:
    """Write customers, events, identities and versions. The feed comes later, and last.

    `int_ids` are the numbers of the customers in `changes.created`.
    """
    documents: dict[tuple[UUID, int], str] = {}
    inserted = await insert_events(conn, workspace_id, changes.events)
    crash.after(Step.INSERT_EVENTS)
    # an event that was stored before, as by a replay, is no change
    updates = changes.updates
    if len(inserted) != len(changes.events):
        updates = _without_repeated(updates, inserted)
    await delete_identities_of_customers(conn, workspace_id, changes.deleted)
    numbered = {
        customer_id: _number(customer, int_ids)
        for customer_id, customer in changes.customers.items()
    }
    await write_customers(conn, workspace_id, list(numbered.values()))
    crash.after(Step.WRITE_CUSTOMERS)
    versions = []
    for version in changes.versions:
        text = orjson.dumps(render(_number(version, int_ids))).decode()
        documents[version.id, version.version] = text
        versions.append((version.id, version.version, text))
    await write_versions(conn, workspace_id, versions)
    crash.after(Step.WRITE_VERSIONS)
    await _store_identities(conn, workspace_id, changes, now)
    crash.after(Step.STORE_IDENTITIES)
    await _attach_new(conn, workspace_id, changes, inserted, now)
    updates = updates + await _attach_waiting(conn, workspace_id, changes, inserted, now)
    gone = await delete_events_of_customers(conn, workspace_id, changes.deleted)
    crash.after(Step.ATTACH_EVENTS)
    updates += [
        Update(
            operation="DELETE",
            entity_type="EVENT",
            entity_id=event_id,
            node_id=node_id,
            version=version,
            changed_at=now,
        )
        for event_id, node_id, version in gone
    ]
    return Stored(updates=updates, documents=documents)


def _without_repeated(updates: list[Update], inserted: set[EventId]) -> list[Update]:
    """`updates` with one entry per version of an event that was inserted."""
    told: set[tuple[UUID, int]] = set()
    kept = []
    for update in updates:
        if update.entity_type == "EVENT":
            version = (update.entity_id, update.version)
            if update.entity_id not in inserted or version in told:
                continue
            told.add(version)
        kept.append(update)
    return kept


def _number(customer: StoredCustomer, int_ids: Mapping[CustomerId, int]) -> StoredCustomer:
    number = int_ids.get(customer.id)
    return customer if number is None else replace(customer, int_id=number)


async def _store_identities(
    conn: Connection, workspace_id: WorkspaceId, changes: Changes, now: datetime
) -> None:
    named: dict[IdentityKey, Identity] = {}
    nameless: list[IdentityKey] = []
    for key, identity in changes.identities.items():
        if identity.awaited:
            continue
        if key[1] == EXTERNAL:
            if key in changes.attach:  # it names no single customer: it only stops being awaited
                named[key] = identity
        elif identity.customer_id is not None:
            named[key] = identity
        else:
            nameless.append(key)
    await set_identities(conn, workspace_id, named, now)
    await delete_identities(conn, workspace_id, nameless)
    # values whose customer went in this batch are waited for again; their rows may have gone with it
    await claim_identities(conn, workspace_id, dict.fromkeys(changes.awaited, True), now)
    await delete_external_identities(conn, workspace_id, changes.dropped_external_ids)


async def _attach_new(
    conn: Connection,
    workspace_id: WorkspaceId,
    changes: Changes,
    inserted: set[EventId],
    now: datetime,
) -> None:
    """New events that found their customer in this batch; their updates are in `changes` already."""
    by_id = {change.event.id: change for change in reversed(changes.attached)}
    attached = [change for event_id, change in by_id.items() if event_id in inserted]
    first_versions = [(change.event.id, 0, change.event.document) for change in attached]
    await write_versions(conn, workspace_id, first_versions)
    await attach_events(
        conn,
        workspace_id,
        [
            Attached(
                id=change.event.id,
                customer_id=change.customer_id,
                version=change.document["version"],
                updated_at=now,
                document=orjson.dumps(change.document).decode(),
            )
            for change in attached
        ],
    )


async def _attach_waiting(
    conn: Connection,
    workspace_id: WorkspaceId,
    changes: Changes,
    inserted: set[EventId],
    now: datetime,
) -> list[Update]:
    """Events that waited before this batch; of its own, those that still wait came too late."""
    values = [(node, _BRING_BACK_TYPE[kind], value) for node, kind, value in changes.attach]
    found = await lock_anonymous_events(conn, workspace_id, values)
    waiting = [event for event in found if event.id not in inserted]
    attached = [_attached(event, _owner_of(event, changes), now) for event in waiting]
    # the document of the version before moves to where the feed's past looks for it
    await write_versions(
        conn, workspace_id, [(event.id, event.version, event.document) for event in waiting]
    )
    await attach_events(conn, workspace_id, attached)
    return [
        Update(
            operation="UPDATE",
            entity_type="EVENT",
            entity_id=event.id,
            node_id=event.node_id,
            version=change.version,
            changed_at=change.updated_at,
        )
        for event, change in zip(waiting, attached, strict=True)
    ]


def _owner_of(event: AnonymousEvent, changes: Changes) -> CustomerId:
    return changes.attach[event.node_id, _KIND[event.bring_back_type], event.bring_back_value]


def _attached(event: AnonymousEvent, customer_id: CustomerId, now: datetime) -> Attached:
    document = attach(orjson.loads(event.document), customer_id, now)
    return Attached(
        id=event.id,
        customer_id=customer_id,
        version=event.version + 1,
        updated_at=now,
        document=orjson.dumps(document).decode(),
    )
