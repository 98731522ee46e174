"""Judge a command by a configuration: what the front door does before it accepts a write, and the
processor again with the configuration of the moment. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

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
from headwater.domain.configuration import CustomerPolicy, Node, NodeType, WorkspaceConfig
from headwater.domain.ids import NodeId, find_uuid
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.matching import match_key, missing_properties
from headwater.domain.refusal import FieldError, Refusal
from headwater.errors import Refused
from headwater.http.body import as_object, parse_json
from headwater.postgres.uuids import find_new_uuid
from headwater.validation import Validator


@dataclass(slots=True, kw_only=True)  # not frozen: a quarter of the time, one for each record
class Judged:
    """What a command's body says, or why it is refused.

    `document` is the normalised body (a customer's writable members, an event, `{"value"}`); `node` the
    entry node that it names; `match_value` the match key of a POST.
    """

    refusal: Refusal | None = None
    document: JsonObject | None = None
    node: Node | None = None
    body_node_id: str | None = None
    match_value: str | None = None


def judge(
    command: Command,
    config: WorkspaceConfig,
    nodes: frozenset[NodeId] | None,
    validator: Validator,
    parsed: JsonObject | None = None,
    *,
    normalised: bool = True,
) -> Judged:
    """The verdict on a command of a caller who may use `nodes` (None: all).

    `parsed` is the command's body if it was read already, checked by `as_object`. Without `normalised` the document
    of a good event may be the body as it came: that is told faster.
    """
    if isinstance(command, DeleteCustomer):
        return Judged(document={})
    if parsed is None:
        try:
            parsed = as_object(parse_json(command.body), command.body, _refuser_of(command))
        except Refused as exc:
            return Judged(refusal=exc.refusal)
    match command:
        case RecordEvent():
            return _judge_event(command, parsed, config, nodes, validator, normalised=normalised)
        case CreateSession():
            value, errors = validator.check_session(parsed)
            if errors or value is None:
                return Judged(refusal=session_not_valid(*errors))
            return Judged(document={"value": value})
        case CreateCustomer() | PatchCustomer() | ReplaceCustomer():
            return _judge_customer(command, parsed, config, nodes, validator)


def customer_of_event(document: JsonObject) -> UUID | None:
    """The customer that an event names by id, if it does."""
    named = document["customerId"]
    return None if named is None else find_new_uuid(named)


def session_not_valid(*errors: FieldError) -> Refusal:
    return refusals.request_not_valid("source session is not valid", *errors)


def _refuser_of(command: Command) -> Callable[[FieldError], Refusal]:
    match command:
        case RecordEvent():
            return refusals.event_not_valid
        case CreateSession():
            return session_not_valid
        case _:
            return refusals.customer_not_valid


def _find_id(text: JsonValue) -> UUID | None:
    return find_uuid(text) if isinstance(text, str) else None


def _find_node(
    text: JsonValue, config: WorkspaceConfig, nodes: frozenset[NodeId] | None
) -> Node | Refusal:
    node = config.nodes_by_text.get(text) if isinstance(text, str) else None
    if node is None and (found := _find_id(text)) is not None:
        node = config.nodes.get(NodeId(found))
    if node is None or (nodes is not None and node.id not in nodes):
        return refusals.node_not_found(str(text))
    return node


def _judge_customer(
    command: CreateCustomer | PatchCustomer | ReplaceCustomer,
    parsed: JsonObject,
    config: WorkspaceConfig,
    nodes: frozenset[NodeId] | None,
    validator: Validator,
) -> Judged:
    body_node_id = parsed.get("nodeId")
    errors: tuple[FieldError, ...] = ()
    if body_node_id is not None and not isinstance(body_node_id, str):
        errors += (FieldError(message="expected type string", path="/nodeId"),)
    elif body_node_id is None and not isinstance(command, PatchCustomer):
        errors += (FieldError(message="required property is missing", path="/nodeId"),)
    own_id = parsed.get("id")
    if (
        not isinstance(command, CreateCustomer)
        and own_id is not None
        and _find_id(own_id) != command.customer_id
    ):
        errors += (FieldError(message="property is immutable", path="/id"),)
    document, found = validator.check_customer(parsed, config)
    errors += found
    if not isinstance(command, CreateCustomer):
        if errors or document is None:
            if isinstance(command, ReplaceCustomer) and isinstance(body_node_id, str):
                named = _find_node(body_node_id, config, nodes)
                if isinstance(named, Node):
                    errors = _with_missing(errors, parsed, named)
            return Judged(refusal=refusals.customer_not_valid(*errors))
        # in the spelling of the store, so that upper case is no other node
        named_id = None if body_node_id is None else str(_find_id(body_node_id) or body_node_id)
        return Judged(document=document, body_node_id=named_id)
    node = None
    if isinstance(body_node_id, str):
        named = _find_node(body_node_id, config, nodes)
        if isinstance(named, Refusal):
            # bad members are told before a node that is not there (contacthub 2.4)
            return Judged(refusal=refusals.customer_not_valid(*errors) if errors else named)
        node = named
        if node.type is NodeType.AGGREGATE:
            errors += (FieldError(message="aggregate node is read-only", path="/nodeId"),)
        else:
            errors = _with_missing(errors, parsed if document is None else document, node)
    if errors or document is None or node is None:
        return Judged(refusal=refusals.customer_not_valid(*errors))
    no_check = config.customer_policy is CustomerPolicy.NO_CHECK
    return Judged(
        document=document,
        node=node,
        body_node_id=body_node_id,
        match_value=None if no_check else match_key(document, node.unique),
    )


def _with_missing(
    errors: tuple[FieldError, ...], document: JsonObject, node: Node
) -> tuple[FieldError, ...]:
    """`errors`, and what `node` asks for and `document`, valid or not, lacks (customer-model 5.1).

    What is empty is told as missing and no more: "" is no email address either.
    """
    missing = missing_properties(document, node)
    paths = {error.path for error in missing}
    return tuple(error for error in errors if error.path not in paths) + missing


def _judge_event(
    command: RecordEvent,
    parsed: JsonObject,
    config: WorkspaceConfig,
    nodes: frozenset[NodeId] | None,
    validator: Validator,
    *,
    normalised: bool,
) -> Judged:
    event_type = parsed.get("type")
    if isinstance(event_type, str):
        limit = config.max_bytes_of(event_type)
        if len(command.body) > limit:
            return Judged(refusal=refusals.payload_exceeds(limit))
    document = parsed
    if normalised or not validator.accepts_event(parsed, config):
        checked, errors = validator.check_event(parsed, config)
        if errors or checked is None:
            return Judged(refusal=refusals.event_not_valid(*errors))
        document = checked
    bring_back = document.get("bringBackProperties")
    if bring_back is None:
        return Judged(document=document)
    node = _find_node(bring_back["nodeId"], config, nodes)
    if isinstance(node, Refusal):
        return Judged(refusal=node)
    if node.type is NodeType.AGGREGATE:
        path = "/bringBackProperties/nodeId"
        fault = FieldError(message="aggregate node is read-only", path=path)
        return Judged(refusal=refusals.event_not_valid(fault))
    return Judged(document=document, node=node)
