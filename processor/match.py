"""Find and lock whom the commands of one workspace are about.

Locks are taken in this order, each set sorted: identities, then customers. Values are claimed before
anybody reads who they name, so of two writers of one new value the second waits and then finds the
first's customer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from headwater.domain.commands import (
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from headwater.domain.configuration import CustomerPolicy, WorkspaceConfig
from headwater.domain.customer import StoredCustomer
from headwater.domain.ids import CustomerId, NodeId, WorkspaceId
from headwater.domain.matching import match_key
from headwater.errors import Contended
from headwater.postgres.customers import (
    find_by_external_ids,
    hold_customers,
    lock_customers,
    read_nodes_of_customers,
)
from headwater.postgres.identities import (
    EXTERNAL,
    MATCH,
    SESSION,
    Identity,
    IdentityKey,
    claim_identities,
    read_identities,
)
from headwater.postgres.pool import Connection
from processor.validate import Checked

EXTERNAL_ID = "EXTERNAL_ID"


@dataclass(slots=True, kw_only=True)
class Found:
    """What the fold starts from. Everything in it is locked, or can't become wrong before commit.

    - `customers`: those that commands change, locked; an id that is missing does not exist.
    - `held`: live customers that events name, with their nodes.
    - `identities`: what each known value names; `claimed` are those whose rows are locked.
    - `by_external_id`: the most recently updated of the customers with that external id which are not
      in `customers`, and when it was updated: what an EXTERNAL_ID bring-back resolves to, unless one of
      `customers` is more recent.
    """

    customers: dict[CustomerId, StoredCustomer] = field(default_factory=dict)
    held: dict[CustomerId, NodeId] = field(default_factory=dict)
    identities: dict[IdentityKey, Identity] = field(default_factory=dict)
    claimed: set[IdentityKey] = field(default_factory=set)
    by_external_id: dict[tuple[NodeId, str], tuple[CustomerId, datetime]] = field(
        default_factory=dict
    )


def bring_back_key(checked: Checked) -> IdentityKey | None:
    """The value that an event waits for or resolves by."""
    assert checked.document is not None
    bring_back = checked.document["bringBackProperties"]
    if bring_back is None or checked.node is None:
        return None
    kind = EXTERNAL if bring_back["type"] == EXTERNAL_ID else SESSION
    return checked.node.id, kind, bring_back["value"]


async def match(
    conn: Connection,
    workspace_id: WorkspaceId,
    config: WorkspaceConfig,
    valid: list[Checked],
    now: datetime,
) -> Found:
    """Claim values and lock customers for the valid commands of one workspace.

    Raises:
        Contended: what was read is out of date; repeat the batch.
    """
    named: set[CustomerId] = set()
    doomed: set[CustomerId] = set()
    event_customers: set[CustomerId] = set()
    for item in valid:
        command = item.command
        match command:
            case RecordEvent():  # first: most are events
                if item.customer_id is not None:
                    event_customers.add(item.customer_id)
            case DeleteCustomer():
                doomed.add(command.customer_id)
            case PatchCustomer() | ReplaceCustomer() | CreateSession():
                named.add(command.customer_id)
            case CreateCustomer() | None:
                pass
    with_session = [
        item.command.customer_id
        for item in valid
        if isinstance(item.command, CreateSession)
        or (
            isinstance(item.command, (PatchCustomer, ReplaceCustomer))
            and item.command.session_value is not None
        )
    ]
    nodes = await read_nodes_of_customers(conn, workspace_id, with_session)

    match_keys: set[IdentityKey] = set()
    session_keys: set[IdentityKey] = set()
    bring_backs: set[IdentityKey] = set()
    externals: set[IdentityKey] = set()
    for item in valid:
        command = item.command
        assert item.document is not None
        match command:
            case RecordEvent():
                key = bring_back_key(item)
                if key is not None:
                    bring_backs.add(key)
            case CreateCustomer():
                assert item.node is not None
                if item.match_value is not None:
                    match_keys.add((item.node.id, MATCH, item.match_value))
                if command.session_value is not None:
                    session_keys.add((item.node.id, SESSION, command.session_value))
            case PatchCustomer() | ReplaceCustomer():
                node_id = nodes.get(command.customer_id)
                if node_id is not None and command.session_value is not None:
                    session_keys.add((node_id, SESSION, command.session_value))
            case CreateSession():
                node_id = nodes.get(command.customer_id)
                if node_id is not None:
                    session_keys.add((node_id, SESSION, item.document["value"]))
            case DeleteCustomer() | None:
                pass
    known = await read_identities(conn, workspace_id, match_keys | session_keys | bring_backs)
    known = {key: identity for key, identity in known.items() if identity.customer_id is not None}
    for item in valid:
        if isinstance(item.command, CreateCustomer) and item.node is not None and item.document:
            external_id = item.document.get("externalId")
            is_new = (item.node.id, MATCH, item.match_value) not in known
            if external_id and is_new:
                externals.add((item.node.id, EXTERNAL, external_id))
    external_values = {(node, value) for node, kind, value in bring_backs if kind == EXTERNAL}
    by_external_id = await find_by_external_ids(conn, workspace_id, external_values)

    claims: dict[IdentityKey, bool] = dict.fromkeys(
        (match_keys | session_keys | externals) - known.keys(), False
    )
    for key in bring_backs:
        if key not in known and (key[0], key[2]) not in by_external_id:
            claims[key] = True
    claimed = await claim_identities(conn, workspace_id, claims, now)
    known.update(claimed)
    matched = {known[key].customer_id for key in match_keys if key in known} - {None}
    locked = await lock_customers(
        conn, workspace_id, {*named, *(CustomerId(c) for c in matched if c)}, doomed
    )
    # who was anonymous before the claim may have been created while we waited for it, and behind a
    # customer that this batch changes there may be another one
    unsure = {(key[0], key[2]) for key in bring_backs & claims.keys() if key[1] == EXTERNAL}
    unsure |= {value for value, (customer, _) in by_external_id.items() if customer in locked}
    for value in unsure:
        by_external_id.pop(value, None)
    by_external_id.update(await find_by_external_ids(conn, workspace_id, unsure, excluding=locked))
    found = Found(
        customers=locked,
        identities=known,
        claimed=set(claimed),
        by_external_id=by_external_id,
    )
    _check_still_true(found, match_keys, config)
    resolved = {known[key].customer_id for key in bring_backs if key in known and key[1] == SESSION}
    brought_back = {c for c in resolved if c is not None}
    brought_back |= {customer for customer, _ in by_external_id.values()}
    event_customers |= brought_back
    found.held = await hold_customers(conn, workspace_id, event_customers - locked.keys())
    _check_still_there(found, brought_back)
    return found


async def match_more(
    conn: Connection,
    workspace_id: WorkspaceId,
    found: Found,
    missing: Iterable[IdentityKey],
    now: datetime,
) -> None:
    """Claim what the fold found out that it needs, as the new match key of a PATCH.

    Raises:
        Contended: two batches that do this at once can meet crosswise; repeat the batch.
    """
    claims: dict[IdentityKey, bool] = dict.fromkeys(missing, False)
    claimed = await claim_identities(conn, workspace_id, claims, now)
    found.identities.update(claimed)
    found.claimed.update(claimed)
    # events that have lost their customer within the batch: another may have come before the claim
    values = {(node, value) for node, kind, value in claims if kind == EXTERNAL}
    others = await find_by_external_ids(conn, workspace_id, values, excluding=found.customers)
    found.by_external_id.update(others)
    brought_back = {customer for customer, _ in others.values()}
    found.held |= await hold_customers(conn, workspace_id, brought_back - found.held.keys())
    _check_still_there(found, brought_back)


def _check_still_there(found: Found, brought_back: set[CustomerId]) -> None:
    """Who a value named before the customer was held must still be there after; else its events would
    be stored as anonymous ones that nobody knows to attach.
    """
    for customer_id in brought_back - found.held.keys():
        customer = found.customers.get(customer_id)
        if customer is None or customer.deleted:
            raise Contended("the customer of a bring-back was deleted meanwhile")


def _check_still_true(found: Found, keys: set[IdentityKey], config: WorkspaceConfig) -> None:
    """Who a match key named before the customer was locked must still carry it after."""
    if config.customer_policy is CustomerPolicy.NO_CHECK:
        return
    for key in keys:
        owner = found.identities[key].customer_id if key in found.identities else None
        if owner is None:
            continue
        customer = found.customers.get(owner)
        node = config.nodes.get(key[0])
        if (
            customer is None
            or customer.deleted
            or node is None
            or match_key(customer.document, node.unique) != key[2]
        ):
            raise Contended("a match key moved to another customer meanwhile")
