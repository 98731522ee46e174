"""Judge commands by the configuration of now, before any lock is held.

The front door has judged the same with what it had in its cache; what changed since, or came by
another way into the topic, is refused here. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from headwater.domain import refusal as refusals
from headwater.domain.commands import Command, RecordEvent
from headwater.domain.configuration import (
    Node,
    Permission,
    Role,
    WorkspaceConfig,
    WorkspaceStatus,
)
from headwater.domain.ids import CustomerId, NodeId, WorkspaceId
from headwater.domain.json import JsonObject
from headwater.domain.refusal import Refusal
from headwater.judge import customer_of_event, judge
from headwater.validation import Validator
from processor.decode import Decoded

Rights: TypeAlias = dict[tuple[WorkspaceId, str], frozenset[NodeId] | None]
"""`allowed_nodes` of the callers of one batch."""


@dataclass(slots=True, kw_only=True)  # not frozen: half the time, and one is made per record
class Checked:
    """A command with what its body says, or with why it is refused.

    As `headwater.judge.Judged`; `customer_id` is the one that an event names, `nodes` are those that the caller may use (None: all).
    """

    decoded: Decoded
    command: Command | None
    refusal: Refusal | None = None
    document: JsonObject | None = None
    node: Node | None = None
    body_node_id: str | None = None
    match_value: str | None = None
    customer_id: CustomerId | None = None
    nodes: frozenset[NodeId] | None = None


def validate(
    decoded: list[Decoded],
    configs: Mapping[WorkspaceId, WorkspaceConfig | None],
    validator: Validator,
    *,
    rights: Rights,
    give_up: Refusal | None = None,
) -> list[Checked]:
    """One verdict per record, in order. With `give_up` none fails: what can't be judged is refused so.

    `rights` remembers what callers may do by these configurations.
    """
    if give_up is None:
        return [_check(item, configs, validator, rights) for item in decoded]
    checked = []
    for item in decoded:
        try:
            checked.append(_check(item, configs, validator, rights))
        except Exception:  # noqa: BLE001  # it was told already; raised again it blocks the partition
            checked.append(Checked(decoded=item, command=item.command, refusal=give_up))
    return checked


def _check(
    item: Decoded,
    configs: Mapping[WorkspaceId, WorkspaceConfig | None],
    validator: Validator,
    rights: Rights,
) -> Checked:
    command = item.command
    if command is None:
        fault = refusals.internal_error(f"undecodable: {item.fault}")
        return Checked(decoded=item, command=None, refusal=fault)
    config = configs.get(command.envelope.workspace_id)
    refusal = _check_caller(command, config)
    if refusal is not None or config is None:
        return Checked(decoded=item, command=command, refusal=refusal)
    asked = (config.id, command.envelope.caller)
    if asked in rights:
        nodes = rights[asked]
    else:
        nodes = rights[asked] = allowed_nodes(command.envelope.caller, config)
    judged = judge(command, config, nodes, validator)
    refusal = judged.refusal
    customer_id: CustomerId | None = None
    if refusal is None and isinstance(command, RecordEvent) and judged.document is not None:
        named = judged.document["customerId"]
        if named is not None:
            found = customer_of_event(judged.document)
            if found is None:
                refusal = refusals.entity_not_found("customer", named)
            else:
                customer_id = CustomerId(found)
    return Checked(
        decoded=item,
        command=command,
        refusal=refusal,
        document=judged.document,
        node=judged.node,
        body_node_id=judged.body_node_id,
        match_value=judged.match_value,
        customer_id=customer_id,
        nodes=nodes,
    )


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
    if envelope.caller.startswith("user:"):
        user = config.users.get(int(envelope.caller.removeprefix("user:")))
        # the platform's operators are no users of the workspace
        is_known = user is None or user.token_hash is not None
    else:
        source = next((s for key, s in config.sources.items() if str(key) == envelope.caller), None)
        is_known = source is not None and source.enabled
    return None if is_known else refusals.not_authorized()
