"""Two processors at once on the same people. The database decides, not the luck of timing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from headwater.cli.provision import make_demo
from headwater.domain.outcome import Applied
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import PostgresSettings
from tests.faults.pipeline import Lane, Writer

PAIRS = 1_500
ROUND = 50


class Race:
    def __init__(self, writer: Writer, pool: Pool) -> None:
        self.writer = writer
        self.pool = pool
        self.lanes = [Lane(pool, 0), Lane(pool, 1)]
        self.random = random.Random(7)

    async def together(self, one: Awaitable[Any], other: Awaitable[Any]) -> None:
        """Both at once; which begins is drawn."""
        both = [one, other] if self.random.random() < 0.5 else [other, one]
        await asyncio.gather(*both)

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        async with self.pool.connection() as conn:
            return await conn.fetch(statement, *arguments)

    async def check_feed(self) -> None:
        """Dense from 1, each version once, and what the tables say."""
        feed = await self.rows("SELECT * FROM updates ORDER BY feed_offset")
        assert [row["feed_offset"] for row in feed] == list(range(1, len(feed) + 1))
        versions = Counter((row["entity_id"], row["version"]) for row in feed)
        assert set(versions.values()) <= {1}
        moments = [row["changed_at"] for row in feed]
        assert moments == sorted(moments)
        last = {row["entity_id"]: row["version"] for row in feed}
        tables = await self.rows(
            "SELECT id, version FROM customers UNION ALL SELECT id, version FROM events"
        )
        assert last == {row["id"]: row["version"] for row in tables}


@pytest.fixture
async def race(database_url: str) -> AsyncIterator[Race]:
    demo = await make_demo(database_url)
    pool = await open_pool(PostgresSettings(database_url=database_url), max_size=8)
    yield Race(Writer(demo), pool)
    await pool.close()


async def test_no_event_of_a_session_stays_anonymous(race: Race) -> None:
    """Thousands of pairs, in both orders and at the same time."""
    one, other = race.lanes
    write = race.writer
    (made,) = await one.apply(write.create("owner"))
    assert isinstance(made.outcome, Applied)
    owner = made.outcome.entity_id
    for start in range(0, PAIRS, ROUND):
        values = [f"s-{number}" for number in range(start, start + ROUND)]
        sessions = [write.session(owner, value) for value in values]  # type: ignore[arg-type]
        events = [write.event(value) for value in reversed(values)]
        await race.together(one.apply(*sessions), other.apply(*events))
    customers = await race.rows("SELECT customer_id, count(*) FROM events GROUP BY customer_id")
    assert {row["customer_id"]: row["count"] for row in customers} == {owner: PAIRS}
    await race.check_feed()


async def test_no_event_of_a_new_customer_stays_anonymous(race: Race) -> None:
    one, other = race.lanes
    write = race.writer
    for start in range(0, PAIRS, ROUND):
        values = [f"c-{number}" for number in range(start, start + ROUND)]
        made = [write.create(value) for value in values]
        events = [write.event(value, "EXTERNAL_ID") for value in reversed(values)]
        await race.together(one.apply(*made), other.apply(*events))
    owned = await race.rows(
        "SELECT e.bring_back_value AS value, c.external_id FROM events e LEFT JOIN customers c "
        "ON c.id = e.customer_id"
    )
    assert len(owned) == PAIRS
    assert [row for row in owned if row["value"] != row["external_id"]] == []
    await race.check_feed()


async def test_two_who_meet_the_same_new_customers_end_with_one_each(race: Race) -> None:
    """In opposite orders, so that locks taken in the order of arrival would cross."""
    one, other = race.lanes
    write = race.writer
    for start in range(0, PAIRS, ROUND):
        names = [f"n-{number}" for number in range(start, start + ROUND)]
        mine = [write.create(name, tags={"manual": ["one"], "auto": []}) for name in names]
        theirs = [
            write.create(name, tags={"manual": ["other"], "auto": []}) for name in reversed(names)
        ]
        await race.together(one.apply(*mine), other.apply(*theirs))
    customers = await race.rows("SELECT external_id, version, document FROM customers")
    assert Counter(row["external_id"] for row in customers) == Counter(
        f"n-{number}" for number in range(PAIRS)
    )
    assert {row["version"] for row in customers} == {1}
    assert all('"one"' in row["document"] and '"other"' in row["document"] for row in customers)
    numbers = await race.rows("SELECT count(DISTINCT int_id) AS count FROM customers")
    assert numbers[0]["count"] == PAIRS
    await race.check_feed()


async def test_keys_that_move_crosswise_lose_nothing(race: Race) -> None:
    """Each lane patches its customers to keys that the other's just left: rounds of claims that cross
    are resolved by the database and repeated; of two customers one key never names both.
    """
    one, other = race.lanes
    write = race.writer
    made = await one.apply(*(write.create(f"k-{number}") for number in range(20)))
    ids = [answer.outcome.entity_id for answer in made if isinstance(answer.outcome, Applied)]
    for turn in range(12):
        mine = [
            write.patch(ids[n], externalId=f"k-{(n + turn) % 10}")  # type: ignore[arg-type]
            for n in range(10)
        ]
        theirs = [
            write.patch(ids[n], externalId=f"k-{(n + turn) % 20}")  # type: ignore[arg-type]
            for n in reversed(range(10, 20))
        ]
        await race.together(one.apply(*mine), other.apply(*theirs))
    customers = await race.rows("SELECT id, node_id, external_id FROM customers")
    assert len({row["external_id"] for row in customers}) == len(customers) == 20
    keys = await race.rows("SELECT customer_id FROM identities WHERE kind = 'MATCH'")
    assert Counter(row["customer_id"] for row in keys) == Counter(ids)
    found = [await other.apply(write.create(row["external_id"])) for row in customers]
    reached = {
        answer.outcome.entity_id for (answer,) in found if isinstance(answer.outcome, Applied)
    }
    assert reached == set(ids)  # each key finds its customer: none was made anew
    await race.check_feed()


async def test_an_event_that_two_processors_meet_is_stored_once(race: Race) -> None:
    """The same event in two partitions, as after a repetition under another key: an insert that is
    overtaken is repeated and finds the row.
    """
    one, other = race.lanes
    write = race.writer
    for _ in range(40):
        events = [write.event("s-1") for _ in range(10)]
        await race.together(one.apply(*events), other.apply(*reversed(events)))
    rows = await race.rows("SELECT count(*) AS count FROM events")
    assert rows[0]["count"] == 400
    assert (await race.rows("SELECT count(*) AS count FROM rejections"))[0]["count"] == 0
    await race.check_feed()


async def test_a_transaction_that_is_held_up_makes_no_gap_in_the_feed(race: Race) -> None:
    """One transaction stands still just before its commit; the other's updates come after it."""
    one, other = race.lanes
    write = race.writer
    await one.apply(write.event("s-1"))
    async with race.pool.transaction() as conn:
        await conn.execute(
            "CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END'"
        )
        await conn.execute(
            "CREATE TRIGGER hold_up BEFORE INSERT ON updates FOR EACH ROW EXECUTE FUNCTION hold_up()"
        )
    async with race.pool.transaction() as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(1)")
        first = asyncio.create_task(one.apply(write.event("s-2")))
        second = asyncio.create_task(other.apply(write.event("s-3")))
        await asyncio.wait([first, second], timeout=0.3)
        assert not first.done()
        assert not second.done()
        seen = await race.rows("SELECT feed_offset FROM updates")
        assert [row["feed_offset"] for row in seen] == [1]
    await asyncio.gather(first, second)
    await race.check_feed()
