"""More requests than a process takes at once: refused quickly, and only those of who floods."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest

from headwater.errors import Refused
from headwater.http.gate import Gate, Place, Turns
from tests.http.pressure.conftest import CONNECTIONS, PLACES, REQUEST_BYTES
from tests.http.pressure.raw import at_work, connected, head
from tests.hub import Client, eventually

HALF = PLACES // 2


def _event(client: Client) -> bytes:
    return json.dumps(client.event()).encode()


async def test_who_floods_is_refused_and_nobody_else(crowd: Client, honest: Client) -> None:
    body = _event(crowd)
    assert (await crowd.call("POST", "/events", data=body)).status == 202  # the token is known
    async with connected(crowd) as more, at_work(crowd, HALF, body) as held:
        # by its first bytes; the body is refused before it is sent, and what comes of it is skipped
        await more.send(head(crowd, "/events", len(body), "X-Tracing-ID: mine"))
        status, headers, error = await more.answer()
        assert (status, headers["retry-after"], headers["x-tracing-id"]) == (503, "1", "mine")
        assert headers["access-control-allow-origin"] == "*"
        assert headers["content-type"] == "application/json; charset=utf-8"
        assert error == {
            "message": "try again later", "logref": error["logref"], "data": None, "errors": []
        }  # fmt: skip
        assert error["logref"]
        await more.send(body[:10])
        await more.send(body[10:])
        await more.send(head(crowd, "/events", len(body)) + body)
        assert (await more.answer())[0] == 503
        # of an unusual form: refused once it is parsed
        answer = await crowd.call("POST", "/events", data=body, headers={"Connection": "close"})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.body["message"] == "try again later"
        # health needs no place, and others have theirs
        async with crowd.http.get("/health/live") as alive:
            assert alive.status == 200
        assert (await honest.call("POST", "/events", honest.event())).status == 202
        for connection in held:
            await connection.send(body[-1:])
        assert {(await connection.answer())[0] for connection in held} == {202}
        await more.send(head(crowd, "/events", len(body)) + body)
        assert (await more.answer())[0] == 202


async def test_a_refusal_takes_no_time(crowd: Client) -> None:
    body = _event(crowd)
    assert (await crowd.call("POST", "/events", data=body)).status == 202
    request = head(crowd, "/events", len(body)) + body
    seconds = []
    async with connected(crowd) as more, at_work(crowd, HALF, body):
        for _ in range(200):
            started = time.perf_counter()
            await more.send(request)
            assert (await more.answer())[0] == 503
            seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[-3] < 0.05


async def test_places_of_clients_that_went_away_are_free_again(crowd: Client) -> None:
    body = _event(crowd)
    assert (await crowd.call("POST", "/events", data=body)).status == 202
    async with at_work(crowd, HALF, body):
        assert (await crowd.call("POST", "/events", data=body)).status == 503

    async def is_let_in() -> bool:
        return (await crowd.call("POST", "/events", data=body)).status == 202

    await eventually(is_let_in, 10, "the places to be free")


async def test_the_bytes_of_bodies_are_bounded_and_shared_out(
    crowd: Client, honest: Client
) -> None:
    # whose token is not known yet, both would ask for it, and either could be first
    assert (await crowd.call("POST", "/events", crowd.event())).status == 202
    async with connected(crowd) as first, connected(crowd) as second, connected(honest) as other:
        large = REQUEST_BYTES * 2 // 5
        for connection in (first, second):
            await connection.send(head(crowd, "/events/batch", large, "Expect: 100-continue"))
            async with asyncio.timeout(10):
                line = await connection.reader.readuntil(b"\r\n\r\n")
            assert line.startswith(b"HTTP/1.1 100")
        status, _, error = await second.answer()
        assert (status, error["message"]) == (503, "try again later")
        small = _event(honest)
        await other.send(head(honest, "/events", len(small)) + small)
        assert (await other.answer())[0] == 202


async def test_a_connection_too_many_takes_the_place_of_one_that_idles(crowd: Client) -> None:
    async with AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(crowd)) for _ in range(CONNECTIONS)]
        assert await idle[0].is_closed()
        last = await stack.enter_async_context(connected(crowd))
        body = _event(crowd)
        await last.send(head(crowd, "/events", len(body)) + body)
        assert (await last.answer())[0] == 202


def test_one_alone_gets_half_and_two_a_third_each() -> None:
    gate = Gate(places=12, size_bytes=120)

    def most(party: str) -> list[Place]:
        places = []
        while (place := gate.find_place(party)) is not None:
            place.take_bytes(10)
            places.append(place)
        return places

    first, second = most("a"), most("b")
    assert (len(first), len(second)) == (6, 3)
    for place in first[:2]:
        place.leave()
        place.leave()
    assert len(most("b")) == 1
    for place in (*first, *second):
        place.leave()
    assert gate.size_bytes == 10


def test_bytes_are_refused_beyond_the_share_and_one_request_passes() -> None:
    gate = Gate(places=10, size_bytes=100)
    large = gate.enter("a")
    large.take_bytes(1_000)
    with pytest.raises(Refused):
        gate.enter("a").take_bytes(1)
    large.leave()
    assert gate.size_bytes == 0


async def test_workspaces_take_turns() -> None:
    turns = Turns()
    order: list[str] = []

    async def work(party: str) -> None:
        await turns.take(party, 1.0)
        order.append(party)

    async with asyncio.TaskGroup() as group:
        for party in ("a", "a", "a", "a", "b", "c"):
            group.create_task(work(party))
    assert order == ["a", "b", "c", "a", "a", "a"]


async def test_what_has_begun_goes_on_before_the_next_of_its_workspace() -> None:
    turns = Turns()
    order: list[str] = []

    async def batch(name: str) -> None:
        await turns.take("a", 1.0)
        for _ in range(2):
            order.append(name)
            await turns.take("a", 1.0, goes_on=True)

    async def single() -> None:
        await turns.take("b", 1.0)
        order.append("other")

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second"):
            group.create_task(batch(name))
        group.create_task(single())
    assert order == ["first", "other", "first", "second", "second"]


async def test_a_request_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    turns = Turns()
    gone = asyncio.ensure_future(turns.take("a", 1.0))
    next_one = asyncio.ensure_future(turns.take("a", 1.0))
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(5):
        await next_one
    assert turns.waiting == 0
