"""The event document as a client reads it. Source: event-model 1 and 4."""

from __future__ import annotations

from datetime import datetime

from headwater.domain.ids import CustomerId, EventId, NodeId
from headwater.domain.json import JsonObject
from headwater.domain.moment import format_datetime


def render_event(
    *,
    event_id: EventId,
    customer_id: CustomerId | None,
    node_id: NodeId,
    body: JsonObject,
    date: datetime,
    registered_at: datetime,
    updated_at: datetime | None,
    version: int,
    origin: str = "NATIVE",
) -> JsonObject:
    """The complete event of a checked `body`: every member, null where nothing is set."""
    return {
        "id": str(event_id),
        "customerId": None if customer_id is None else str(customer_id),
        "bringBackProperties": body.get("bringBackProperties"),
        "type": body["type"],
        "context": body["context"],
        "properties": body["properties"],
        "contextInfo": body.get("contextInfo"),
        "date": body.get("date") or format_datetime(date),
        "tracking": body.get("tracking"),
        "origin": origin,
        "prev": None,
        "next": None,
        "registeredAt": format_datetime(registered_at),
        "updatedAt": None if updated_at is None else format_datetime(updated_at),
        "version": version,
        "nodeId": str(node_id),
    }


def attach(document: JsonObject, customer_id: CustomerId, updated_at: datetime) -> JsonObject:
    """The anonymous event `document` as an event of the customer; one version later.

    A customer that is already there is never overwritten: `document` comes back as it is.
    """
    if document["customerId"] is not None:
        return document
    return {
        **document,
        "customerId": str(customer_id),
        "updatedAt": format_datetime(updated_at),
        "version": document["version"] + 1,
    }
