"""Each statement of feed.sql that reads: pages, positions, bounds."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest

from headwater.domain.ids import FeedOffset, NodeId, WorkspaceId
from headwater.postgres import feed
from headwater.postgres.feed import FeedFilter, FeedPage, Form
from headwater.postgres.pool import Pool
from tests.hub import eventually
from tests.postgres.writer import EPOCH, Writer, make_writer

OPEN = FeedFilter()
OTHER = NodeId(uuid.uuid4())


@pytest.fixture
async def writer(pool: Pool) -> Writer:
    return await make_writer(pool)


async def _page(writer: Writer, after: int | None, **options: Any) -> FeedPage:
    asked = {"form": Form.PAGE, "limit": 100, "limit_bytes": 2**20, "scan_rows": 50, "wanted": OPEN}
    async with writer.pool.connection() as conn:
        return await feed.read_page(conn, writer.workspace_id, after, **{**asked, **options})


def _updates(page: FeedPage) -> Any:
    return orjson.loads(b"[%b]" % page.body)


async def _everything(writer: Writer, **options: Any) -> list[Any]:
    """All pages, one after the other; each must go on where the last one ended."""
    updates: list[Any] = []
    after = 0
    while True:
        page = await _page(writer, after, **options)
        assert page.next_offset >= after
        found = _updates(page)
        assert len(found) == page.updates
        updates += found
        if page.is_end:
            return updates
        assert page.next_offset > after
        after = page.next_offset


async def test_read_page_of_an_empty_feed(writer: Writer) -> None:
    page = await _page(writer, None)
    assert page == FeedPage(
        body=b"",
        updates=0,
        reached=FeedOffset(0),
        position=FeedOffset(0),
        next_offset=FeedOffset(0),
        earliest_offset=FeedOffset(1),
        is_end=True,
        is_cut=False,
    )
    beyond = await _page(writer, 2**63 - 1)
    assert (beyond.updates, beyond.next_offset, beyond.is_end) == (0, 2**63 - 1, True)


async def test_read_page_of_no_workspace(writer: Writer) -> None:
    writer.workspace_id = WorkspaceId(uuid.uuid4())
    with pytest.raises(LookupError):
        await _page(writer, None)


async def test_read_page_takes_the_documents_as_of_each_change(writer: Writer) -> None:
    ada = await writer.customer(externalId="a", base={"firstName": "Ada"})
    (event,) = await writer.events()
    await writer.change(ada, externalId="a", base={"firstName": "Adele"})
    await writer.attach(event, ada)
    await writer.delete(ada)
    assert await _everything(writer) == writer.feed
    assert [u["operation"] for u in writer.feed] == [
        "CREATE", "CREATE", "UPDATE", "UPDATE", "DELETE", "DELETE",
    ]  # fmt: skip


async def test_read_page_in_its_three_forms(writer: Writer) -> None:
    await writer.customer(externalId="a", base={"firstName": 'A"\\\n\u2028ü\U0001f600'})
    await writer.events(1)
    expected = [{"offset": n, **update} for n, update in enumerate(writer.feed, 1)]
    page = await _page(writer, None, form=Form.PAGE)
    assert _updates(page) == writer.feed
    lines = await _page(writer, None, form=Form.LINES)
    assert [orjson.loads(line) for line in lines.body.splitlines()] == expected
    events = await _page(writer, None, form=Form.EVENTS)
    blocks = events.body.decode().removesuffix("\n\n").split("\n\n")
    assert [block.split("\n")[:2] for block in blocks] == [
        [f"id: {n}", "event: update"] for n in (1, 2)
    ]
    assert [orjson.loads(b.split("\n")[2].removeprefix("data: ")) for b in blocks] == expected


async def test_read_page_ends_at_its_limit_of_bytes_but_is_never_empty(writer: Writer) -> None:
    await writer.events(5, properties={"title": "x" * 60_000})
    page = await _page(writer, 0, limit_bytes=150_000)
    assert (page.updates, page.next_offset, page.is_cut, page.is_end) == (3, 3, True, False)
    assert 180_000 < len(page.body) < 185_000
    page = await _page(writer, 3, limit_bytes=1)
    assert (page.updates, page.next_offset, page.is_cut) == (1, 4, True)
    page = await _page(writer, 4, limit_bytes=1)
    assert (page.updates, page.next_offset, page.is_cut, page.is_end) == (1, 5, False, True)
    assert await _everything(writer, limit_bytes=70_000) == writer.feed


async def test_read_page_with_filters_moves_past_what_it_left_out(writer: Writer) -> None:
    await writer.events(120)
    await writer.customer(externalId="a")
    await writer.events(3, node_id=OTHER)
    customers = FeedFilter(entity_type="CUSTOMER")
    first = await _page(writer, 0, wanted=customers, limit=10)
    assert (first.updates, first.next_offset, first.is_end) == (0, 50, False)
    third = await _page(writer, 100, wanted=customers, limit=10)
    assert (third.updates, third.reached, third.next_offset) == (1, 121, 124)
    assert third.is_end
    full = await _page(writer, 100, wanted=customers, limit=1)
    assert (full.updates, full.next_offset, full.is_end) == (1, 121, False)
    there = FeedFilter(nodes=frozenset({OTHER}))
    assert await _everything(writer, wanted=there) == writer.feed[121:]
    nowhere = FeedFilter(nodes=frozenset())
    assert await _everything(writer, wanted=nowhere) == []


async def test_read_page_of_a_forgotten_entity(writer: Writer) -> None:
    ada = await writer.customer(externalId="a")
    (event,) = await writer.events(customer_id=ada)
    async with writer.pool.transaction() as conn:
        await conn.execute("DELETE FROM versions WHERE entity_id = $1", ada)
        await conn.execute("DELETE FROM events WHERE id = $1", event)
    node = str(writer.node_id)
    assert [u["entity"]["data"] for u in await _everything(writer)] == [
        {"id": str(ada), "nodeId": node, "deleted": -1},
        {"id": str(event), "nodeId": node},
    ]


@pytest.mark.parametrize("seed", range(5))
async def test_random_histories_read_in_random_pages(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    writer = await make_writer(pool)
    anonymous: list[Any] = []
    for number in range(60):
        living = [i for i, customer in writer.customers.items() if not customer.deleted]
        match chance.randrange(6):
            case 0:
                await writer.customer(externalId=str(number))
            case 1 if living:
                await writer.change(chance.choice(living), externalId=str(number))
            case 2 if living:
                await writer.delete(chance.choice(living))
            case 3 if living:
                await writer.events(chance.randrange(1, 9), customer_id=chance.choice(living))
            case 4 if living and anonymous:
                event = anonymous.pop(chance.randrange(len(anonymous)))
                await writer.attach(event, chance.choice(living))
            case _:
                node = chance.choice([writer.node_id, OTHER])
                anonymous += await writer.events(chance.randrange(1, 9), node_id=node)
    wanted: FeedFilter
    for wanted in (
        OPEN,
        FeedFilter(entity_type="CUSTOMER"),
        FeedFilter(entity_type="EVENT", nodes=frozenset({OTHER})),
    ):
        expected = [
            update
            for update in writer.feed
            if wanted.entity_type in {None, update["entity"]["type"]}
            and (
                wanted.nodes is None
                or NodeId(uuid.UUID(update["entity"]["data"]["nodeId"])) in wanted.nodes
            )
        ]
        for _ in range(4):
            options = {
                "limit": chance.randrange(1, 40),
                "limit_bytes": chance.choice([1, 2_000, 10_000, 2**20]),
                "scan_rows": chance.randrange(1, 60),
            }
            assert await _everything(writer, wanted=wanted, **options) == expected, options


async def test_a_delayed_transaction_never_makes_a_reader_skip(pool: Pool) -> None:
    """The hazard: a low offset becomes visible after a higher one, and nobody goes back to it."""
    writer = await make_writer(pool)
    gate = 4711
    seen: list[Any] = []
    offsets = [0]
    stop = asyncio.Event()

    async def follow() -> None:
        while True:
            is_last = stop.is_set()
            page = await _page(writer, offsets[-1], limit=7)
            assert page.next_offset - offsets[-1] == page.updates
            seen.extend(_updates(page))
            offsets.append(page.next_offset)
            if is_last and page.is_end:
                return
            await asyncio.sleep(0)

    async def write(number: int) -> None:
        other = Writer(pool=pool, workspace_id=writer.workspace_id, node_id=writer.node_id)
        async with pool.transaction() as conn:
            await other.store_events(conn, 3, session=f"s{number}")
        written.append(other.feed)

    written: list[Any] = []
    async with pool.connection() as keeper:
        await keeper.execute(
            f"CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS "
            f"'BEGIN PERFORM pg_advisory_xact_lock({gate}); RETURN NULL; END'"
        )
        # a constraint trigger runs at commit: the offset is taken, the transaction not yet visible
        await keeper.execute(
            "CREATE CONSTRAINT TRIGGER held AFTER INSERT ON updates DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW WHEN (NEW.feed_offset = 1) EXECUTE FUNCTION hold()"
        )
        await keeper.execute(f"SELECT pg_advisory_lock({gate})")
        following = asyncio.create_task(follow())
        held = asyncio.create_task(write(0))

        async def waiting() -> int:
            found: int = await keeper.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return found

        await eventually(waiting, what="the first to wait with its offset taken")
        others = asyncio.create_task(write(1))

        async def both_wait() -> bool:
            return await waiting() == 2

        await eventually(both_wait, what="the second to wait for the first")
        assert seen == []
        await keeper.execute(f"SELECT pg_advisory_unlock({gate})")
        await asyncio.gather(held, others)
    stop.set()
    async with asyncio.timeout(20):
        await following
    assert seen == [update for part in written for update in part]
    assert offsets[-1] == 6


async def test_find_position(writer: Writer) -> None:
    async with writer.pool.connection() as conn:
        assert await feed.find_position(conn, writer.workspace_id, EPOCH) == 0
    await writer.events(20)
    async with writer.pool.connection() as conn:
        for offset in range(1, 21):
            moment = EPOCH + timedelta(milliseconds=offset)
            assert await feed.find_position(conn, writer.workspace_id, moment) == offset - 1
        later = EPOCH + timedelta(seconds=1)
        assert await feed.find_position(conn, writer.workspace_id, later) == 20
        earlier = EPOCH - timedelta(days=1)
        assert await feed.find_position(conn, writer.workspace_id, earlier) == 0


async def test_read_last_offset_with_and_without_filters(writer: Writer) -> None:
    await writer.events(3)
    await writer.customer(externalId="a")
    await writer.events(2, node_id=OTHER)
    cases = [
        (OPEN, 6),
        (FeedFilter(entity_type="CUSTOMER"), 4),
        (FeedFilter(entity_type="EVENT"), 6),
        (FeedFilter(nodes=frozenset({writer.node_id})), 4),
        (FeedFilter(entity_type="EVENT", nodes=frozenset({writer.node_id})), 3),
        (FeedFilter(nodes=frozenset()), 0),
    ]
    async with writer.pool.connection() as conn:
        for wanted, last in cases:
            assert await feed.read_last_offset(conn, writer.workspace_id, wanted) == last


async def test_read_last_offset_looks_as_far_back_as_it_must(writer: Writer) -> None:
    await writer.customer(externalId="a")
    await writer.events(10_010, node_id=OTHER)
    await writer.events(1)
    cases = [
        (FeedFilter(entity_type="CUSTOMER"), 1),
        (FeedFilter(entity_type="CUSTOMER", nodes=frozenset({writer.node_id, OTHER})), 1),
        (FeedFilter(nodes=frozenset({writer.node_id})), 10_012),
        (FeedFilter(entity_type="CUSTOMER", nodes=frozenset({OTHER})), 0),
    ]
    async with writer.pool.connection() as conn:
        for wanted, last in cases:
            assert await feed.read_last_offset(conn, writer.workspace_id, wanted) == last


async def test_read_last_offsets_of_several_feeds(writer: Writer) -> None:
    other = await make_writer(writer.pool)
    await writer.events(3)
    await other.events(1)
    async with writer.pool.connection() as conn:
        ids = [writer.workspace_id, other.workspace_id, WorkspaceId(uuid.uuid4())]
        assert await feed.read_last_offsets(conn, ids) == {
            writer.workspace_id: 3,
            other.workspace_id: 1,
        }
