"""POST /workspaces/{ws}/events. Source: contacthub 2.12 and 3.10, event-model 1 to 3."""

from __future__ import annotations

import asyncio
import socket
import struct
import uuid
from typing import Any

import orjson
import pytest

from tests.http.callers import refused
from tests.hub import Client, eventually

REUSED = (422, "idempotency key reused")


async def _post(client: Client, event: Any, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.call("POST", "/events", event, headers=named)


async def test_an_event_is_answered_with_its_id_and_nothing_else(client: Client) -> None:
    answer = await _post(client, client.event())
    assert answer.status == 202
    assert list(answer.body) == ["id"]
    assert str(uuid.UUID(answer.body["id"])) == answer.body["id"]
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_each_event_has_an_id_of_its_own_even_if_equal(client: Client) -> None:
    answers = await asyncio.gather(*(_post(client, client.event()) for _ in range(20)))
    assert len({answer.body["id"] for answer in answers}) == 20
    assert len(await client.feed_of(20)) == 20


async def test_another_body_under_a_key_is_refused_before_the_first_is_stored(
    client: Client,
) -> None:
    first = await _post(client, client.event(), Idempotency_Key="k")
    assert first.status == 202
    other = await _post(client, client.event(date="2020-01-01"), Idempotency_Key="k")
    assert (other.status, other.body["message"]) == REUSED
    again = await _post(client, client.event(), Idempotency_Key="k")
    assert (again.status, again.body) == (202, first.body)
    await client.feed_of(1)
    later = await _post(client, client.event(date="2020-01-01"), Idempotency_Key="k")
    assert (later.status, later.body["message"]) == REUSED
    assert len(await client.feed()) == 1
    assert (await client.call("GET", "/rejections")).body["page"]["totalElements"] == 0


async def test_of_two_bodies_at_once_under_a_key_one_is_accepted(client: Client) -> None:
    events = [client.event(), client.event(date="2020-01-01")]
    answers = await asyncio.gather(
        *(_post(client, events[n % 2], Idempotency_Key="k") for n in range(10))
    )
    accepted = {answer.body["id"] for answer in answers if answer.status == 202}
    assert len(accepted) == 1
    assert sorted(answer.status for answer in answers) == [202] * 5 + [422] * 5
    assert len(await client.feed_of(1)) == 1


async def test_keys_belong_to_a_source_and_a_workspace(client: Client, stranger: Client) -> None:
    mine = await _post(client, client.event(), Idempotency_Key="k")
    theirs = await _post(stranger, stranger.event(), Idempotency_Key="k")
    assert (mine.status, theirs.status) == (202, 202)
    assert mine.body["id"] != theirs.body["id"]


async def test_a_refused_event_does_not_use_its_key_up(client: Client) -> None:
    refused = await _post(client, client.event(type="noSuchType"), Idempotency_Key="k")
    assert refused.status == 400
    assert (await _post(client, client.event(), Idempotency_Key="k")).status == 202


async def test_a_key_in_the_body_of_a_single_event_is_refused(client: Client) -> None:
    """It is a member of batch items; here it would protect from nothing."""
    answer = await _post(client, {**client.event(), "idempotencyKey": "k"})
    fault = ("property is not defined", "/idempotencyKey")
    refused(answer, 400, "source event is not valid", fault)


async def test_a_key_of_an_asynchronous_write_is_checked_at_once(client: Client) -> None:
    headers = {"Idempotency-Key": "k", "Prefer": "respond-async"}
    bodies = [{"nodeId": client.node_id, "externalId": name} for name in ("a", "b")]
    first = await client.call("POST", "/customers", bodies[0], headers=headers)
    other = await client.call("POST", "/customers", bodies[1], headers=headers)
    assert first.status == 202
    assert (other.status, other.body["message"]) == REUSED


def _request(client: Client, path: str, body: bytes, key: str | None) -> bytes:
    lines = [
        f"POST {client.path(path)} HTTP/1.1",
        "Host: hub",
        f"Authorization: Bearer {client.token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([] if key is None else [f"Idempotency-Key: {key}"]),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _send_and_cut(port: int, raw: bytes) -> None:
    """Send and reset the connection at once, as a client does that crashes."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sendall(raw)


@pytest.mark.parametrize("share", [0.1, 0.9, 1.0])
async def test_a_cut_connection_neither_loses_nor_doubles_an_event(
    client: Client, share: float
) -> None:
    events = {f"k{n}": client.event(properties={"title": f"t{n}"}) for n in range(30)}
    bodies = {key: orjson.dumps(event) for key, event in events.items()}
    for key, body in bodies.items():
        raw = _request(client, "/events", body, key)
        await asyncio.to_thread(_send_and_cut, client.hub.port, raw[: int(len(raw) * share)])
    answers = {
        key: await client.call("POST", "/events", data=body, headers={"Idempotency-Key": key})
        for key, body in bodies.items()
    }
    assert {answer.status for answer in answers.values()} == {202}
    updates = await client.feed_of(30)
    stored = {u["entity"]["data"]["id"]: u["entity"]["data"]["properties"] for u in updates}
    assert len(updates) == len(stored) == 30
    assert stored == {a.body["id"]: events[key]["properties"] for key, a in answers.items()}


async def test_an_event_cut_in_its_body_is_not_stored(client: Client) -> None:
    for number in range(20):
        event = client.event(properties={"title": f"cut {number}"})
        raw = _request(client, "/events", orjson.dumps(event), None)
        await asyncio.to_thread(_send_and_cut, client.hub.port, raw[:-1])
    last = await _post(client, client.event(properties={"title": "whole"}))
    updates = await client.feed_of(1)
    assert [u["entity"]["data"]["id"] for u in updates] == [last.body["id"]]


async def test_a_client_that_goes_away_before_its_answer_has_written_once(client: Client) -> None:
    titles = [f"gone {n}" for n in range(30)]
    for title in titles:
        raw = _request(
            client, "/events", orjson.dumps(client.event(properties={"title": title})), None
        )
        await asyncio.to_thread(_send_and_cut, client.hub.port, raw)
    await _post(client, client.event(properties={"title": "last"}))

    async def last_is_there() -> bool:
        updates = await client.feed()
        return any(u["entity"]["data"]["properties"]["title"] == "last" for u in updates)

    await eventually(last_is_there, what="the event after those that were cut")
    got = [u["entity"]["data"]["properties"]["title"] for u in await client.feed()]
    assert len(got) == len(set(got))
    assert set(got) <= {*titles, "last"}


async def test_a_repetition_that_waits_is_answered_with_the_event(client: Client) -> None:
    key = {"Idempotency-Key": "k", "Prefer": "wait=10"}
    first = await client.call("POST", "/events", client.event(), headers=key)
    assert first.status == 201
    again = await client.call("POST", "/events", client.event(), headers=key)
    assert (again.status, again.raw) == (201, first.raw)
    owner = await client.customer(externalId="a1")  # attaches it: a second version
    answer = await client.call("POST", f"/customers/{owner['id']}/sessions", {"value": "s1"})
    assert answer.status == 201
    attached = await client.call("GET", f"/events/{first.body['id']}")
    assert attached.body["version"] == 1
    again = await client.call("POST", "/events", client.event(), headers=key)
    assert (again.status, again.raw) == (201, first.raw)
