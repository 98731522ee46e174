"""Batches of any size come to what single commands come to: the processor beside the slow reference.

Real Postgres; no broker, since a batch is made of records wherever they come from.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater import wire
from headwater.domain.commands import (
    Command,
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    Envelope,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from headwater.domain.configuration import (
    CustomerPolicy,
    Node,
    Source,
    UniqueRule,
    WorkspaceConfig,
)
from headwater.domain.ids import (
    NIL_WORKSPACE,
    CustomerId,
    EventId,
    KafkaOffset,
    NodeId,
    OperationId,
    SessionId,
    SourceId,
    WorkspaceId,
)
from headwater.domain.outcome import Applied, Rejected
from headwater.postgres.config import SourceRow, create_workspace, write_node, write_source
from headwater.postgres.feed import FeedFilter, Form, read_page
from headwater.postgres.offsets import start_offsets
from headwater.postgres.pool import Pool
from headwater.validation import Validator, load_schemas
from processor.batch import Answer, Parts, apply_batch
from processor.record import Batch, Record, next_offsets_of
from tests.domain import reference_hub
from tests.domain.reference_hub import Outcome, State

VALIDATOR = Validator(load_schemas())
CONFIG = WorkspaceConfig(id=NIL_WORKSPACE, version=1, name="none", nodes={}, sources={})
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_numbers = itertools.count(1)


def _id(kind: int, number: int) -> uuid.UUID:
    """The same ids in every example, so that a failure can be repeated; a workspace has its own."""
    return uuid.UUID(int=(kind << 64) + number, version=4)


NODES = [NodeId(_id(1, number)) for number in range(3)]
RULES = [
    reference_hub.Node(unique=["externalId"]),
    reference_hub.Node(
        unique=["base.contacts.email", "base.lastName"],
        case_sensitive=True,
        mandatory=["base.firstName", "base.jobs"],
    ),
    reference_hub.Node(unique=[]),
]
ALL_NODES, SOME_NODES = (SourceId(_id(2, number)) for number in range(2))


# What is drawn: a plain description of commands, whose ids follow from their places


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command. `target` picks one of the customers that earlier steps tried to create."""

    kind: str
    node: int = 0
    target: int = 0
    body: Any = None
    strict: bool = False
    session: str | None = None
    some_nodes: bool = False
    repeats: int | None = None


_VALUES = st.sampled_from(["a", "A", "b"])
_BASE = st.fixed_dictionaries(
    {},
    optional={
        "firstName": st.none() | _VALUES,
        "lastName": st.none() | _VALUES,
        "contacts": st.none()
        | st.fixed_dictionaries(
            {}, optional={"email": st.none() | st.sampled_from(["a@x.it", "b@x.it"])}
        ),
        "address": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "geo": st.fixed_dictionaries(
                    {}, optional={"lat": st.none() | st.just(1), "lon": st.none() | st.just(2)}
                )
            },
        ),
        "jobs": st.none() | st.lists(st.fixed_dictionaries({"id": _VALUES}), max_size=2),
        "subscriptions": st.none()
        | st.lists(
            st.fixed_dictionaries({"id": _VALUES}, optional={"name": st.none() | _VALUES}),
            max_size=2,
        ),
    },
)
_BODIES = st.fixed_dictionaries(
    {},
    optional={
        "externalId": st.none() | _VALUES,
        "base": st.none() | _BASE,
        "extra": st.none() | _VALUES,
        "tags": st.none()
        | st.fixed_dictionaries(
            {}, optional={"manual": st.lists(_VALUES | st.just("x" * 600), max_size=2)}
        ),
        "consents": st.none()
        | st.fixed_dictionaries({}, optional={"softSpam": st.just({"email": {"status": True}})}),
        "enabled": st.none() | st.booleans(),
    },
)
_WHOLE = st.builds(
    lambda body, external, email, last: {
        **body,
        "externalId": external,
        "base": {
            **(body.get("base") or {}),
            "firstName": "f",
            "lastName": last,
            "contacts": {"email": email},
            "jobs": [{"id": "j"}],
        },
    },
    _BODIES,
    _VALUES,
    st.sampled_from(["a@x.it", "A@X.IT"]),
    _VALUES,
)
_SESSIONS = st.none() | st.sampled_from(["s1", "s2"])
_node = st.sampled_from([0, 0, 0, 1, 2])
_target = st.integers(0, 3)
_limited = st.sampled_from([False, False, False, True])
_steps = st.one_of(
    st.builds(
        Step,
        kind=st.just("POST"),
        node=_node,
        body=_WHOLE | _WHOLE | _BODIES,
        session=st.none() | _SESSIONS,
        some_nodes=_limited,
    ),
    st.builds(
        Step,
        kind=st.just("PATCH"),
        target=_target,
        body=_BODIES,
        strict=st.booleans(),
        session=st.none() | _SESSIONS,
        some_nodes=_limited,
    ),
    st.builds(
        Step, kind=st.just("PUT"), node=_node, target=_target, body=_WHOLE, strict=st.booleans()
    ),
    st.builds(Step, kind=st.just("DELETE"), target=_target, some_nodes=_limited),
    st.builds(
        Step,
        kind=st.just("SESSION"),
        target=_target,
        session=st.sampled_from(["s1", "s2"]),
        some_nodes=_limited,
    ),
    st.builds(Step, kind=st.just("EVENT"), target=_target, some_nodes=_limited),
    st.builds(
        Step,
        kind=st.just("SESSION_ID"),
        node=_node,
        session=st.sampled_from(["s1", "s2"]),
        some_nodes=_limited,
    ),
    st.builds(Step, kind=st.just("EXTERNAL_ID"), node=_node, session=_VALUES),
    st.builds(Step, kind=st.just("REPEAT"), repeats=st.integers(0, 5)),
)


def _commands(steps: list[Step], workspace_id: WorkspaceId) -> Iterator[Command]:
    customers: list[CustomerId] = []
    made: list[Command] = []
    for place, step in enumerate(steps):
        if step.kind == "REPEAT":
            if made:
                yield made[(step.repeats or 0) % len(made)]
            continue
        command = _command(step, place, workspace_id, customers)
        if isinstance(command, CreateCustomer):
            customers.append(command.customer_id)
        made.append(command)
        yield command


def _command(
    step: Step, place: int, workspace_id: WorkspaceId, customers: list[CustomerId]
) -> Command:
    envelope = Envelope(
        workspace_id=workspace_id,
        operation_id=OperationId(_id(3, place)),
        caller=str(SOME_NODES if step.some_nodes else ALL_NODES),
        accepted_at=START,
        tracing_id="t",
        fingerprint=f"{place:032x}",
        repeatable=True,
        keyed=True,
    )
    node = str(NODES[step.node])
    customer_id = CustomerId(_id(9, 9))
    if customers:
        customer_id = customers[step.target % len(customers)]
    event = {"type": "loggedIn", "context": "WEB", "properties": {}}
    match step.kind:
        case "POST":
            return CreateCustomer(
                envelope=envelope,
                customer_id=CustomerId(_id(4, place)),
                body=orjson.dumps({**step.body, "nodeId": node}),
                session_value=step.session,
            )
        case "PATCH":
            return PatchCustomer(
                envelope=envelope,
                customer_id=customer_id,
                body=orjson.dumps(step.body),
                strict=step.strict,
                session_value=step.session,
            )
        case "PUT":
            return ReplaceCustomer(
                envelope=envelope,
                customer_id=customer_id,
                body=orjson.dumps({**step.body, "nodeId": node}),
                strict=step.strict,
            )
        case "DELETE":
            return DeleteCustomer(envelope=envelope, customer_id=customer_id)
        case "SESSION":
            return CreateSession(
                envelope=envelope,
                customer_id=customer_id,
                session_id=SessionId(_id(5, place)),
                body=orjson.dumps({"value": step.session}),
            )
        case "EVENT":
            event["customerId"] = str(customer_id)
        case _:
            back = {"type": step.kind, "value": step.session, "nodeId": node}
            event["bringBackProperties"] = back
    return RecordEvent(envelope=envelope, event_id=EventId(_id(6, place)), body=orjson.dumps(event))


# The real one


class Processor:
    """A workspace of its own in a real database, and batches applied to it."""

    def __init__(self, pool: Pool, workspace_id: WorkspaceId) -> None:
        self.pool = pool
        self.workspace_id = workspace_id
        self.now = START
        self.parts = Parts(pool=pool, validator=VALIDATOR, clock=lambda: self.now)
        self.topic = f"test-{workspace_id}"
        self.next_offset = 0

    async def start(self, policy: str) -> None:
        async with self.pool.transaction() as conn:
            await create_workspace(
                conn,
                self.workspace_id,
                name="Test",
                slug=str(self.workspace_id),
                group_pk=1,
                now=START,
                policy=CustomerPolicy(policy),
            )
            for node_id, rules in zip(NODES, RULES, strict=True):
                rule = UniqueRule(
                    properties=tuple(rules.unique), case_sensitive=rules.case_sensitive
                )
                node = Node(id=node_id, name="n", unique=rule, mandatory=tuple(rules.mandatory))
                await write_node(conn, self.workspace_id, node, START)
            for source_id, nodes in ((ALL_NODES, NODES), (SOME_NODES, NODES[1:])):
                source = Source(
                    id=source_id,
                    name="s",
                    provider="API",
                    nodes=frozenset(nodes),
                    enabled=True,
                    token_hash=self.workspace_id.bytes + source_id.bytes,
                )
                row = SourceRow(source=source, description=None, properties={})
                await write_source(conn, self.workspace_id, row, START)
            await start_offsets(conn, {(self.topic, 0): KafkaOffset(0)})

    async def apply(self, commands: list[Command]) -> list[Answer]:
        records: list[Record] = []
        for command in commands:
            headers, value = wire.encode(command)
            records.append(
                Record(
                    topic=self.topic,
                    partition=0,
                    kafka_offset=KafkaOffset(self.next_offset + len(records)),
                    headers=headers,
                    value=value,
                    written_ms=round(self.now.timestamp() * 1000),
                )
            )
        batch = Batch(
            records=tuple(records),
            expected={(self.topic, 0): KafkaOffset(self.next_offset)},
            next_offsets=next_offsets_of(records),
        )
        answers = await apply_batch(batch, self.parts)
        self.next_offset += len(records)
        return answers

    async def feed(self) -> list[tuple[str, str, str, Any]]:
        wanted = FeedFilter(entity_type=None, nodes=None)
        async with self.pool.connection() as conn:
            page = await read_page(
                conn,
                self.workspace_id,
                None,
                form=Form.LINES,
                limit=4000,
                limit_bytes=2**26,
                scan_rows=4000,
                wanted=wanted,
            )
        updates = [orjson.loads(line) for line in page.body.splitlines()]
        assert [update["offset"] for update in updates] == list(range(1, len(updates) + 1))
        return [
            (
                update["operation"],
                update["entity"]["type"],
                update["entity"]["data"]["id"],
                update["entity"]["data"],
            )
            for update in updates
        ]

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return [tuple(row) for row in await conn.fetch(statement, self.workspace_id)]


def _said(answer: Answer) -> Outcome:
    match answer.outcome:
        case Applied() as applied:
            return Outcome(
                status=applied.status, entity_id=str(applied.entity_id), version=applied.version
            )
        case Rejected(refusal=refusal):
            errors = tuple((error.message, error.path) for error in refusal.errors)
            return Outcome(status=refusal.status, message=refusal.message, errors=errors)
        case outcome:
            raise AssertionError(outcome)


def _by_entity(feed: list[tuple[str, str, str, Any]]) -> dict[str, list[tuple[str, str, Any]]]:
    entities: dict[str, list[tuple[str, str, Any]]] = {}
    for operation, kind, entity_id, data in feed:
        entities.setdefault(entity_id, []).append((operation, kind, data))
    return entities


async def _compare(processor: Processor, state: State) -> None:
    slow = [(e.operation, e.entity_type, e.entity_id, e.data) for e in state.feed]
    assert _by_entity(await processor.feed()) == _by_entity(slow)
    sessions = await processor.rows(
        "SELECT node_id, value, customer_id, id FROM identities"
        " WHERE workspace_id = $1 AND kind = 'SESSION' AND customer_id IS NOT NULL"
    )
    assert {(str(n), v): (str(c), str(i)) for n, v, c, i in sessions} == state.sessions
    customers = await processor.rows(
        "SELECT c.id, c.deleted, v.document FROM customers c JOIN versions v"
        " ON v.workspace_id = c.workspace_id AND v.entity_id = c.id AND v.version = c.version"
        " WHERE c.workspace_id = $1"
    )
    assert {str(i): (d, orjson.loads(text)) for i, d, text in customers} == {
        i: (c.deleted, reference_hub.shown(state, i)) for i, c in state.customers.items()
    }
    events = await processor.rows(
        "SELECT id, deleted, customer_id, version, document FROM events WHERE workspace_id = $1"
    )
    assert {
        str(i): (d, str(c) if c else None, v, orjson.loads(text)) for i, d, c, v, text in events
    } == {
        i: (e.deleted, e.document["customerId"], e.document["version"], e.document)
        for i, e in state.events.items()
    }
    keys = await processor.rows(
        "SELECT customer_id FROM identities"
        " WHERE workspace_id = $1 AND kind = 'MATCH' AND customer_id IS NOT NULL"
    )
    keyed = [
        i
        for i, c in state.customers.items()
        if not c.deleted and reference_hub._key(state, c.node, c.document) is not None
    ]
    assert sorted(str(row[0]) for row in keys) == sorted(keyed)


def _check(
    command: Command, body: dict[str, Any]
) -> tuple[dict[str, Any] | None, reference_hub.Errors]:
    """What the schemas say; that they say the right thing is for tests/schemas."""
    if isinstance(command, (RecordEvent, CreateSession)):
        return body, ()  # only good ones are drawn
    checked, errors = VALIDATOR.check_customer(body, CONFIG)
    return checked, tuple((error.message, error.path) for error in errors)


async def _play(pool: Pool, steps: list[Step], sizes: list[int], policy: str) -> None:
    workspace_id = WorkspaceId(_id(7, next(_numbers)))
    processor = Processor(pool, workspace_id)
    await processor.start(policy)
    state = State(
        nodes={str(node): rules for node, rules in zip(NODES, RULES, strict=True)},
        callers={
            str(ALL_NODES): {str(node) for node in NODES},
            str(SOME_NODES): {str(node) for node in NODES[1:]},
        },
        policy=policy,
        check=_check,
    )
    todo = list(_commands(steps, workspace_id))
    for size in itertools.cycle(sizes):
        if not todo:
            break
        commands, todo = todo[:size], todo[size:]
        slow = [reference_hub.apply(state, command, processor.now) for command in commands]
        answers = await processor.apply(commands)
        assert [_said(answer) for answer in answers] == slow
        processor.now += timedelta(seconds=1)
    await _compare(processor, state)


_policies = st.sampled_from(["MERGE", "MERGE", "MERGE", "BLOCK", "NO_CHECK"])
_sizes = st.lists(st.integers(1, 14), min_size=1, max_size=3)
_PERSON: dict[str, Any] = {
    "externalId": "a",
    "base": {
        "firstName": "f",
        "lastName": "b",
        "contacts": {"email": "a@x.it"},
        "jobs": [{"id": "j"}],
    },
}
_BY_SESSION = Step(kind="SESSION_ID", session="s1")
_BY_EXTERNAL = Step(kind="EXTERNAL_ID", session="a")
_BY_SHARED = Step(kind="EXTERNAL_ID", session="a", node=2)
_POST = Step(kind="POST", body=_PERSON)
_POST_SESSION = Step(kind="POST", body=_PERSON, session="s1")
_POST_SHARED = Step(kind="POST", body=_PERSON, node=2)  # there many may have one external id
_DELETE = Step(kind="DELETE")


def _renamed(target: int, external_id: str) -> Step:
    return Step(kind="PATCH", target=target, body={"externalId": external_id})


_people = st.sampled_from(
    [
        *(_BY_SESSION, _BY_EXTERNAL, _BY_SHARED, _POST, _POST_SESSION, _POST_SHARED, _DELETE),
        *(_renamed(0, "a"), _renamed(0, "b"), _renamed(1, "a"), _renamed(1, "b")),
        Step(kind="DELETE", target=1),
        Step(kind="SESSION", session="s1"),
        Step(kind="SESSION", session="s1", target=1),
        Step(kind="PATCH", body={"extra": "x"}, session="s1"),
        Step(kind="EVENT"),
    ]
)
drawn = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@drawn
@given(steps=st.lists(_steps, min_size=1, max_size=14), sizes=_sizes, policy=_policies)
async def test_batches_of_any_size_come_to_what_the_reference_says(
    pool: Pool, steps: list[Step], sizes: list[int], policy: str
) -> None:
    await _play(pool, steps, sizes, policy)


@drawn
@given(steps=st.lists(_people, min_size=3, max_size=14), sizes=_sizes, policy=_policies)
async def test_events_are_brought_back_as_the_reference_says(
    pool: Pool, steps: list[Step], sizes: list[int], policy: str
) -> None:
    await _play(pool, steps, sizes, policy)


@pytest.mark.parametrize(
    ("steps", "sizes"),
    [
        # the customer goes, the event comes, another customer comes
        ([_POST, _DELETE, _BY_EXTERNAL, _POST], [1, 2, 1]),
        ([_POST, _renamed(0, "b"), _BY_EXTERNAL, _POST], [1, 2, 1]),
        ([_POST_SESSION, _DELETE, _BY_SESSION, _POST_SESSION], [1, 2, 1]),
        # events before and after a customer who came and went
        ([_BY_SESSION, _POST_SESSION, _DELETE, _BY_SESSION], [4]),
        ([_BY_SESSION, _POST_SESSION, _DELETE, _BY_SESSION, _POST_SESSION], [4, 1]),
        ([_BY_EXTERNAL, _POST, _DELETE, _POST], [4]),
        ([_BY_EXTERNAL, _POST, _DELETE, _BY_EXTERNAL, _POST], [5]),
        (
            [_BY_EXTERNAL, _BY_EXTERNAL, _POST, _renamed(0, "b"), _BY_EXTERNAL, _renamed(0, "a")],
            [6],
        ),
        # of two with one external id the most recently updated, and the other when that one goes
        ([_POST_SHARED, _POST_SHARED, _BY_SHARED], [3]),
        ([_POST_SHARED, _POST_SHARED, _BY_SHARED], [1, 2]),
        ([_POST_SHARED, _POST_SHARED, _renamed(1, "b"), _BY_SHARED], [1, 1, 2]),
        ([_POST_SHARED, _POST_SHARED, Step(kind="DELETE", target=1), _BY_SHARED], [1, 1, 2]),
        ([_POST_SHARED, _POST_SHARED, _renamed(0, "a"), _BY_SHARED], [2, 2]),
    ],
)
async def test_events_find_their_customer_whatever_else_a_batch_holds(
    pool: Pool, steps: list[Step], sizes: list[int]
) -> None:
    await _play(pool, steps, sizes, "MERGE")
    await _play(pool, steps, [1], "MERGE")
