"""GET /workspaces/{workspaceId}/updates as pages. Source: contacthub 3.13, op 108."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest

from headwater.domain.configuration import Role
from headwater.domain.ids import NodeId
from headwater.postgres import feed
from stream_api.handlers import updates
from stream_api.keys import READERS
from tests.http.reading.conftest import OPERATOR, Reads
from tests.hub import eventually
from tests.postgres.writer import EPOCH

NO_OFFSET = "is not a whole number between 0 and 9223372036854775807"


def _milliseconds(offset: int) -> int:
    return round((EPOCH + timedelta(milliseconds=offset)).timestamp() * 1000)


async def test_an_empty_feed(reads: Reads) -> None:
    cases: list[Any] = [{}, {"offset": 0}, {"size": 0}, {"timestamp": 0}]
    for params in cases:
        answer = await reads.get("/updates", **params)
        assert (answer.status, answer.body) == (200, {"updates": [], "nextOffset": 0})
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_pages_follow_each_other(reads: Reads) -> None:
    await reads.writer.events(120)
    first = await reads.get("/updates")
    assert first.body == {"updates": reads.writer.feed[:50], "nextOffset": 50}
    assert (await reads.get("/updates", offset=0)).body == first.body
    last = await reads.get("/updates", offset=50, size=4000)
    assert last.body == {"updates": reads.writer.feed[50:], "nextOffset": 120}
    for offset in (120, 121, 10**18, 2**63 - 1):
        beyond = await reads.get("/updates", offset=offset)
        assert beyond.body == {"updates": [], "nextOffset": offset}


async def test_a_page_of_many_steps_is_one_answer(reads: Reads) -> None:
    await reads.writer.events(1700, properties={"title": "t" * 1000})
    answer = await reads.get("/updates", size=1600)
    assert len(answer.raw) > 1600 * 1000
    assert answer.body == {"updates": reads.writer.feed[:1600], "nextOffset": 1600}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Tracing-ID"]


async def test_size_0_tells_the_position_only(reads: Reads) -> None:
    await reads.writer.events(5)
    assert (await reads.get("/updates", size=0)).body == {"updates": [], "nextOffset": 0}
    assert (await reads.get("/updates", size=0, offset=3)).body["nextOffset"] == 3
    answer = await reads.get("/updates", size=0, timestamp=_milliseconds(3), wait=60)
    assert answer.body == {"updates": [], "nextOffset": 2}


@pytest.mark.parametrize("size", ["-1", "4001", "x", "", "1.0", "9" * 30])
async def test_a_bad_size(reads: Reads, size: str) -> None:
    answer = await reads.get("/updates", size=size)
    expected = f"{size!r} is not a whole number between 0 and 4000"
    reads.refused(answer, 400, "invalid parameter size", (expected, "/size"))


@pytest.mark.parametrize("offset", ["-1", "x", "", "1.5", "1e3", "+1", "٣", "9" * 19])
async def test_a_bad_offset(reads: Reads, offset: str) -> None:
    answer = await reads.get("/updates", offset=offset)
    expected = f"{offset!r} {NO_OFFSET}"
    reads.refused(answer, 400, "invalid parameter offset", (expected, "/offset"))


async def test_a_timestamp_is_milliseconds_and_inclusive(reads: Reads) -> None:
    await reads.writer.events(5)  # one a millisecond
    cases = {
        _milliseconds(3): 3,
        _milliseconds(1): 1,
        _milliseconds(-1000): 1,
        _milliseconds(1) // 1000: 1,
        0: 1,
        -(10**30): 1,
    }
    for timestamp, first in cases.items():
        answer = await reads.get("/updates", timestamp=timestamp)
        assert answer.body == {"updates": reads.writer.feed[first - 1 :], "nextOffset": 5}
    for timestamp in (_milliseconds(6), _milliseconds(10**9), 2**63 - 1, 10**30):
        answer = await reads.get("/updates", timestamp=timestamp)
        assert answer.body == {"updates": [], "nextOffset": 5}
    answer = await reads.get("/updates", timestamp="nonsense", offset=4)
    assert answer.body["updates"] == reads.writer.feed[4:]


@pytest.mark.parametrize("timestamp", ["x", "", "1.5", "--1", "2026-01-01"])
async def test_a_bad_timestamp(reads: Reads, timestamp: str) -> None:
    answer = await reads.get("/updates", timestamp=timestamp)
    expected = f"{timestamp!r} is not a whole number of milliseconds since 1970"
    reads.refused(answer, 400, "invalid parameter timestamp", (expected, "/timestamp"))


async def test_filters_leave_out_and_move_on(reads: Reads) -> None:
    writer, there = reads.writer, NodeId(UUID(reads.other_node_id))
    await writer.events(170)
    await writer.customer(externalId="a")
    await writer.events(2, node_id=there)
    await writer.events(160)
    everything = writer.feed
    answer = await reads.get("/updates", entity="CUSTOMER", size=1)
    assert answer.body == {"updates": everything[170:171], "nextOffset": 171}
    answer = await reads.get("/updates", entity="CUSTOMER", size=2)
    assert answer.body["updates"] == everything[170:171]
    assert 171 <= answer.body["nextOffset"] <= 333
    after = answer.body["nextOffset"]
    answer = await reads.get("/updates", entity="CUSTOMER", offset=after)
    assert answer.body == {"updates": [], "nextOffset": 333}
    answer = await reads.get("/updates", nodeId=reads.other_node_id, entity="EVENT")
    assert answer.body["updates"] == everything[171:173]
    answer = await reads.get("/updates", nodeId=reads.other_node_id, entity="CUSTOMER")
    assert answer.body == {"updates": [], "nextOffset": 333}


async def test_filters_that_name_nothing(reads: Reads) -> None:
    answer = await reads.get("/updates", entity="customer")
    expected = ("'customer' is neither CUSTOMER nor EVENT", "/entity")
    reads.refused(answer, 400, "invalid parameter entity", expected)
    for node in ("123", str(uuid4())):
        answer = await reads.get("/updates", nodeId=node)
        reads.refused(answer, 404, f"node not found {node}")


async def test_who_may_read_what(reads: Reads) -> None:
    writer, there = reads.writer, NodeId(UUID(reads.other_node_id))
    await writer.events(2)
    await writer.events(3, node_id=there)
    operator = reads.acting_as(OPERATOR)
    assert (await operator.get("/updates")).body["updates"] == writer.feed
    some = reads.acting_as((await reads.source(reads.other_node_id))["token"])
    answer = await some.get("/updates")
    assert answer.body == {"updates": writer.feed[2:], "nextOffset": 5}
    hidden = await some.get("/updates", nodeId=reads.node_id)
    reads.refused(hidden, 404, f"node not found {reads.node_id}")
    follower = await reads.user(Role.PLATFORM_UPDATES)
    assert (await follower.get("/updates")).body == {"updates": writer.feed[:2], "nextOffset": 5}
    denied = "You don't have the necessary permissions for the resource"
    guest = await reads.user(Role.GUEST)
    script = await reads.source(reads.node_id, provider="JavaScript")
    for stranger in (guest, reads.acting_as(script["token"])):
        for path in ("/updates", "/updates/last-offset"):
            reads.refused(await stranger.get(path), 403, denied)
    nobody = reads.acting_as("nobody")
    answer = await nobody.get("/updates")
    reads.refused(answer, 401, "The client is not authorized to access the API")


async def test_head_and_other_methods_are_not_served(reads: Reads) -> None:
    for path in ("/updates", "/updates/last-offset", "/customers", "/events", "/events/1"):
        assert (await reads.get(path, method="HEAD")).status == 405
    answer = await reads.get("/updates", method="DELETE")
    reads.refused(answer, 405, "Request method 'DELETE' not supported")


async def test_an_offset_behind_retention(reads: Reads) -> None:
    await reads.writer.events(10)
    async with reads.parts.pool.connection() as conn:
        await feed.hide_past(conn, reads.writer.workspace_id, 6)
    behind: list[Any] = [{"offset": 0}, {"offset": 4}, {"offset": 4, "size": 0}]
    for params in behind:
        answer = await reads.get("/updates", **params)
        expected = ("earliest offset is 6", "/offset")
        reads.refused(answer, 410, "offset expired", expected)
    for accept in ("text/event-stream", "application/x-ndjson"):
        answer = await reads.get("/updates", offset=4, headers={"Accept": accept})
        reads.refused(answer, 410, "offset expired", ("earliest offset is 6", "/offset"))
    ahead: list[Any] = [{}, {"offset": 5}, {"timestamp": 0}]
    for params in ahead:
        answer = await reads.get("/updates", **params)
        assert answer.body == {"updates": reads.writer.feed[5:], "nextOffset": 10}


async def test_a_page_of_large_documents_is_bounded_and_so_is_memory(reads: Reads) -> None:
    for _ in range(8):
        await reads.writer.events(100, properties={"title": "x" * 64_000})
    expected = reads.writer.feed
    process = psutil.Process()
    before = process.memory_info().rss

    async def peak() -> int:
        most = 0
        async with reads.stream("/updates", size=4000) as answer:
            async for _ in answer.content.iter_chunked(2**16):
                most = max(most, process.memory_info().rss)
        return most

    grown = max(await asyncio.gather(*[peak() for _ in range(4)])) - before
    assert grown < 60e6, grown  # four pages of 16 MiB, none of them whole in memory
    offset, seen = 0, 0
    while True:
        answer = await reads.get("/updates", offset=offset, size=4000)
        found = answer.body["updates"]
        if not found:
            break
        assert len(answer.raw) < updates.PAGE_BYTES + 1_200_000
        assert found == expected[seen : seen + len(found)]
        seen += len(found)
        offset = answer.body["nextOffset"]
        assert offset == seen
    assert seen == 800


async def test_a_wait_ends_with_the_first_change_that_passes(reads: Reads) -> None:
    await reads.writer.events(1)
    asking = asyncio.create_task(reads.get("/updates", offset=1, wait=60, entity="CUSTOMER"))
    await reads.waiting(1)
    await reads.writer.events(3)
    await reads.writer.customer(externalId="a")
    answer = await asking
    assert answer.body == {"updates": reads.writer.feed[4:], "nextOffset": 5}


async def test_a_wait_that_is_over(reads: Reads) -> None:
    await reads.writer.events(1)
    started = time.monotonic()
    answer = await reads.get("/updates", offset=1, wait=1)
    assert answer.body == {"updates": [], "nextOffset": 1}
    assert 1 <= time.monotonic() - started < 10
    at_once = await reads.get("/updates", offset=0, wait=60)
    assert at_once.body["nextOffset"] == 1
    for wait in ("-1", "61", "x"):
        answer = await reads.get("/updates", wait=wait)
        expected = (f"{wait!r} is not a whole number between 0 and 60", "/wait")
        reads.refused(answer, 400, "invalid parameter wait", expected)


async def test_a_token_that_dies_while_it_waits_gets_nothing(reads: Reads) -> None:
    source = await reads.source(reads.node_id)
    asking = asyncio.create_task(reads.acting_as(source["token"]).get("/updates", wait=60))
    await reads.waiting(1)
    await reads.configure("DELETE", f"/sources/{source['id']}", None)
    await reads.writer.events(1)
    reads.refused(await asking, 401, "The client is not authorized to access the API")


async def test_shutdown_answers_those_who_wait(reads: Reads) -> None:
    asking = asyncio.create_task(reads.get("/updates", wait=60))
    await reads.waiting(1)
    reads.follower.close()
    assert (await asking).body == {"updates": [], "nextOffset": 0}


async def test_a_reader_that_goes_away_is_forgotten(reads: Reads) -> None:
    asking = asyncio.create_task(reads.get("/updates", wait=60))
    await reads.waiting(1)
    asking.cancel()
    await reads.waiting(0)


async def test_a_reader_at_the_end_that_others_wait_at_asks_nothing(reads: Reads) -> None:
    """Nothing can be read of the feed meanwhile, so an answer proves that nobody tried."""
    await reads.writer.events(1)
    asking = asyncio.create_task(reads.get("/updates", offset=1, wait=60))
    await reads.waiting(1)
    ticks = reads.follower.ticks

    async def ticked() -> bool:
        return reads.follower.ticks >= ticks + 2

    await eventually(ticked)
    async with reads.parts.pool.transaction() as conn:
        await conn.execute("LOCK TABLE updates IN ACCESS EXCLUSIVE MODE")
        async with (
            asyncio.timeout(20),
            reads.stream("/updates", offset=1, headers={"Accept": "text/event-stream"}) as events,
        ):
            assert (await events.content.readline()).startswith(b"id: 1")  # the heartbeat
            answer = await reads.get("/updates", offset=1, wait=1)
    assert answer.body == {"updates": [], "nextOffset": 1}
    await reads.writer.events(1)
    assert (await asking).body == {"updates": reads.writer.feed[1:], "nextOffset": 2}
    # nobody waits now: all who did were woken, and come back together
    async with reads.parts.pool.transaction() as conn:
        await conn.execute("LOCK TABLE updates IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(20):
            answer = await reads.get("/updates", offset=2, wait=1)
    assert answer.body == {"updates": [], "nextOffset": 2}


async def test_crowd_that_comes_at_once_leaves_connections_to_others(reads: Reads) -> None:
    """Whoever waits at the end anyway may share the look at it: that is one connection, not all."""
    count = 40
    connector: Any = reads.http.session.connector
    connector._limit = count + 1
    places = reads.http.app[READERS]

    async def came() -> bool:
        return int(places.places) == count

    async with reads.parts.pool.transaction() as conn:
        await conn.execute("LOCK TABLE updates IN ACCESS EXCLUSIVE MODE")
        asking = [
            asyncio.create_task(reads.get("/updates", offset=0, wait=60)) for _ in range(count)
        ]
        await eventually(came)
        async with asyncio.timeout(4):
            answer = await reads.get("/customers", nodeId=reads.node_id)
    assert answer.status == 200
    await reads.waiting(count)
    await reads.writer.events(1)
    for one in await asyncio.gather(*asking):
        assert one.body == {"updates": reads.writer.feed, "nextOffset": 1}


async def test_waiting_readers_cost_no_query_and_share_what_they_are_woken_for(
    reads: Reads,
) -> None:
    """Counted by the follower's own readings: a reader reads once at most when it comes, once for all
    when the feed grows.
    """
    count = 300
    reader = reads.follower
    read: list[Any] = []
    original = feed.read_page

    async def counted(*args: Any, **options: Any) -> Any:
        read.append(args)
        return await original(*args, **options)

    patch = pytest.MonkeyPatch()
    patch.setattr(feed, "read_page", counted)
    connector: Any = reads.http.session.connector
    connector._limit = count
    try:
        asking = [
            asyncio.create_task(reads.get("/updates", offset=0, wait=60)) for _ in range(count)
        ]
        await reads.waiting(count)
        came = len(read)
        assert 1 <= came <= count
        ticks = reader.ticks

        async def ticked() -> bool:
            return reader.ticks >= ticks + 10

        await eventually(ticked)
        assert len(read) == came
        await reads.writer.events(1)
        answers = await asyncio.gather(*asking)
    finally:
        patch.undo()
    assert {answer.raw for answer in answers} == {answers[0].raw}
    assert answers[0].body == {"updates": reads.writer.feed, "nextOffset": 1}
    assert len(read) <= came + 3


async def test_last_offset(reads: Reads) -> None:
    path = "/updates/last-offset"
    assert (await reads.get(path)).body == {"lastOffset": 0}
    await reads.writer.events(3)
    await reads.writer.customer(externalId="a")
    await reads.writer.events(1, node_id=NodeId(UUID(reads.other_node_id)))
    assert (await reads.get(path)).body == {"lastOffset": 5}
    assert (await reads.get(path, entity="CUSTOMER")).body == {"lastOffset": 4}
    assert (await reads.get(path, nodeId=reads.node_id, entity="EVENT")).body == {"lastOffset": 3}
    assert (await reads.get(path, nodeId=reads.other_node_id)).body == {"lastOffset": 5}
    reads.refused(
        await reads.get(path, entity="x"),
        400,
        "invalid parameter entity",
        ("'x' is neither CUSTOMER nor EVENT", "/entity"),
    )
    some = reads.acting_as((await reads.source(reads.node_id))["token"])
    assert (await some.get(path)).body == {"lastOffset": 4}


async def test_last_offset_is_never_behind_retention(reads: Reads) -> None:
    await reads.writer.events(3)
    async with reads.parts.pool.connection() as conn:
        await feed.hide_past(conn, reads.writer.workspace_id, 4)
    for params in ({}, {"nodeId": reads.node_id}, {"entity": "EVENT"}, {"entity": "CUSTOMER"}):
        found = await reads.get("/updates/last-offset", **params)
        assert found.body == {"lastOffset": 3}
        page = await reads.get("/updates", offset=found.body["lastOffset"], **params)
        assert (page.status, page.body) == (200, {"updates": [], "nextOffset": 3})
