"""The feed as server-sent events and as lines of JSON. Source: contacthub 3.13, "Ours"."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientResponse

from headwater.postgres import feed
from tests.http.reading.conftest import Reads

EVENTS = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}


async def _event(answer: ClientResponse) -> dict[str, Any]:
    """The next server-sent event, its data parsed; empty at the end."""
    event: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while line := (await answer.content.readline()).decode():
            if line == "\n":
                return {**event, "data": json.loads(event["data"])}
            name, _, value = line.rstrip("\n").partition(": ")
            event[name] = value
    return {}


async def _events(answer: ClientResponse, count: int, name: str = "update") -> list[Any]:
    """The next events of a name, the others left out."""
    found: list[Any] = []
    while len(found) < count:
        event = await _event(answer)
        assert event, "the stream ended"
        if event["event"] == name:
            found.append(event)
    return found


def _update_events(reads: Reads, after: int) -> list[Any]:
    return [
        {"id": str(n), "event": "update", "data": {"offset": n, **update}}
        for n, update in enumerate(reads.writer.feed, 1)
        if n > after
    ]


async def test_events_are_followed_as_they_come(reads: Reads) -> None:
    await reads.writer.events(3)
    async with reads.stream("/updates", headers=EVENTS, size=1) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert await _events(answer, 3) == _update_events(reads, 0)
        await reads.writer.customer(externalId="a")
        await reads.writer.events(2)
        assert await _events(answer, 3) == _update_events(reads, 3)


async def test_a_heartbeat_tells_the_position(reads: Reads) -> None:
    await reads.writer.events(2)
    async with reads.stream("/updates", headers=EVENTS, offset=2) as answer:
        for _ in range(2):
            assert await _event(answer) == {
                "id": "2",
                "event": "position",
                "data": {"nextOffset": 2},
            }


async def test_heartbeats_come_between_updates_too(reads: Reads) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await reads.writer.events(1)

    writing = asyncio.create_task(write())
    async with reads.stream("/updates", headers=EVENTS) as answer:
        positions = await _events(answer, 2, "position")
        assert int(positions[0]["id"]) < int(positions[1]["id"])
        stop.set()
    await writing


async def test_a_heartbeat_moves_a_filtered_follower_on(reads: Reads) -> None:
    await reads.writer.events(130)
    async with reads.stream("/updates", headers=EVENTS, entity="CUSTOMER") as answer:
        (position,) = await _events(answer, 1, "position")
        assert position["data"] == {"nextOffset": 130}
        await reads.writer.events(1)
        await reads.writer.customer(externalId="a")
        assert await _events(answer, 1) == _update_events(reads, 131)


async def test_last_event_id_wins_over_offset(reads: Reads) -> None:
    await reads.writer.events(4)
    headers = {**EVENTS, "Last-Event-ID": "3"}
    async with reads.stream("/updates", headers=headers, offset=1) as answer:
        assert await _events(answer, 1) == _update_events(reads, 3)
    for bad in ("x", "-1", "1.5", "9" * 19):
        refused = await reads.get("/updates", headers={**EVENTS, "Last-Event-ID": bad})
        expected = f"{bad!r} is not a whole number between 0 and 9223372036854775807"
        reads.refused(refused, 400, "invalid header Last-Event-ID", (expected, ""))
    page = await reads.get("/updates", headers={"Last-Event-ID": "3"})
    assert page.body["updates"] == reads.writer.feed


async def test_events_end_when_the_token_dies(reads: Reads) -> None:
    source = await reads.source(reads.node_id)
    guest = reads.acting_as(source["token"])
    async with guest.stream("/updates", headers=EVENTS) as answer:
        await _events(answer, 1, "position")
        await reads.configure("DELETE", f"/sources/{source['id']}", None)
        await reads.writer.events(1)
        while event := await _event(answer):
            assert event["event"] == "position"


async def test_a_follower_loses_sight_of_a_node_that_is_taken_from_it(reads: Reads) -> None:
    source = await reads.source(reads.node_id, reads.other_node_id)
    some = reads.acting_as(source["token"])
    async with some.stream("/updates", headers=EVENTS) as answer:
        await reads.writer.events(1)
        await _events(answer, 1)
        body = {"id": source["id"], "provider": "API", "name": "t", "nodes": [reads.other_node_id]}
        await reads.configure("PUT", f"/sources/{source['id']}", body)
        await reads.writer.events(1)
        (position,) = await _events(answer, 1, "position")
        while position["id"] != "2":
            (position,) = await _events(answer, 1, "position")


async def test_events_end_at_shutdown(reads: Reads) -> None:
    async with reads.stream("/updates", headers=EVENTS) as answer:
        await _events(answer, 1, "position")
        reads.follower.close()
        while await _event(answer):
            pass


async def test_events_end_where_pruning_overtook_them(reads: Reads) -> None:
    async with reads.stream("/updates", headers=EVENTS) as answer:
        await _events(answer, 1, "position")
        async with reads.parts.pool.transaction() as conn:
            await reads.writer.store_events(conn, 3)
            await feed.hide_past(conn, reads.writer.workspace_id, 3)
        while event := await _event(answer):
            assert event["event"] == "position"
    again = {**EVENTS, "Last-Event-ID": "0"}
    assert (await reads.get("/updates", headers=again)).status == 410


async def test_lines_up_to_the_present_end(reads: Reads) -> None:
    for _ in range(3):
        await reads.writer.events(400)
    answer = await reads.get("/updates", headers=LINES, size=1, offset=5)
    assert answer.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    *lines, last = [json.loads(line) for line in answer.raw.splitlines()]
    assert lines == [event["data"] for event in _update_events(reads, 5)]
    assert last == {"nextOffset": 1200}
    empty = await reads.get("/updates", headers=LINES, offset=1200)
    assert empty.raw == b'{"nextOffset":1200}\n'
    filtered = await reads.get("/updates", headers=LINES, entity="CUSTOMER")
    assert filtered.raw == b'{"nextOffset":1200}\n'


async def test_line_ends_of_unicode_end_no_line(reads: Reads) -> None:
    """Python's `splitlines` and Node's `readline` know more line ends than the two forms do."""
    await reads.writer.customer(externalId="a", extra="a\u2028b\u2029c\x85d \u2027\xa0€’")
    sent = _update_events(reads, 0)[0]["data"]
    line, _ = (await reads.get("/updates", headers=LINES)).raw.decode().splitlines()
    assert json.loads(line) == sent
    async with reads.stream("/updates", headers=EVENTS) as answer:
        event = (await answer.content.readuntil(b"\n\n")).decode()
    assert [part.partition(": ")[0] for part in event.splitlines()] == ["id", "event", "data", ""]
    assert json.loads(event.splitlines()[2].removeprefix("data: ")) == sent


async def test_lines_wait_until_a_while_brings_nothing(reads: Reads) -> None:
    await reads.writer.events(1)
    started = time.monotonic()
    async with reads.stream("/updates", headers=LINES, wait=1) as answer:
        lines = [json.loads(await answer.content.readline())]
        await reads.waiting(1)
        await reads.writer.events(1)
        lines += [json.loads(line) async for line in answer.content]
    assert lines == [*(event["data"] for event in _update_events(reads, 0)), {"nextOffset": 2}]
    assert time.monotonic() - started >= 1


async def test_lines_that_are_cut_don_t_look_complete(reads: Reads) -> None:
    source = await reads.source(reads.node_id)
    some = reads.acting_as(source["token"])
    await reads.writer.events(1)
    async with some.stream("/updates", headers=LINES, wait=60) as answer:
        await answer.content.readline()
        await reads.waiting(1)
        await reads.configure("DELETE", f"/sources/{source['id']}", None)
        await reads.writer.events(1)
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        ("text/html, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/X-NDJSON", "application/x-ndjson"),
        ("text/html", "application/json"),
        ("text/event-stream;q=0, application/json", "application/json"),
        ("application/x-ndjson; Q=0.000", "application/json"),
        ("application/json;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0.2, */*;q=0.1", "application/x-ndjson"),
        ("application/x-ndjson;q=best", "application/x-ndjson"),
    ],
)
async def test_accept_chooses_the_form(reads: Reads, accept: str, content_type: str) -> None:
    async with reads.stream("/updates", headers={"Accept": accept}) as answer:
        assert answer.headers["Content-Type"] == f"{content_type}; charset=utf-8"
