"""Judge commands by the configuration of now, before any lock is held.

The front door has checked the same with what it had in its cache; what changed since, or came by
another way into the topic, is refused here. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from headwater.http.body import parse_json
from headwater.validation import Validator

from headwater.domain import refusal as refusals
from headwater.domain.commands import (
    Command,
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from headwater.domain.configuration import (
    CustomerPolicy,
    Node,
    NodeType,
    Permission,
    Role,
    WorkspaceConfig,
    WorkspaceStatus,
)
from headwater.domain.ids import NodeId, WorkspaceId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.matching import match_key, missing_properties
from headwater.domain.refusal import FieldError, Refusal
from headwater.errors import Refused
from processor.decode import Decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A command with what its body says, or with why it is refused.

    `document` is the normalised body (a customer's writable members, an event, `{"value"}`); `node` the
    entry node that the body names; `nodes` those that the caller may use (None: all).
    """

    decoded: Decoded
    command: Command | None
    refusal: Refusal | None = None
    document: JsonObject | None = None
    node: Node | None = None
    body_node_id: str | None = None
    match_value: str | None = None
    nodes: frozenset[NodeId] | None = None


def validate(
    decoded: list[Decoded],
    configs: Mapping[WorkspaceId, WorkspaceConfig | None],
    validator: Validator,
) -> list[Checked]:
    """One verdict per record, in order."""
    return [_check(item, configs, validator) for item in decoded]


def _check(
    item: Decoded, configs: Mapping[WorkspaceId, WorkspaceConfig | None], validator: Validator
) -> Checked:
    command = item.command
    if command is None:
        return Checked(
            decoded=item,
            command=None,
            refusal=refusals.internal_error(f"undecodable: {item.fault}"),
        )
    config = configs.get(command.envelope.workspace_id)
    refusal = _check_caller(command, config)
    if refusal is not None or config is None:
        return Checked(decoded=item, command=command, refusal=refusal)
    nodes = allowed_nodes(command.envelope.caller, config)
    if isinstance(command, DeleteCustomer):
        return Checked(decoded=item, command=command, nodes=nodes, document={})
    try:
        parsed = parse_json(command.body)
    except Refused as exc:
        return Checked(decoded=item, command=command, refusal=exc.refusal)
    match command:
        case RecordEvent():
            return _check_event(item, command, parsed, config, nodes, validator)
        case CreateSession():
            return _check_session(item, command, parsed, nodes, validator)
        case CreateCustomer() | PatchCustomer() | ReplaceCustomer():
            return _check_customer(item, command, parsed, config, nodes, validator)


def allowed_nodes(caller: str, config: WorkspaceConfig) -> frozenset[NodeId] | None:
    """The nodes that the caller may write to now; None for all.

    A caller that the configuration no longer knows had the right when its write was accepted: such a
    write is not lost (a replay is checked before).
    """
    if caller.startswith("user:"):
        user = config.users.get(int(caller.removeprefix("user:")))
        if user is None or Role.ADMIN in user.roles:
            return None
        return frozenset(node for node, right in user.nodes.items() if right != Permission.R)
    for source_id, source in config.sources.items():
        if str(source_id) == caller:
            return source.nodes
    return None


def _check_caller(command: Command, config: WorkspaceConfig | None) -> Refusal | None:
    envelope = command.envelope
    if config is None:
        return refusals.workspace_not_found(str(envelope.workspace_id))
    if envelope.replay_of is None:
        return None
    # rights are those of now
    if config.status is not WorkspaceStatus.ENABLED:
        return refusals.workspace_suspended(str(envelope.workspace_id))
    if not envelope.caller.startswith("user:"):
        source = next((s for key, s in config.sources.items() if str(key) == envelope.caller), None)
        if source is None or not source.enabled:
            return refusals.not_authorized()
    return None


def _find_node(
    text: object, config: WorkspaceConfig, nodes: frozenset[NodeId] | None
) -> Node | Refusal:
    found = find_uuid(text) if isinstance(text, str) else None
    node = None if found is None else config.nodes.get(NodeId(found))
    if node is None or (nodes is not None and node.id not in nodes):
        return refusals.node_not_found(str(text))
    return node


def _check_customer(
    item: Decoded,
    command: CreateCustomer | PatchCustomer | ReplaceCustomer,
    parsed: object,
    config: WorkspaceConfig,
    nodes: frozenset[NodeId] | None,
    validator: Validator,
) -> Checked:
    def refuse(refusal: Refusal) -> Checked:
        return Checked(decoded=item, command=command, refusal=refusal)

    if not isinstance(parsed, dict):
        return refuse(
            refusals.customer_not_valid(FieldError(message="expected type object", path=""))
        )
    body_node_id = parsed.get("nodeId")
    if body_node_id is not None and not isinstance(body_node_id, str):
        return refuse(
            refusals.customer_not_valid(FieldError(message="expected type string", path="/nodeId"))
        )
    document, errors = validator.check_customer(parsed, config)
    if isinstance(command, PatchCustomer):
        if errors or document is None:
            return refuse(refusals.customer_not_valid(*errors))
        own_id = parsed.get("id")
        if own_id is not None and own_id != str(command.customer_id):
            return refuse(
                refusals.customer_not_valid(FieldError(message="property is immutable", path="/id"))
            )
        return Checked(
            decoded=item, command=command, document=document, body_node_id=body_node_id, nodes=nodes
        )
    if body_node_id is None:
        missing = FieldError(message="required property is missing", path="/nodeId")
        return refuse(refusals.customer_not_valid(*errors, missing))
    node = None
    if isinstance(command, CreateCustomer):
        node_or_refusal = _find_node(body_node_id, config, nodes)
        if isinstance(node_or_refusal, Refusal):
            return refuse(node_or_refusal)
        node = node_or_refusal
        if node.type is NodeType.AGGREGATE:
            aggregate = FieldError(message="aggregate node is read-only", path="/nodeId")
            return refuse(refusals.customer_not_valid(aggregate))
        errors = (*errors, *missing_properties(document or parsed, node, whole=True))
    else:
        own_id = parsed.get("id")
        if own_id is not None and own_id != str(command.customer_id):
            errors = (*errors, FieldError(message="property is immutable", path="/id"))
    if errors or document is None:
        return refuse(refusals.customer_not_valid(*errors))
    value = None
    if node is not None and config.customer_policy is not CustomerPolicy.NO_CHECK:
        value = match_key(document, node.unique)
    return Checked(
        decoded=item,
        command=command,
        document=document,
        node=node,
        body_node_id=body_node_id,
        match_value=value,
        nodes=nodes,
    )


def _check_session(
    item: Decoded,
    command: CreateSession,
    parsed: object,
    nodes: frozenset[NodeId] | None,
    validator: Validator,
) -> Checked:
    value, errors = validator.check_session(parsed)
    if errors or value is None:
        refusal = refusals.request_not_valid("source session is not valid", *errors)
        return Checked(decoded=item, command=command, refusal=refusal)
    return Checked(decoded=item, command=command, document={"value": value}, nodes=nodes)


def _check_event(
    item: Decoded,
    command: RecordEvent,
    parsed: object,
    config: WorkspaceConfig,
    nodes: frozenset[NodeId] | None,
    validator: Validator,
) -> Checked:
    if not isinstance(parsed, dict):
        refusal = refusals.event_not_valid(FieldError(message="expected type object", path=""))
        return Checked(decoded=item, command=command, refusal=refusal)
    document, errors = validator.check_event(parsed, config)
    if errors or document is None:
        return Checked(decoded=item, command=command, refusal=refusals.event_not_valid(*errors))
    limit = config.max_bytes_of(document["type"])
    if len(command.body) > limit:
        return Checked(decoded=item, command=command, refusal=refusals.payload_exceeds(limit))
    node = None
    bring_back = document["bringBackProperties"]
    if bring_back is not None:
        node_or_refusal = _find_node(bring_back["nodeId"], config, nodes)
        if isinstance(node_or_refusal, Refusal):
            return Checked(decoded=item, command=command, refusal=node_or_refusal)
        node = node_or_refusal
        if node.type is NodeType.AGGREGATE:
            aggregate = FieldError(
                message="aggregate node is read-only", path="/bringBackProperties/nodeId"
            )
            return Checked(
                decoded=item, command=command, refusal=refusals.event_not_valid(aggregate)
            )
    elif find_uuid(document["customerId"]) is None:
        return Checked(
            decoded=item,
            command=command,
            refusal=refusals.entity_not_found("customer", document["customerId"]),
        )
    return Checked(decoded=item, command=command, document=document, node=node, nodes=nodes)


def customer_of_event(checked: Checked) -> UUID | None:
    """The customer that an event names by id, if it does."""
    assert checked.document is not None
    named = checked.document["customerId"]
    return None if named is None else find_uuid(named)
