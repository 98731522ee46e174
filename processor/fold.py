"""Fold the commands of one workspace, in arrival order, into what is to be written. Pure.

One row per customer is written, yet one version and one feed entry per effective change. The fold knows
only what `match` found; what else it needs (the new match key of a PATCH) it names in `missing`, and is
run again from the start with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from headwater.domain import refusal as refusals
from headwater.domain.commands import (
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from headwater.domain.configuration import (
    MAX_CUSTOMER_BYTES,
    CustomerPolicy,
    Node,
    WorkspaceConfig,
)
from headwater.domain.customer import StoredCustomer, compact_size, string_list_limits
from headwater.domain.event import attach, render_event
from headwater.domain.ids import CustomerId, EventId, NodeId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.matching import (
    emptied_by_patch,
    is_key_left_alone,
    match_key,
    missing_properties,
)
from headwater.domain.merge import Mode, check_merged, merge
from headwater.domain.outcome import Applied, Outcome, Rejected
from headwater.domain.refusal import FieldError, Refusal
from headwater.postgres.events import NewEvent
from headwater.postgres.identities import EXTERNAL, MATCH, SESSION, Identity, IdentityKey
from headwater.postgres.updates import Update
from processor.match import Found, bring_back_key
from processor.validate import Checked

_TICK = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedChange:
    """A new event that found its customer in the same batch; `document` is its second version."""

    event: NewEvent
    customer_id: CustomerId
    document: JsonObject


@dataclass(slots=True, kw_only=True)
class Changes:
    """What the commands of one workspace come to.

    - `customers`: the last state of each changed customer; `created` those that get a number.
    - `versions`: every state on the way, one per feed entry.
    - `events`: new events.
    - `identities`: who the touched values name at the end.
    - `attach`: values whose events that waited before the batch now belong to a customer.
    - `attached`: new events that waited for a customer who came later in the batch.
    - `awaited`: values that events wait for from now on.
    - `outcomes`: one per command, in order.
    """

    customers: dict[CustomerId, StoredCustomer] = field(default_factory=dict)
    created: list[CustomerId] = field(default_factory=list)
    deleted: list[CustomerId] = field(default_factory=list)
    versions: list[StoredCustomer] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    identities: dict[IdentityKey, Identity] = field(default_factory=dict)
    attach: dict[IdentityKey, CustomerId] = field(default_factory=dict)
    attached: list[AttachedChange] = field(default_factory=list)
    awaited: set[IdentityKey] = field(default_factory=set)
    dropped_external_ids: list[tuple[NodeId, str]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    missing: set[IdentityKey] = field(default_factory=set)


def fold(valid: Sequence[Checked], found: Found, config: WorkspaceConfig, now: datetime) -> Changes:
    """Apply `valid` one after the other to what was found; `found` itself stays as it is."""
    folding = _Folding(found, config, now)
    for checked in valid:
        folding.changes.outcomes.append(folding.apply(checked))
    folding.finish()
    return folding.changes


class _Folding:
    def __init__(self, found: Found, config: WorkspaceConfig, now: datetime) -> None:
        self.found = found
        self.config = config
        self.now = now
        self.list_limits = string_list_limits(config.customer_extended)
        self.changes = Changes()
        self.customers = dict(found.customers)
        self.held = dict(found.held)
        self.identities = dict(found.identities)
        self.by_external_id: dict[tuple[NodeId, str], set[CustomerId]] = {}
        for customer in found.customers.values():
            self._index_external_id(customer, None)
        self.waiting: dict[IdentityKey, list[tuple[NewEvent, JsonObject]]] = {}
        self.touched: set[IdentityKey] = set(found.claimed)

    def apply(self, checked: Checked) -> Outcome:
        command = checked.command
        match command:
            case RecordEvent():  # first: most are events
                return self._record(checked, command)
            case CreateCustomer():
                return self._create(checked, command)
            case PatchCustomer() | ReplaceCustomer():
                return self._change(checked, command)
            case DeleteCustomer():
                return self._delete(checked, command)
            case CreateSession():
                return self._create_session(checked, command)
            case None:
                raise AssertionError("an undecodable record is refused before the fold")

    # customers

    def _create(self, checked: Checked, command: CreateCustomer) -> Outcome:
        node, document = checked.node, checked.document
        assert node is not None
        assert document is not None
        owner = self._owner((node.id, MATCH, checked.match_value))
        if owner is not None and self.config.customer_policy is CustomerPolicy.BLOCK:
            return Rejected(refusal=refusals.conflict_with_customer(str(owner)))
        if owner is not None:
            return self._merge_into(checked, self.customers[owner], Mode.POST, 201, node)
        merged = merge(None, document, Mode.POST)
        refusal = self._check_document({}, merged.document)
        refusal = refusal or self._check_session(
            node.id, command.session_value, command.customer_id
        )
        if refusal is not None:
            return Rejected(refusal=refusal)
        caller = command.envelope.caller
        customer = StoredCustomer(
            id=command.customer_id,
            node_id=node.id,
            int_id=0,  # the number is taken when it is certain that the customer is created
            version=0,
            deleted=0,
            registered_at=self.now,
            updated_at=self.now,
            registered_by=caller,
            updated_by=caller,
            document=merged.document,
        )
        self.changes.created.append(customer.id)
        self._store(customer, "CREATE")
        if checked.match_value is not None:
            self._name((node.id, MATCH, checked.match_value), customer.id)
        self._follow_external_id(customer, None)
        self._assign_session(node.id, command.session_value, customer.id, command)
        return self._applied(201, customer)

    def _change(self, checked: Checked, command: PatchCustomer | ReplaceCustomer) -> Outcome:
        customer = self._live(command.customer_id, checked)
        if customer is None:
            return _unknown(command.customer_id)
        node = self.config.nodes[customer.node_id]
        named = checked.body_node_id
        if named is not None and find_uuid(named) != customer.node_id:
            fault = FieldError(message="property is immutable", path="/nodeId")
            return Rejected(refusal=refusals.customer_not_valid(fault))
        if isinstance(command, PatchCustomer):
            mode = Mode.PATCH_STRICT if command.strict else Mode.PATCH
        else:
            mode = Mode.PUT_STRICT if command.strict else Mode.PUT
        return self._merge_into(checked, customer, mode, 200, node)

    def _merge_into(
        self, checked: Checked, customer: StoredCustomer, mode: Mode, status: int, node: Node
    ) -> Outcome:
        command = checked.command
        assert isinstance(command, (CreateCustomer, PatchCustomer, ReplaceCustomer))
        assert checked.document is not None
        if mode in {Mode.PUT, Mode.PUT_STRICT}:
            errors = missing_properties(checked.document, node)
            if errors:
                return Rejected(refusal=refusals.customer_not_valid(*errors))
        merged = merge(customer.document, checked.document, mode)
        old_key: IdentityKey | None = None
        new_key: IdentityKey | None = None
        if merged.changed:
            # only what this write empties: a rule that came later asks nothing of it
            errors = emptied_by_patch(customer.document, merged.document, node)
            if errors:
                return Rejected(refusal=refusals.customer_not_valid(*errors))
            refusal = self._check_document(customer.document, merged.document)
            if refusal is not None:
                return Rejected(refusal=refusal)
            old_key, new_key = self._moved_key(customer.document, merged.document, node)
            if new_key is not None:
                owner = self._owner(new_key)
                if owner is not None and owner != customer.id:
                    return Rejected(refusal=refusals.conflict_with_customer(str(owner)))
        refusal = self._check_session(node.id, command.session_value, customer.id)
        if refusal is not None:
            return Rejected(refusal=refusal)
        if merged.changed:
            if new_key is not None:
                if old_key is not None:
                    self._name(old_key, None)
                self._name(new_key, customer.id)
            changed = replace(
                customer,
                document=merged.document,
                version=customer.version + 1,
                updated_at=max(self.now, customer.updated_at + _TICK),
                updated_by=command.envelope.caller,
            )
            self._store(changed, "UPDATE")
            self._follow_external_id(changed, customer)
            customer = changed
        self._assign_session(node.id, command.session_value, customer.id, command)
        return self._applied(status, customer)

    def _check_document(self, before: JsonObject, after: JsonObject) -> Refusal | None:
        errors = check_merged(before, after, self.list_limits)
        if errors:
            return refusals.customer_not_valid(*errors)
        # the exact size costs ten times as much and is only asked for near the limit
        if 2 * len(orjson.dumps(after)) > MAX_CUSTOMER_BYTES < compact_size(after):
            return refusals.payload_exceeds(MAX_CUSTOMER_BYTES)
        return None

    def _delete(self, checked: Checked, command: DeleteCustomer) -> Outcome:
        customer = self._live(command.customer_id, checked)
        if customer is None:
            return _unknown(command.customer_id)
        gone = replace(
            customer,
            deleted=1,
            version=customer.version + 1,
            updated_at=max(self.now, customer.updated_at + _TICK),
            updated_by=command.envelope.caller,
        )
        self._store(gone, "DELETE")
        self.changes.deleted.append(gone.id)
        for key, identity in list(self.identities.items()):
            if identity.customer_id == gone.id:
                self._name(key, None)
        external_id = gone.document.get("externalId")
        if external_id:
            self.changes.dropped_external_ids.append((gone.node_id, external_id))
        return Applied(status=200, entity_type="CUSTOMER", entity_id=gone.id, version=None)

    # sessions

    def _create_session(self, checked: Checked, command: CreateSession) -> Outcome:
        customer = self._live(command.customer_id, checked)
        if customer is None:
            return _unknown(command.customer_id)
        assert checked.document is not None
        value = checked.document["value"]
        refusal = self._check_session(customer.node_id, value, customer.id)
        if refusal is not None:
            return Rejected(refusal=refusal)
        session_id = self._assign_session(customer.node_id, value, customer.id, command)
        body = {"id": str(session_id), "value": value}
        return Applied(
            status=201, entity_type="SESSION", entity_id=UUID(body["id"]), version=None, body=body
        )

    def _check_session(
        self, node_id: NodeId, value: str | None, customer_id: CustomerId
    ) -> Refusal | None:
        if value is None:
            return None
        owner = self._owner((node_id, SESSION, value))
        if owner is None or owner == customer_id:
            return None
        return refusals.conflict("session already assigned")

    def _assign_session(
        self,
        node_id: NodeId,
        value: str | None,
        customer_id: CustomerId,
        command: CreateCustomer | PatchCustomer | ReplaceCustomer | CreateSession,
    ) -> UUID | None:
        if value is None:
            return None
        key = (node_id, SESSION, value)
        known = self.identities.get(key)
        if known is not None and known.customer_id is not None and known.id is not None:
            return known.id
        session_id = (
            command.session_id
            if isinstance(command, CreateSession)
            else command.envelope.operation_id
        )
        self._attach_waiting(key, customer_id)
        self.identities[key] = Identity(customer_id=customer_id, id=session_id)
        self.touched.add(key)
        return session_id

    # events

    def _record(self, checked: Checked, command: RecordEvent) -> Outcome:
        document = checked.document
        assert document is not None
        customer_id = checked.customer_id
        if customer_id is not None:
            node_id = self._node_of_live(customer_id)
            if node_id is None or (checked.nodes is not None and node_id not in checked.nodes):
                return _unknown(document["customerId"])
        else:
            assert checked.node is not None
            node_id = checked.node.id
            customer_id = self._resolve(checked)
        accepted_at = command.envelope.accepted_at
        # a checked date has the wire's one spelling, which the standard library reads fastest
        date = accepted_at if document["date"] is None else datetime.fromisoformat(document["date"])
        full = render_event(
            event_id=command.event_id,
            customer_id=customer_id,
            node_id=node_id,
            body=document,
            date=date,
            registered_at=self.now,
            updated_at=None,
            version=0,
        )
        bring_back = document["bringBackProperties"] or {}
        event = NewEvent(
            command.event_id,
            node_id,
            customer_id,
            document["type"],
            document["context"],
            date,
            self.now,
            bring_back.get("type"),
            bring_back.get("value"),
            orjson.dumps(full).decode(),
        )
        self.changes.events.append(event)
        if customer_id is None:
            self._wait(checked, event, full)
        self._tell_event("CREATE", command.event_id, node_id, 0)
        return Applied(
            status=201, entity_type="EVENT", entity_id=command.event_id, version=0, body=full
        )

    def _resolve(self, checked: Checked) -> CustomerId | None:
        key = bring_back_key(checked)
        assert key is not None
        if key[1] == SESSION:
            return self._owner(key)
        node_id, _, value = key
        known = [self.customers[c] for c in self.by_external_id.get((node_id, value), ())]
        having = [(customer.id, customer.updated_at) for customer in known]
        other = self.found.by_external_id.get((node_id, value))
        if other is not None:
            having.append(other)
        if not having:
            return None
        latest = max(updated_at for _, updated_at in having)
        return min(customer_id for customer_id, updated_at in having if updated_at == latest)

    def _wait(self, checked: Checked, event: NewEvent, document: JsonObject) -> None:
        """The anonymous event waits for its value; whoever claims the value next attaches it."""
        key = bring_back_key(checked)
        assert key is not None
        known = self.identities.get(key)
        if known is None:
            self.changes.missing.add(key)
            return
        if not known.awaited:
            self.identities[key] = replace(known, awaited=True)
        self.touched.add(key)
        self.waiting.setdefault(key, []).append((event, document))

    def _attach_waiting(self, key: IdentityKey, customer_id: CustomerId) -> None:
        """The events that wait for the value get their customer: those of the batch, and at its end
        those that waited before. The first who comes takes them all.
        """
        known = self.identities.get(key)
        if known is None or not known.awaited:
            return
        self.identities[key] = replace(known, awaited=False)
        self.changes.attach.setdefault(key, customer_id)
        for event, document in self.waiting.pop(key, ()):
            attached = AttachedChange(
                event=event,
                customer_id=customer_id,
                document=attach(document, customer_id, self.now),
            )
            self.changes.attached.append(attached)
            self._tell_event("UPDATE", event.id, event.node_id, attached.document["version"])

    def _tell_event(self, operation: str, event_id: EventId, node_id: NodeId, version: int) -> None:
        self.changes.updates.append(
            Update(operation, "EVENT", event_id, node_id, version, self.now)
        )

    def _node_of_live(self, customer_id: CustomerId) -> NodeId | None:
        customer = self.customers.get(customer_id)
        if customer is not None:
            return None if customer.deleted else customer.node_id
        return self.held.get(customer_id)

    # what both need

    def _live(self, customer_id: CustomerId, checked: Checked) -> StoredCustomer | None:
        customer = self.customers.get(customer_id)
        if customer is None or customer.deleted:
            return None
        if checked.nodes is not None and customer.node_id not in checked.nodes:
            return None
        return customer

    def _owner(self, key: tuple[NodeId, str, str | None]) -> CustomerId | None:
        node_id, kind, value = key
        if value is None:
            return None
        known = self.identities.get((node_id, kind, value))
        if known is None:
            self.changes.missing.add((node_id, kind, value))
            return None
        return known.customer_id

    def _name(self, key: IdentityKey, customer_id: CustomerId | None) -> None:
        before = self.identities.get(key, Identity())
        self.identities[key] = Identity(customer_id=customer_id, awaited=before.awaited)
        self.touched.add(key)

    def _key_of(self, document: JsonObject, node: Node) -> IdentityKey | None:
        if self.config.customer_policy is CustomerPolicy.NO_CHECK:
            return None
        value = match_key(document, node.unique)
        return None if value is None else (node.id, MATCH, value)

    def _moved_key(
        self, before: JsonObject, after: JsonObject, node: Node
    ) -> tuple[IdentityKey | None, IdentityKey | None]:
        """The match keys before and after a write that moves them; else none."""
        if is_key_left_alone(before, after, node.unique):
            return None, None
        old_key, new_key = self._key_of(before, node), self._key_of(after, node)
        return (None, None) if old_key == new_key else (old_key, new_key)

    def _follow_external_id(self, customer: StoredCustomer, before: StoredCustomer | None) -> None:
        value = customer.document.get("externalId")
        old = None if before is None else before.document.get("externalId")
        if old and old != value:
            self.changes.dropped_external_ids.append((customer.node_id, old))
        if not value or old == value:
            return
        key = (customer.node_id, EXTERNAL, value)
        known = self.identities.get(key)
        if known is None or key not in self.touched:
            self.changes.missing.add(key)
            return
        self._attach_waiting(key, customer.id)

    def _index_external_id(self, customer: StoredCustomer, before: StoredCustomer | None) -> None:
        old = None if before is None else before.document.get("externalId")
        if old:
            self.by_external_id[customer.node_id, old].discard(customer.id)
        value = customer.document.get("externalId")
        if value and not customer.deleted:
            named = self.by_external_id.setdefault((customer.node_id, value), set())
            named.add(customer.id)

    def _store(self, customer: StoredCustomer, operation: str) -> None:
        self._index_external_id(customer, self.customers.get(customer.id))
        self.customers[customer.id] = customer
        self.changes.customers[customer.id] = customer
        self.changes.versions.append(customer)
        self.changes.updates.append(
            Update(
                operation,
                "CUSTOMER",
                customer.id,
                customer.node_id,
                customer.version,
                customer.updated_at,
            )
        )

    def _applied(self, status: int, customer: StoredCustomer) -> Applied:
        return Applied(
            status=status, entity_type="CUSTOMER", entity_id=customer.id, version=customer.version
        )

    def finish(self) -> None:
        """Collect who the touched values name at the end."""
        self.changes.identities = {
            key: self.identities[key] for key in self.touched if key in self.identities
        }
        nobody = Identity()
        self.changes.awaited = {
            key
            for key, identity in self.changes.identities.items()
            if identity.awaited and not self.found.identities.get(key, nobody).awaited
        }
        # an external id that was claimed for a customer who then was refused
        self.changes.dropped_external_ids += [
            (node_id, value)
            for node_id, kind, value in self.touched
            if kind == EXTERNAL and not self.by_external_id.get((node_id, value))
        ]


def _unknown(customer_id: CustomerId | str) -> Rejected:
    return Rejected(refusal=refusals.entity_not_found("customer", str(customer_id)))
