"""Operations 20 and 21: at most so many requests of a workspace in any minute."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.http.throttle import MINUTE, Window
from tests.http.callers import FORBIDDEN, refused, source
from tests.hub import OPERATOR_TOKEN, Answer, Client

OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
PATH = "/configuration/throttling"


async def _limit(client: Client, requests: int) -> None:
    body = {"maxRequestsPerMinute": requests}
    answer = await client.call("PUT", PATH, body, headers=OPERATOR)
    assert (answer.status, answer.body) == (200, body)


async def _read(client: Client) -> Answer:
    return await client.call("GET", "/updates/last-offset")


async def test_it_is_off_until_somebody_sets_it(client: Client) -> None:
    answer = await client.call("GET", PATH, headers=OPERATOR)
    assert (answer.status, answer.body) == (200, {"maxRequestsPerMinute": 0})
    await _limit(client, 7)
    answer = await client.call("GET", PATH, headers=OPERATOR)
    assert answer.body == {"maxRequestsPerMinute": 7}
    refused(await client.call("GET", PATH), 403, FORBIDDEN)


@pytest.mark.parametrize(
    ("body", "message", "path"),
    [
        ({}, "required property is missing", "/maxRequestsPerMinute"),
        ({"maxRequestsPerMinute": None}, "required property is missing", "/maxRequestsPerMinute"),
        ({"maxRequestsPerMinute": -1}, "minimum is 0", "/maxRequestsPerMinute"),
        ({"maxRequestsPerMinute": 2**31}, "maximum is 2147483647", "/maxRequestsPerMinute"),
        ({"maxRequestsPerMinute": "9"}, "expected type integer", "/maxRequestsPerMinute"),
        ({"maxRequestsPerMinute": 1.5}, "expected type integer", "/maxRequestsPerMinute"),
        ({"maxRequestsPerMinute": 1, "burst": 2}, "property is not defined", "/burst"),
        ([1], "expected type object", ""),
    ],
)
async def test_what_is_no_limit_is_refused(
    client: Client, body: Any, message: str, path: str
) -> None:
    answer = await client.call("PUT", PATH, body, headers=OPERATOR)
    refused(answer, 400, "source throttling is not valid", (message, path))
    assert (await client.call("GET", PATH, headers=OPERATOR)).body["maxRequestsPerMinute"] == 0


async def test_a_request_too_many_is_refused_whoever_of_the_workspace_makes_it(
    client: Client, stranger: Client
) -> None:
    other = await source(client)
    await _limit(client, 3)
    assert (await _read(client)).status == 200
    assert (await other.call("POST", "/events", client.event())).status == 202
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.http.get("/hub/v1/me", headers=headers) as me:
        assert me.status == 200
    for caller in (client, other):
        answer = await _read(caller)
        refused(answer, 429, "Too many requests")
        assert 1 <= int(answer.headers["Retry-After"]) <= MINUTE + 1
    async with client.http.get("/hub/v1/me", headers=headers) as me:
        assert me.status == 429
    # neither another workspace nor the operator, who can raise the limit
    assert (await _read(stranger)).status == 200
    for _ in range(5):
        answer = await client.call("GET", "/updates/last-offset", headers=OPERATOR)
        assert answer.status == 200
    await _limit(client, 4)
    assert (await _read(client)).status == 200
    assert (await _read(client)).status == 429
    await _limit(client, 0)
    assert (await _read(client)).status == 200


async def test_the_throttle_has_its_place_among_the_checks(client: Client) -> None:
    await _limit(client, 1)
    assert (await _read(client)).status == 200
    # before it: the route, the token, the workspace
    assert (await client.call("GET", "/nowhere")).status == 404
    assert (await client.call("PUT", "/events", {})).status == 405
    assert (await client.call("GET", "/events", headers={"Authorization": "x"})).status == 401
    elsewhere = f"/hub/v1/workspaces/{uuid.uuid4()}/events"
    token = {"Authorization": f"Bearer {client.token}"}
    async with client.http.get(elsewhere, headers=token) as foreign:
        assert foreign.status == 403
    # behind it: what the path names, the role, the body
    some = uuid.uuid4()
    assert (await client.call("GET", f"/customers/{some}")).status == 429
    assert (await client.call("GET", f"/configuration/nodes/entries/{some}")).status == 429
    assert (await client.call("PUT", "/configuration", {"name": "x"})).status == 429
    assert (await client.call("POST", "/events", data=b"{")).status == 429
    answer = await client.call("POST", "/events", data=b"x", headers={"Content-Type": "text/plain"})
    assert answer.status == 429
    status = await client.call("PUT", "/status", {"status": "SUSPENDED"}, headers=OPERATOR)
    assert status.status == 200
    assert (await client.call("POST", "/events", client.event())).status == 403


async def test_a_follower_is_one_request_however_often_it_is_woken(client: Client) -> None:
    await _limit(client, 4)
    headers = {"Authorization": f"Bearer {client.token}", "Accept": "text/event-stream"}
    async with client.http.get(client.path("/updates"), headers=headers) as stream:
        assert stream.status == 200
        for number in range(3):
            event = client.event(bringBackProperties=_back(client, number))
            assert (await client.call("POST", "/events", event)).status == 202
            while b"event: update" not in await stream.content.readline():
                pass
        assert (await _read(client)).status == 429


def _back(client: Client, number: int) -> dict[str, Any]:
    return {"type": "SESSION_ID", "value": f"s{number}", "nodeId": client.node_id}


@given(
    limit=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=80),
)
def test_no_minute_has_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    window, now = Window(), 1000.0
    admitted: list[float] = []
    for pause in pauses:
        now += pause
        seconds = window.admit(limit, now)
        if seconds is None:
            admitted.append(now)
        else:
            assert 1 <= seconds <= MINUTE + 1
            later = Window()
            later._seconds.extend([list(pair) for pair in window._seconds])
            later.own = window.own
            assert later.admit(limit, now + seconds) is None
    for at in admitted:
        assert sum(1 for other in admitted if at - MINUTE < other <= at) <= limit
