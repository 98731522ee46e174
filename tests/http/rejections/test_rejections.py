"""Reading, replaying and discarding rejections (event-model 3a)."""

from __future__ import annotations

import base64
import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from headwater import clock, wire
from headwater.cli.provision import revoke_user
from headwater.domain.commands import Envelope, RecordEvent
from headwater.domain.ids import EventId, NodeId, OperationId, RejectionId, WorkspaceId
from headwater.domain.moment import format_datetime
from headwater.postgres.outcomes import Rejection, write_rejections
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings
from headwater.topics import EVENTS
from tests.http.callers import (
    FORBIDDEN,
    another_node,
    operator,
    person,
    refused,
    refused_loosely,
    source,
    untrusted,
)
from tests.hub import Client, Hub, eventually

NIL = str(uuid.UUID(int=0))


async def _rejected_event(client: Client, customer_id: str) -> str:
    """The id of an event of a customer who isn't there, once it is refused."""
    event = await client.call("POST", "/events", client.event(customerId=customer_id))
    assert event.status == 202, event

    async def kept() -> bool:
        return (await client.call("GET", f"/rejections/{event.body['id']}")).status == 200

    await eventually(kept, what="the rejection")
    return str(event.body["id"])


async def _list(client: Client, **params: str) -> list[Any]:
    answer = await client.call("GET", "/rejections", params=params)
    assert answer.status == 200, answer
    elements: list[Any] = answer.body["elements"]
    return elements


async def _status(client: Client, rejection_id: str, status: str) -> Any:
    async def has_it() -> Any:
        found = (await client.call("GET", f"/rejections/{rejection_id}")).body
        return found if found["status"] == status else None

    return await eventually(has_it, what=f"the rejection to be {status}")


async def test_a_rejection_as_it_is_shown(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    answer = await client.call("GET", f"/rejections/{event_id}")
    payload = orjson.loads(answer.body["payload"])
    assert payload == client.event(customerId=unknown_id)
    assert (answer.status, answer.body) == (
        200,
        {
            "id": event_id,
            "entity": "EVENT",
            "type": "viewedPage",
            "receivedAt": answer.body["receivedAt"],
            "reason": "customer_not_found",
            "errors": [],
            "sourceId": answer.body["sourceId"],
            "status": "OPEN",
            "payload": answer.body["payload"],
        },
    )
    listed = await client.call("GET", "/rejections")
    assert (listed.status, listed.body) == (
        200,
        {
            "elements": [answer.body],
            "page": {
                "size": 10,
                "number": 0,
                "totalElements": 1,
                "totalPages": 1,
                "totalUnfilteredElements": 1,
                "maxElements": 10_000,
                "maxPages": 1_000,
            },
        },
    )


async def test_a_source_is_not_told_how_many_others_have(client: Client, unknown_id: str) -> None:
    await _rejected_event(client, unknown_id)
    elsewhere = await source(client, node=await another_node(client))
    answer = await elsewhere.call("GET", "/rejections")
    page = answer.body["page"]
    assert (answer.body["elements"], page["totalElements"]) == ([], 0)
    assert page["totalUnfilteredElements"] == 0


async def test_filters(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    body = {"extra": "x"}
    headers = {"Prefer": "respond-async"}
    path = f"/customers/{unknown_id}"
    started = await client.call("PATCH", path, body, headers=headers)
    customer_id = started.body["operationId"]
    await eventually(lambda: _list(client, entity="CUSTOMER"))
    both = [customer_id, event_id]
    early = format_datetime(clock.now() - timedelta(hours=1))
    for params, expected in [
        ({}, both),
        ({"entity": "EVENT"}, [event_id]),
        ({"entity": "CUSTOMER"}, [customer_id]),
        ({"type": "viewedPage"}, [event_id]),
        ({"type": "clickedLink"}, []),
        ({"reason": "customer_not_found"}, both),
        ({"reason": "nope"}, []),
        ({"status": "OPEN"}, both),
        ({"status": "REPLAYED"}, []),
        ({"from": early}, both),
        ({"to": early}, []),
        ({"from": early, "entity": "EVENT", "status": "OPEN"}, [event_id]),
        ({"size": "1"}, [customer_id]),
        ({"size": "1", "page": "1"}, [event_id]),
        ({"size": "1", "page": "2"}, []),
        ({"size": "0"}, []),
    ]:
        assert [one["id"] for one in await _list(client, **params)] == expected, params
    beyond = await client.call("GET", "/rejections", params={"size": "1", "page": "7"})
    assert (beyond.body["page"]["totalElements"], beyond.body["page"]["number"]) == (2, 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("entity", "customer"),
        ("status", "open"),
        ("from", "yesterday"),
        ("to", "32"),
        ("type", "a\x00"),
        ("reason", "\x00"),
        ("size", "51"),
        ("size", "-1"),
        ("page", "x"),
    ],
)
async def test_parameters_that_are_none(client: Client, name: str, value: str) -> None:
    answer = await client.call("GET", "/rejections", params={name: value})
    refused_loosely(answer, 400, f"invalid parameter {name}")
    assert [error["path"] for error in answer.body["errors"]] == [f"/{name}"]
    if name not in {"size", "page"}:
        answer = await client.call("POST", "/rejections/replay", params={name: value})
        refused_loosely(answer, 400, f"invalid parameter {name}")


async def test_unknown_ones(client: Client, stranger: Client, unknown_id: str) -> None:
    foreign = await _rejected_event(stranger, unknown_id)
    for rejection_id in (unknown_id, "123", "%00", foreign):
        shown = rejection_id.replace("%00", "\x00")
        for method, path in [
            ("GET", f"/rejections/{rejection_id}"),
            ("DELETE", f"/rejections/{rejection_id}"),
            ("POST", f"/rejections/{rejection_id}/replay"),
        ]:
            refused(await client.call(method, path), 404, f"rejection not found {shown}")


async def test_who_may_what(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    path = f"/rejections/{event_id}"
    browser = await untrusted(client)
    refused(await browser.call("GET", "/rejections"), 403, FORBIDDEN)
    refused(await browser.call("POST", "/rejections/replay"), 403, FORBIDDEN)
    guest, admin = await person(client, "GUEST"), await person(client, "ADMIN")
    assert [one["id"] for one in await _list(guest)] == []
    assert [one["id"] for one in await _list(admin)] == [event_id]
    refused(await guest.call("POST", "/rejections/replay"), 403, FORBIDDEN)
    other = await source(client)
    assert await _list(other) == []
    refused(await other.call("GET", path), 404, f"rejection not found {event_id}")
    assert (await admin.call("DELETE", path)).status == 204


async def test_a_reader_of_the_node_may_not_replay(client: Client) -> None:
    node_id = await another_node(client)
    rejection_id = await _keep_rejection(client, payload=b"{}", node_id=client.node_id)
    reader, aside = await person(client, "USER", "R"), await source(client, node=node_id)
    path = f"/rejections/{rejection_id}"
    assert (await reader.call("GET", path)).status == 200
    refused(await reader.call("POST", f"{path}/replay"), 403, FORBIDDEN)
    refused(await reader.call("DELETE", path), 403, FORBIDDEN)
    refused(await aside.call("GET", path), 404, f"rejection not found {rejection_id}")
    many = await reader.call("POST", "/rejections/replay", params={"dryRun": "true"})
    assert (many.status, many.body) == (200, {"matched": 0, "replayed": 0})


async def test_discarded_is_not_replayed(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    answer = await client.call("DELETE", f"/rejections/{event_id}")
    assert (answer.status, answer.raw) == (204, b"")
    assert (await client.call("GET", f"/rejections/{event_id}")).body["status"] == "DISCARDED"
    assert (await client.call("DELETE", f"/rejections/{event_id}")).status == 204
    answer = await client.call("POST", f"/rejections/{event_id}/replay")
    assert (answer.status, answer.body) == (202, {"matched": 1, "replayed": 0})
    answer = await client.call("POST", "/rejections/replay")
    assert (answer.status, answer.body) == (202, {"matched": 0, "replayed": 0})
    answer = await client.call("POST", "/rejections/replay", params={"status": "DISCARDED"})
    assert (answer.status, answer.body) == (202, {"matched": 1, "replayed": 0})


async def test_refused_again_it_stays_open(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    before = (await client.call("GET", f"/rejections/{event_id}")).body
    answer = await client.call("POST", f"/rejections/{event_id}/replay")
    assert (answer.status, answer.body) == (202, {"matched": 1, "replayed": 1})
    probe = await client.call(
        "POST", "/events", client.event(customerId=unknown_id), headers={"Prefer": "wait=20"}
    )
    refused(probe, 404, f"customer not found {unknown_id}")  # of the same key, so behind the replay
    assert (await client.call("GET", f"/rejections/{event_id}")).body == before


async def test_a_write_of_somebody_who_lost_the_token_stays_open(client: Client) -> None:
    ada, admin = await person(client, "USER"), await person(client, "ADMIN")
    headers = {"Authorization": f"Bearer {ada.token}"}
    async with ada.http.get("/hub/v1/me", headers=headers) as answer:
        user_id = (await answer.json())["id"]
    payload = orjson.dumps(client.event())
    rejection_id = await _keep_rejection(
        client, payload=payload, node_id=client.node_id, caller=f"user:{user_id}"
    )
    await revoke_user(client.hub.postgres.url, user_id)
    replayed = await admin.call("POST", f"/rejections/{rejection_id}/replay")
    assert (replayed.status, replayed.body) == (202, {"matched": 1, "replayed": 1})

    async def refused_again() -> bool:
        found = (await admin.call("GET", f"/rejections/{rejection_id}")).body
        return bool((found["status"], found["reason"]) == ("OPEN", "not_authorized"))

    await eventually(refused_again)
    assert await client.feed() == []


async def test_dry_runs_do_nothing(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    for path in (f"/rejections/{event_id}/replay", "/rejections/replay"):
        answer = await client.call("POST", path, params={"dryRun": "true"})
        assert (answer.status, answer.body) == (200, {"matched": 1, "replayed": 0})
        answer = await client.call("POST", path, params={"dryRun": "maybe"})
        explanation = ("'maybe' is not true or false", "/dryRun")
        refused(answer, 400, "invalid parameter dryRun", explanation)


async def test_what_is_asked_in_the_body_counts(client: Client, unknown_id: str) -> None:
    event_id = await _rejected_event(client, unknown_id)
    for path in (f"/rejections/{event_id}/replay", "/rejections/replay"):
        for body in ({"dryRun": True}, {"dryRun": "true"}):
            answer = await client.call("POST", path, body)
            assert (answer.status, answer.body) == (200, {"matched": 1, "replayed": 0})
        answer = await client.call("POST", path, {"dryrun": True})
        fault = ("property is not defined", "/dryrun")
        refused(answer, 400, "source replay is not valid", fault)
        answer = await client.call("POST", path, {"dryRun": 1})
        refused(answer, 400, "invalid parameter dryRun", ("expected type string", "/dryRun"))
        answer = await client.call("POST", path, {"dryRun": True}, params={"dryRun": "false"})
        fault = ("the body says something else than the query", "/dryRun")
        refused(answer, 400, "invalid parameter dryRun", fault)
        fault = ("expected type object", "")
        refused(await client.call("POST", path, []), 400, "source replay is not valid", fault)
        answer = await client.call("POST", path, data=b"{")
        assert (answer.status, answer.body["message"]) == (400, "malformed JSON")
    for filters, matched in (
        ({"entity": "EVENT", "status": None}, 1),
        ({"entity": "CUSTOMER"}, 0),
        ({"type": "viewedPage", "to": "2020-01-01T00:00:00Z"}, 0),
    ):
        answer = await client.call("POST", "/rejections/replay", {**filters, "dryRun": True})
        assert (answer.status, answer.body) == (200, {"matched": matched, "replayed": 0})
    answer = await client.call("POST", "/rejections/replay", {"entity": "SHOP"})
    refused(answer, 400, "invalid parameter entity", ("expected CUSTOMER or EVENT", "/entity"))
    answer = await client.call("POST", "/rejections/replay", {"reason": "nothing_like_it"})
    assert (answer.status, answer.body) == (202, {"matched": 0, "replayed": 0})
    answer = await client.call("POST", "/rejections/replay", {})
    assert (answer.status, answer.body) == (202, {"matched": 1, "replayed": 1})


async def test_many_are_replayed_in_pages_and_in_order(client: Client) -> None:
    """Rejections of events that would be good now: 250 are three pages."""
    first_at = clock.now() - timedelta(hours=1)
    ids = []
    for number in range(250):
        event = client.event(properties={"title": str(number)})
        ids.append(
            await _keep_rejection(
                client,
                payload=orjson.dumps(event),
                node_id=client.node_id,
                received_at=first_at + timedelta(seconds=number // 2),
            )
        )
    broken = await _keep_rejection(
        client, payload=b"\xff", node_id=client.node_id, envelope=b"broken"
    )
    answer = await client.call("POST", "/rejections/replay", params={"dryRun": "true"})
    assert (answer.status, answer.body) == (200, {"matched": 251, "replayed": 0})
    answer = await client.call("POST", "/rejections/replay")
    assert (answer.status, answer.body) == (202, {"matched": 251, "replayed": 250})
    updates = await client.feed_of(250)
    titles = [int(one["entity"]["data"]["properties"]["title"]) // 2 for one in updates]
    assert titles == sorted(titles)
    assert {one["entity"]["data"]["id"] for one in updates} == set(ids)
    (left,) = await _list(client, status="OPEN")
    assert (left["id"], left["payloadBase64"], "payload" in left) == (broken, "/w==", False)
    again = await client.call("POST", "/rejections/replay")
    assert (again.status, again.body) == (202, {"matched": 1, "replayed": 0})
    assert len(await client.feed()) == 250


async def test_what_names_no_workspace_is_the_operators(hub: Hub, client: Client) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=hub.kafka.bootstrap)
    await producer.start()
    try:
        value = uuid.uuid4().bytes
        await producer.send_and_wait(EVENTS, value, partition=0)
    finally:
        await producer.stop()
    above = operator(client)
    nobody = Client(hub, client.http, NIL, client.node_id, above.token)

    async def kept() -> Any:
        found = await _list(nobody)
        return next((one for one in found if _bytes_of(one) == value), None)

    rejection = await eventually(kept)
    assert (rejection["reason"], rejection["sourceId"]) == ("internal_error", None)
    assert (rejection["status"], rejection["entity"]) == ("OPEN", "CUSTOMER")
    path = f"/rejections/{rejection['id']}"
    assert (await nobody.call("GET", path)).body == rejection
    answer = await nobody.call("POST", f"{path}/replay")
    assert (answer.status, answer.body) == (202, {"matched": 1, "replayed": 0})
    assert (await nobody.call("DELETE", path)).status == 204
    source_there = Client(hub, client.http, NIL, client.node_id, client.token)
    refused(await source_there.call("GET", path), 403, f"workspace not found: {NIL}")


def _bytes_of(rejection: Any) -> bytes:
    if "payloadBase64" in rejection:
        return base64.b64decode(rejection["payloadBase64"])
    payload: str = rejection["payload"]
    return payload.encode()


async def _keep_rejection(
    client: Client,
    *,
    payload: bytes,
    node_id: str,
    envelope: bytes | None = None,
    received_at: Any = None,
    caller: str = "user:1",
) -> str:
    """A kept refusal of an event, as the processor writes it; returns its id."""
    event_id = EventId(uuid.uuid4())
    received_at = received_at or clock.now()
    if envelope is None:
        command = RecordEvent(
            envelope=Envelope(
                workspace_id=WorkspaceId(uuid.UUID(client.workspace_id)),
                operation_id=OperationId(event_id),
                caller=caller,
                accepted_at=received_at,
                tracing_id="test",
                fingerprint="0" * 32,
            ),
            event_id=event_id,
            body=payload,
        )
        envelope = wire.header_of(wire.encode(command)[0])
    rejection = Rejection(
        id=RejectionId(event_id),
        entity_type="EVENT",
        type="viewedPage",
        node_id=NodeId(uuid.UUID(node_id)),
        reason="event_not_valid",
        status=400,
        message="source event is not valid",
        errors=[],
        caller=caller,
        received_at=received_at,
        envelope=envelope,
        payload=payload,
    )
    pool = await open_pool(PostgresSettings(database_url=client.hub.postgres.url), max_size=1)
    try:
        async with pool.transaction() as conn:
            workspace_id = WorkspaceId(uuid.UUID(client.workspace_id))
            await write_rejections(conn, workspace_id, [rejection], received_at)
    finally:
        await pool.close()
    return str(event_id)
