"""Pruning: the feed's past goes, with everything that only it referred to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from headwater.domain.ids import WorkspaceId
from headwater.postgres import feed
from headwater.postgres.feed import FeedFilter, FeedPage, Form, Pruned
from headwater.postgres.pool import Pool
from tests.postgres.writer import EPOCH, Writer, make_writer

COUNT = """
    SELECT (SELECT count(*) FROM updates), (SELECT count(*) FROM versions),
        (SELECT count(*) FROM customers), (SELECT count(*) FROM events)
"""


@pytest.fixture
async def writer(pool: Pool) -> Writer:
    return await make_writer(pool)


async def _prune(writer: Writer, first_kept: int, batch: int = 1000) -> list[Pruned]:
    async with writer.pool.connection() as conn:
        await feed.hide_past(conn, writer.workspace_id, first_kept)
    batches = []
    while (pruned := await feed.prune_batch(writer.pool, writer.workspace_id, batch)).updates:
        batches.append(pruned)
    return batches


async def _count(writer: Writer) -> tuple[int, ...]:
    """Updates, versions, customers, events."""
    async with writer.pool.connection() as conn:
        return tuple(await conn.fetchrow(COUNT) or ())


async def _page(writer: Writer, after: int | None) -> FeedPage:
    async with writer.pool.connection() as conn:
        return await feed.read_page(
            conn,
            writer.workspace_id,
            after,
            form=Form.PAGE,
            limit=1000,
            limit_bytes=2**20,
            scan_rows=1000,
            wanted=FeedFilter(),
        )


async def test_what_is_hidden_is_expired_and_what_is_kept_stays_whole(writer: Writer) -> None:
    ada = await writer.customer(externalId="a")
    for number in range(4):
        await writer.change(ada, externalId="a", extra=str(number))
    assert await _prune(writer, 4) == [Pruned(updates=3, documents=3, customers=0, events=0)]
    assert (await _page(writer, 2)).is_expired
    for after in (None, 3):
        page = await _page(writer, after)
        assert not page.is_expired
        assert orjson.loads(b"[%b]" % page.body) == writer.feed[3:]
    assert await _count(writer) == (2, 2, 1, 0)


async def test_deleted_customers_and_events_go_with_the_update_that_told_of_it(
    writer: Writer,
) -> None:
    ada = await writer.customer(externalId="a")
    (event,) = await writer.events()
    await writer.attach(event, ada)
    await writer.delete(ada)
    kept = await writer.customer(externalId="b")
    await writer.events(1, customer_id=kept)
    await _prune(writer, 4)  # all but the two DELETEs
    assert await _count(writer) == (4, 2, 2, 2)
    assert orjson.loads(b"[%b]" % (await _page(writer, None)).body) == writer.feed[3:]
    batches = await _prune(writer, 8)
    assert batches == [Pruned(updates=4, documents=1, customers=1, events=1)]
    assert await _count(writer) == (0, 1, 1, 1)


async def test_a_document_that_outlived_its_update_goes_with_the_next(writer: Writer) -> None:
    ada = await writer.customer(externalId="a")
    await _prune(writer, 2)
    assert await _count(writer) == (0, 1, 1, 0)  # it is the present one
    await writer.change(ada, externalId="b")
    assert await _count(writer) == (1, 2, 1, 0)
    await _prune(writer, 3)
    assert await _count(writer) == (0, 1, 1, 0)


async def test_a_forgotten_customer_stays_as_a_tombstone(writer: Writer) -> None:
    ada = await writer.customer(externalId="a")
    await writer.delete(ada)
    async with writer.pool.connection() as conn:
        await conn.execute("UPDATE customers SET deleted = -1 WHERE id = $1", ada)
    await _prune(writer, 3)
    assert await _count(writer) == (0, 0, 1, 0)


async def test_batches_are_bounded_and_an_interrupted_pruning_is_finished_later(
    writer: Writer,
) -> None:
    await writer.events(25)
    async with writer.pool.connection() as conn:
        await feed.hide_past(conn, writer.workspace_id, 21)
    first = await feed.prune_batch(writer.pool, writer.workspace_id, 8)
    assert first.updates == 8
    assert (await _page(writer, None)).position == 20
    rest = await _prune(writer, 21, batch=8)
    assert [pruned.updates for pruned in rest] == [8, 4]
    assert await _count(writer) == (5, 0, 0, 25)


async def test_the_bound_is_never_lowered_nor_moved_past_the_end(writer: Writer) -> None:
    await writer.events(3)
    for first_kept, earliest in ((3, 3), (2, 3), (5, 3), (4, 4)):
        async with writer.pool.connection() as conn:
            await feed.hide_past(conn, writer.workspace_id, first_kept)
        assert (await _page(writer, 10)).earliest_offset == earliest
    await writer.events(1)
    page = await _page(writer, 3)
    assert (page.updates, page.is_expired) == (1, False)


async def test_find_prune_target(writer: Writer) -> None:
    await writer.events(10)

    async def target(**bounds: Any) -> Any:
        async with writer.pool.connection() as conn:
            return await feed.find_prune_target(conn, writer.workspace_id, **bounds)

    assert await target(before_offset=4) == (1, 4)
    assert await target(before_offset=400) == (1, 11)
    assert await target(older_than=EPOCH + timedelta(milliseconds=6)) == (1, 6)
    assert await target(older_than=EPOCH + timedelta(days=6)) == (1, 11)
    assert await target(older_than=EPOCH) == (1, 1)
    both = {"before_offset": 3, "older_than": EPOCH + timedelta(milliseconds=6)}
    assert await target(**both) == (1, 3)
    writer.workspace_id = WorkspaceId(writer.node_id)
    assert await target(before_offset=4) is None


async def test_pruning_beside_writers_and_another_pruning(writer: Writer) -> None:
    customers = [await writer.customer(externalId=str(n)) for n in range(10)]

    async def write() -> None:
        for number, customer_id in enumerate(customers):
            await writer.events(3, customer_id=customer_id)
            await writer.change(customer_id, externalId=f"changed {number}")
            if number % 2:
                await writer.delete(customer_id)

    async def prune() -> None:
        while not writing.done():
            await _prune(writer, max(len(writer.feed) - 5, 1), batch=3)

    writing = asyncio.create_task(write())
    await asyncio.gather(writing, prune(), prune())
    await _prune(writer, len(writer.feed) + 1)
    assert await _count(writer) == (0, 5, 5, 15)
    async with writer.pool.connection() as conn:
        living = await conn.fetch(
            "SELECT v.document FROM customers c JOIN versions v ON v.entity_id = c.id"
            " AND v.version = c.version"
        )
    documents = [writer.documents[customer_id] for customer_id in customers[::2]]
    found = [orjson.loads(row["document"]) for row in living]
    assert sorted(found, key=lambda d: d["intId"]) == documents
