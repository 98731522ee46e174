"""No record blocks its partition: what can't be applied is set aside, and what comes late is known."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from headwater import clock, wire
from headwater.cli.provision import make_demo
from headwater.domain.commands import Command, ReplyTo
from headwater.domain.ids import CustomerId, KafkaOffset
from headwater.domain.outcome import Applied, Rejected
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import PostgresSettings
from processor.batch import judge_ahead
from processor.isolate import apply_whatever_comes
from processor.record import Batch, Record
from tests.faults.pipeline import SETTINGS, Lane, Writer

LIMIT_SECONDS = 20


class Work:
    """One processor on a database of its own."""

    def __init__(self, writer: Writer, pool: Pool) -> None:
        self.write = writer
        self.lane = Lane(pool, 0)
        self._pool = pool

    async def rows(self, statement: str) -> list[Any]:
        async with self._pool.connection() as conn:
            return [tuple(row) for row in await conn.fetch(statement)]


@pytest.fixture
async def work(database_url: str) -> AsyncIterator[Work]:
    demo = await make_demo(database_url)
    pool = await open_pool(PostgresSettings(database_url=database_url), max_size=4)
    yield Work(Writer(demo), pool)
    await pool.close()


def _waiting(command: Command, **members: Any) -> Any:
    """The command with a client that waits for its outcome."""
    envelope = replace(
        command.envelope,
        answered=False,
        reply_to=ReplyTo(partition=0, correlation="c"),
        answer_by=clock.now() + timedelta(seconds=10),
        **members,
    )
    return replace(command, envelope=envelope)


async def test_a_first_call_that_comes_after_its_repetition_is_the_same_write(work: Work) -> None:
    """A producer that was given up may still get its record there, behind the client's next try."""
    first = _waiting(work.write.create("a1"))
    repetition = replace(first, envelope=replace(first.envelope, repeatable=True))
    async with asyncio.timeout(LIMIT_SECONDS):
        (decided,) = await work.lane.apply(repetition)
        (late,) = await work.lane.apply(first)
    assert isinstance(decided.outcome, Applied)
    assert late == replace(decided, command=late.command)
    assert await work.rows("SELECT version FROM customers") == [(0,)]
    assert await work.rows("SELECT reason FROM rejections") == []


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("accepted", 1e300),
        ("accepted", -1e18),
        ("answerBy", 1e300),
        ("caller", 5),
        ("caller", "a\x00b"),
        ("caller", "user:nobody"),
        ("fingerprint", 5),
        ("fingerprint", "\x00"),
        ("tracing", None),
        ("reply", []),
        ("batch", [1]),
        ("sessionValue", 5),
        ("sessionValue", "\x00"),
    ],
)
async def test_an_envelope_that_none_of_us_wrote_is_set_aside(
    work: Work, member: str, value: object
) -> None:
    good = work.write.create("good")
    batch = work.lane.batch([work.write.create("bad"), good])
    bad, other = batch.records
    fields = orjson.loads(wire.header_of(bad.headers))
    bad.headers = [(bad.headers[0][0], orjson.dumps({**fields, member: value}))]
    async with asyncio.timeout(LIMIT_SECONDS):
        await work.lane.apply(work.write.create("before"))  # the partition is known from here on
        moved = Batch(
            records=tuple(
                replace(record, kafka_offset=KafkaOffset(record.kafka_offset + 1))
                for record in (bad, other)
            ),
            expected={work.lane.partition: KafkaOffset(1)},
            next_offsets={work.lane.partition: KafkaOffset(3)},
        )
        answers = await apply_whatever_comes(moved, work.lane.parts, SETTINGS, asyncio.Event())
    refused, applied = (answer.outcome for answer in answers)
    assert isinstance(refused, Rejected)
    assert refused.refusal.reason == "internal_error"
    assert applied == Applied(
        status=201, entity_type="CUSTOMER", entity_id=good.customer_id, version=0
    )
    assert await work.rows("SELECT reason FROM rejections") == [("internal_error",)]
    assert await work.rows("SELECT next_offset FROM consumer_offsets") == [(3,)]


async def test_a_record_that_can_not_be_judged_is_set_aside(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a bug of the rules: the front door would have to have it too, or a release between."""
    judge = work.lane.parts.validator.check_event

    def fail_on_the_first(document: Any, config: Any) -> Any:
        if document["bringBackProperties"]["value"] == "bad":
            raise ZeroDivisionError
        return judge(document, config)

    monkeypatch.setattr(work.lane.parts.validator, "check_event", fail_on_the_first)
    bad, good = work.write.event("bad"), work.write.event(str(uuid.uuid4()))
    async with asyncio.timeout(LIMIT_SECONDS):
        answers = await work.lane.apply(bad, good)
    assert [type(answer.outcome) for answer in answers] == [Rejected, Applied]
    assert await work.rows("SELECT id FROM rejections") == [(bad.event_id,)]


async def test_what_was_judged_ahead_is_judged_again_when_the_configuration_moves(
    work: Work,
) -> None:
    await work.lane.apply(
        work.write.event(str(uuid.uuid4()))
    )  # the configuration is known from here on
    (stays, moves) = work.lane.batch([work.write.event("s1"), work.write.event("s2")]).split(1)
    ahead = [await judge_ahead(batch, work.lane.parts) for batch in (stays, moves)]
    assert [verdicts is not None for verdicts in ahead] == [True, True]
    stop = asyncio.Event()
    parts = work.lane.parts
    (first,) = await apply_whatever_comes(stays, parts, SETTINGS, stop, ahead=ahead[0])
    workspace_id = work.write.demo.workspace_id
    await work.rows("UPDATE workspaces SET config_version = config_version + 1 RETURNING id")
    await work.rows(
        "INSERT INTO event_types (workspace_id, type, enabled)"
        f" VALUES ('{workspace_id}', 'viewedPage', false) RETURNING type"
    )
    (second,) = await apply_whatever_comes(moves, parts, SETTINGS, stop, ahead=ahead[1])
    assert [type(answer.outcome) for answer in (first, second)] == [Applied, Rejected]
    assert await work.rows("SELECT next_offset FROM consumer_offsets") == [(3,)]


async def test_what_can_not_be_judged_ahead_waits_for_its_turn(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = work.lane.batch([work.write.event("s1")])
    assert await judge_ahead(None, work.lane.parts) is None
    # nobody has read the configuration yet
    assert await judge_ahead(batch, work.lane.parts) is None
    await work.lane.apply(work.write.event("s0"))

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(work.lane.parts.validator, "check_event", fail)
    assert await judge_ahead(batch, work.lane.parts) is None


def test_the_parts_of_a_batch_do_the_same_one_after_the_other() -> None:
    places = [(topic, offset) for topic in ("a", "b") for offset in range(5, 8)]
    records = tuple(
        Record(
            topic=topic,
            partition=1,
            kafka_offset=KafkaOffset(offset),
            headers=(),
            value=b"",
            written_ms=0,
        )
        for topic, offset in places
    )
    whole = Batch(
        records=records,
        expected={("a", 1): KafkaOffset(5), ("b", 1): KafkaOffset(5)},
        next_offsets={("a", 1): KafkaOffset(8), ("b", 1): KafkaOffset(8)},
    )
    assert whole.split(6) == [whole]
    parts = whole.split(4)
    assert [part.records for part in parts] == [records[:4], records[4:]]
    assert [part.expected for part in parts] == [whole.expected, {("b", 1): 6}]
    assert [part.next_offsets for part in parts] == [{("a", 1): 8, ("b", 1): 6}, {("b", 1): 8}]


async def test_an_event_under_the_key_of_another_is_kept(work: Work) -> None:
    """It was answered 202: the front door can't always know of the first."""
    first = work.write.event("s1", keyed=True, repeatable=True)
    envelope = replace(first.envelope, fingerprint="g" * 32)
    reused = replace(first, body=first.body.replace(b"s1", b"s2"), envelope=envelope)
    await work.lane.apply(first)
    for again in (reused, replace(reused, body=reused.body.replace(b"s2", b"s3"))):
        (answer,) = await work.lane.apply(again)
        assert isinstance(answer.outcome, Rejected)
    assert await work.rows("SELECT id, version FROM events") == [(first.event_id, 0)]
    kept = await work.rows("SELECT reason, payload FROM rejections ORDER BY payload")
    assert kept == [("idempotency_key_reused", body) for body in (reused.body, again.body)]


@pytest.mark.parametrize("together", [True, False])
async def test_the_outcome_for_a_client_that_waited_in_vain_is_kept(
    work: Work, together: bool
) -> None:
    """It was told 202 while the refusal was on its way to it."""
    unknown = work.write.event("s1")
    named = orjson.loads(unknown.body) | {
        "bringBackProperties": None,
        "customerId": str(uuid.uuid4()),
    }
    applied = _waiting(work.write.create("a1"))
    patch = _waiting(work.write.patch(CustomerId(uuid.uuid4()), enabled=True))
    firsts = [_waiting(replace(unknown, body=orjson.dumps(named))), applied, patch]
    seconds = [
        replace(
            command,
            envelope=replace(
                command.envelope, answered=True, repeatable=True, reply_to=None, answer_by=None
            ),
        )
        for command in firsts
    ]
    if together:
        await work.lane.apply(*firsts, *seconds)
    else:
        await work.lane.apply(*firsts)
        assert await work.rows("SELECT id FROM rejections") == []
        await work.lane.apply(*seconds)
    kept = await work.rows("SELECT id, reason FROM rejections ORDER BY entity_type")
    patched = patch.envelope.operation_id
    assert kept == [(patched, "customer_not_found"), (unknown.event_id, "customer_not_found")]
    assert await work.rows("SELECT version FROM customers") == [(0,)]
    long = "SELECT id FROM operations WHERE expires_at > now() + interval '6 days'"
    assert {patched, applied.envelope.operation_id} <= {row[0] for row in await work.rows(long)}
