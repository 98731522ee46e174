"""The whole processor, told slowly: commands applied one at a time to plain dictionaries.

`apply(state, command, now)` says what becomes of one command and changes `state`. No batch, no lock, no
index: whatever the processor does with batches of any size must come to the same. What a schema refuses is
decided by `State.check`, which is given from outside; everything after that is here, by the text of
customer-model 5 and 7, event-model 3 and 4, contacthub 2.4, 2.12, 2.13 and operation 108.

The order of `State.feed` is that of single commands. The hub promises the order of each entity's entries
and dense offsets; between entities of one batch it may differ.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from headwater.domain.commands import (
    Command,
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from tests.domain import reference

Json = Any
Document = dict[str, Json]
Errors = tuple[tuple[str, str], ...]
"""Message and path of each fault."""

Check = Callable[[Command, Document], tuple[Document | None, Errors]]
"""The normalised body of a command, or None and the faults that the schemas find."""

MAX_BYTES = 65_535
MAX_TAGS = 1000


@dataclass(kw_only=True)
class Node:
    """An entry node: which properties name a customer there, and which it must have."""

    unique: list[str]
    case_sensitive: bool = False
    mandatory: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Customer:
    """A customer of any time; `document` is whole, `deleted` 0 or 1."""

    node: str
    int_id: int
    document: Document
    registered_at: datetime
    updated_at: datetime
    registered_by: str
    updated_by: str
    version: int = 0
    deleted: int = 0


@dataclass(kw_only=True)
class Event:
    """An event as a client reads it, and whether it is still there."""

    document: Document
    deleted: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the feed; `data` is the entity as of that change."""

    operation: str
    entity_type: str
    entity_id: str
    data: Document


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a client is told: the status, whose write it was, its version, or the sentence of the error."""

    status: int
    entity_id: str | None = None
    version: int | None = None
    message: str | None = None
    errors: Errors = ()

    @property
    def is_applied(self) -> bool:
        """Whether the write took effect (or had none to take)."""
        return self.message is None


@dataclass(kw_only=True)
class State:
    """A workspace. Ids are texts; `callers` the nodes that each source may use."""

    nodes: dict[str, Node]
    callers: dict[str, set[str]]
    policy: str = "MERGE"
    check: Check = lambda _command, body: (body, ())
    customers: dict[str, Customer] = field(default_factory=dict)
    sessions: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    feed: list[Entry] = field(default_factory=list)
    operations: dict[UUID, tuple[str, Outcome]] = field(default_factory=dict)


def apply(state: State, command: Command, now: datetime) -> Outcome:
    """What becomes of `command`; a refused one leaves `state` as it is."""
    envelope = command.envelope
    known = state.operations.get(envelope.operation_id) if envelope.repeatable else None
    if known is not None:
        fingerprint, outcome = known
        same = fingerprint == envelope.fingerprint
        return outcome if same else Outcome(status=422, message="idempotency key reused")
    outcome = _apply(state, command, now)
    state.operations.setdefault(envelope.operation_id, (envelope.fingerprint, outcome))
    return outcome


def shown(state: State, customer_id: str) -> Document:
    """The customer as GET shows it."""
    customer = state.customers[customer_id]
    return {
        **copy.deepcopy(customer.document),
        "id": customer_id,
        "intId": customer.int_id,
        "nodeId": customer.node,
        "registeredAt": _text(customer.registered_at),
        "updatedAt": _text(customer.updated_at),
        "version": customer.version,
        "deleted": customer.deleted,
        "sourceInfo": {
            "registeredBy": customer.registered_by,
            "updatedBy": customer.updated_by,
        },
    }


def _apply(state: State, command: Command, now: datetime) -> Outcome:
    caller = command.envelope.caller
    if isinstance(command, DeleteCustomer):
        return _delete(state, command, now)
    sent = json.loads(command.body)
    body, faults = state.check(command, sent)
    if body is None:
        kinds = {RecordEvent: "event", CreateSession: "session"}
        return _invalid(kinds.get(type(command), "customer"), *faults)
    match command:
        case RecordEvent():
            return _record(state, command, body, now)
        case CreateSession():
            return _open_session(state, command, body, now)
        case CreateCustomer():
            node = sent.get("nodeId")
            if node not in state.nodes or node not in state.callers[caller]:
                return Outcome(status=404, message=f"node not found {node}")
            return _post(state, command, node, _writable(body), now)
        case PatchCustomer() | ReplaceCustomer():
            return _change(state, command, sent.get("nodeId"), _writable(body), now)


def _invalid(kind: str, *errors: tuple[str, str]) -> Outcome:
    return Outcome(status=400, message=f"source {kind} is not valid", errors=errors)


def _unknown(customer_id: object) -> Outcome:
    return Outcome(status=404, message=f"customer not found {customer_id}")


def _conflict(customer_id: str) -> Outcome:
    return Outcome(status=409, message=f"Conflict with exiting customer {customer_id}")


def _writable(body: Document) -> Document:
    return {name: value for name, value in body.items() if name in reference.NEW}


# Customers


def _post(
    state: State, command: CreateCustomer, node: str, body: Document, now: datetime
) -> Outcome:
    rules = state.nodes[node]
    missing = _missing(body, rules)
    if missing:
        return _invalid("customer", *missing)
    owner = _owner(state, node, body)
    if owner is not None and state.policy == "BLOCK":
        return _conflict(owner)
    if owner is not None:
        return _write(state, command, owner, body, "POST", now)
    document = reference.created(body)
    refused = _merged_fault(None, document) or _session_fault(
        state, node, command.session_value, None
    )
    if refused is not None:
        return refused
    customer_id = str(command.customer_id)
    caller = command.envelope.caller
    state.customers[customer_id] = Customer(
        node=node,
        int_id=len(state.customers) + 1,
        document=document,
        registered_at=now,
        updated_at=now,
        registered_by=caller,
        updated_by=caller,
    )
    _tell(state, "CREATE", customer_id)
    _after_write(state, command, customer_id, None, now)
    return Outcome(status=201, entity_id=customer_id, version=0)


def _change(
    state: State,
    command: PatchCustomer | ReplaceCustomer,
    named_node: str | None,
    body: Document,
    now: datetime,
) -> Outcome:
    customer_id = str(command.customer_id)
    customer = _live(state, command, customer_id)
    if customer is None:
        return _unknown(customer_id)
    if named_node is not None and named_node != customer.node:
        return _invalid("customer", ("property is immutable", "/nodeId"))
    mode = "PATCH" if isinstance(command, PatchCustomer) else "PUT"
    if mode == "PUT":
        missing = _missing(body, state.nodes[customer.node])
        if missing:
            return _invalid("customer", *missing)
    mode = mode + "_STRICT" if command.strict else mode
    return _write(state, command, customer_id, body, mode, now)


def _write(
    state: State,
    command: CreateCustomer | PatchCustomer | ReplaceCustomer,
    customer_id: str,
    body: Document,
    mode: str,
    now: datetime,
) -> Outcome:
    customer = state.customers[customer_id]
    before = customer.document
    after = reference.written(before, body, mode)
    is_changed = reference.spelled(after) != reference.spelled(before)
    if is_changed:
        rules = state.nodes[customer.node]
        emptied = [
            error for error in _missing(after, rules) if error not in _missing(before, rules)
        ]
        if emptied:
            return _invalid("customer", *emptied)
        refused = _merged_fault(before, after)
        if refused is not None:
            return refused
        if _key(state, customer.node, after) != _key(state, customer.node, before):
            owner = _owner(state, customer.node, after)
            if owner is not None and owner != customer_id:
                return _conflict(owner)
    refused = _session_fault(state, customer.node, command.session_value, customer_id)
    if refused is not None:
        return refused
    if is_changed:
        customer.document = after
        customer.version += 1
        customer.updated_at = max(now, customer.updated_at + timedelta(milliseconds=1))
        customer.updated_by = command.envelope.caller
        _tell(state, "UPDATE", customer_id)
    _after_write(state, command, customer_id, before, now)
    status = 201 if mode == "POST" else 200
    return Outcome(status=status, entity_id=customer_id, version=customer.version)


def _after_write(
    state: State,
    command: CreateCustomer | PatchCustomer | ReplaceCustomer,
    customer_id: str,
    before: Document | None,
    now: datetime,
) -> None:
    customer = state.customers[customer_id]
    external_id = customer.document["externalId"]
    if external_id and (before is None or before["externalId"] != external_id):
        _attach(state, customer.node, "EXTERNAL_ID", external_id, customer_id, now)
    if command.session_value is not None:
        session_id = str(command.envelope.operation_id)
        _assign(state, customer.node, command.session_value, customer_id, session_id, now)


def _delete(state: State, command: DeleteCustomer, now: datetime) -> Outcome:
    customer_id = str(command.customer_id)
    customer = _live(state, command, customer_id)
    if customer is None:
        return _unknown(customer_id)
    customer.deleted = 1
    customer.version += 1
    customer.updated_at = max(now, customer.updated_at + timedelta(milliseconds=1))
    customer.updated_by = command.envelope.caller
    _tell(state, "DELETE", customer_id)
    state.sessions = {
        key: session for key, session in state.sessions.items() if session[0] != customer_id
    }
    for event_id, event in sorted(state.events.items()):
        if event.document["customerId"] == customer_id and not event.deleted:
            event.deleted = True
            _tell_event(state, "DELETE", event_id)
    return Outcome(status=200, entity_id=customer_id)


def _live(state: State, command: Command, customer_id: str) -> Customer | None:
    customer = state.customers.get(customer_id)
    if customer is None or customer.deleted:
        return None
    return customer if customer.node in state.callers[command.envelope.caller] else None


def _key(state: State, node: str, document: Document) -> Json:
    rules = state.nodes[node]
    if state.policy == "NO_CHECK":
        return None
    return reference.key_of(document, rules.unique, case_sensitive=rules.case_sensitive)


def _owner(state: State, node: str, document: Document) -> str | None:
    """The live customer of the node that has the key of `document`."""
    key = _key(state, node, document)
    for customer_id, customer in state.customers.items():
        is_here = customer.node == node and not customer.deleted
        if key is not None and is_here and _key(state, node, customer.document) == key:
            return customer_id
    return None


def _missing(document: Document, rules: Node) -> list[tuple[str, str]]:
    errors: dict[str, str] = {}
    for message, paths in (
        ("unique customer property is required", rules.unique),
        ("mandatory property is required", rules.mandatory),
    ):
        for path in paths:
            if not reference.has_value(document, path):
                errors.setdefault("/" + path.replace(".", "/"), message)
    return [(message, path) for path, message in errors.items()]


def _merged_fault(before: Document | None, after: Document) -> Outcome | None:
    """What only shows after the merge: half a place, too many tags, too large a customer."""
    errors = []
    geo = reference.value_at(after, "base.address.geo")
    if geo is not None:
        path = "/base/address/geo/"
        errors += [
            ("required property is missing", path + n) for n in ("lat", "lon") if geo[n] is None
        ]
    for name in ("auto", "manual"):
        tags = reference.value_at(after, f"tags.{name}") or []
        known = reference.value_at(before, f"tags.{name}") if before is not None else None
        if tags != known and sum(len(tag) for tag in tags) > MAX_TAGS:
            errors.append((f"max length is {MAX_TAGS}", f"/tags/{name}"))
    if errors:
        return _invalid("customer", *errors)
    text = json.dumps(_set_only(after), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_BYTES:
        return Outcome(status=413, message=f"payload exceeds {MAX_BYTES} bytes")
    return None


def _set_only(value: Json) -> Json:
    if isinstance(value, dict):
        members = {name: _set_only(inner) for name, inner in value.items()}
        return {name: inner for name, inner in members.items() if inner is not None and inner != []}
    return [_set_only(element) for element in value] if isinstance(value, list) else value


# Sessions and events


def _session_fault(
    state: State, node: str, value: str | None, customer_id: str | None
) -> Outcome | None:
    owner = None if value is None else state.sessions.get((node, value))
    if owner is None or owner[0] == customer_id:
        return None
    return Outcome(status=409, message="Conflict: session already assigned")


def _assign(
    state: State, node: str, value: str, customer_id: str, session_id: str, now: datetime
) -> str:
    """The session's id: the one it has, or the new one."""
    known = state.sessions.get((node, value))
    if known is not None:
        return known[1]
    state.sessions[node, value] = (customer_id, session_id)
    _attach(state, node, "SESSION_ID", value, customer_id, now)
    return session_id


def _open_session(state: State, command: CreateSession, body: Document, now: datetime) -> Outcome:
    customer_id = str(command.customer_id)
    customer = _live(state, command, customer_id)
    if customer is None:
        return _unknown(customer_id)
    value = body["value"]
    refused = _session_fault(state, customer.node, value, customer_id)
    if refused is not None:
        return refused
    new_id = str(command.session_id)
    session_id = _assign(state, customer.node, value, customer_id, new_id, now)
    return Outcome(status=201, entity_id=session_id)


def _attach(
    state: State, node: str, kind: str, value: str, customer_id: str, now: datetime
) -> None:
    """All anonymous events of the node that wait for the value get their customer."""
    for event_id, event in sorted(state.events.items()):
        document = event.document
        back = document["bringBackProperties"]
        waits = document["customerId"] is None and document["nodeId"] == node
        if waits and (back["type"], back["value"]) == (kind, value):
            event.document = {
                **document,
                "customerId": customer_id,
                "version": document["version"] + 1,
                "updatedAt": _text(now),
            }
            _tell_event(state, "UPDATE", event_id)


def _record(state: State, command: RecordEvent, body: Document, now: datetime) -> Outcome:
    back = body.get("bringBackProperties")
    event_id = str(command.event_id)
    if back is None:
        customer_id: str | None = str(body["customerId"]).lower()
        customer = _live(state, command, customer_id or "")
        if customer is None:
            return _unknown(body["customerId"])
        node = customer.node
    else:
        node = back["nodeId"]
        if node not in state.nodes or node not in state.callers[command.envelope.caller]:
            return Outcome(status=404, message=f"node not found {node}")
        customer_id = _resolve(state, node, back["type"], back["value"])
    accepted_at = _text(command.envelope.accepted_at)
    document = {
        "id": event_id,
        "customerId": customer_id,
        "bringBackProperties": back,
        "type": body["type"],
        "context": body["context"],
        "properties": body["properties"],
        "contextInfo": body.get("contextInfo"),
        "date": accepted_at if body.get("date") is None else body["date"],
        "tracking": body.get("tracking"),
        "origin": "NATIVE",
        "prev": None,
        "next": None,
        "registeredAt": _text(now),
        "updatedAt": None,
        "version": 0,
        "nodeId": node,
    }
    state.events[event_id] = Event(document=document)
    _tell_event(state, "CREATE", event_id)
    return Outcome(status=201, entity_id=event_id, version=0)


def _resolve(state: State, node: str, kind: str, value: str) -> str | None:
    """Whom a bring-back names now. Equally recent ones of an external id: the lowest id."""
    if kind == "SESSION_ID":
        owner = state.sessions.get((node, value))
        return None if owner is None else owner[0]
    having = [
        (-customer.updated_at.timestamp(), customer_id)
        for customer_id, customer in state.customers.items()
        if customer.node == node
        and not customer.deleted
        and customer.document["externalId"] == value
    ]
    return min(having)[1] if having else None


# The feed


def _tell(state: State, operation: str, customer_id: str) -> None:
    state.feed.append(
        Entry(
            operation=operation,
            entity_type="CUSTOMER",
            entity_id=customer_id,
            data=shown(state, customer_id),
        )
    )


def _tell_event(state: State, operation: str, event_id: str) -> None:
    data = copy.deepcopy(state.events[event_id].document)
    state.feed.append(
        Entry(operation=operation, entity_type="EVENT", entity_id=event_id, data=data)
    )


def _text(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"
