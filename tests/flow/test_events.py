"""Events through everything: accepted, brought back, rejected, replayed."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.hub import Client, eventually


async def _status(client: Client, event_id: str, wanted: str) -> Any:
    async def there() -> Any:
        answer = await client.call("GET", f"/events/{event_id}/status")
        return answer.body if answer.body["status"] == wanted else None

    return await eventually(there, what=f"status {wanted}")


async def test_an_event_is_accepted_then_stored(client: Client) -> None:
    customer = await client.customer(externalId="a1")
    answer = await client.call("POST", "/events", client.event(customerId=customer["id"]))
    assert answer.status == 202
    assert list(answer.body) == ["id"]
    await _status(client, answer.body["id"], "STORED")
    event = (await client.call("GET", f"/events/{answer.body['id']}")).body
    assert event["customerId"] == customer["id"]
    assert event["properties"] == {"url": "https://example.com/"}
    updates = await client.feed_of(2)
    assert updates[1] == {"operation": "CREATE", "entity": {"type": "EVENT", "data": event}}


async def test_a_session_attaches_the_events_that_waited(client: Client) -> None:
    event = await client.call("POST", "/events", client.event(), headers={"Prefer": "wait=10"})
    assert event.status == 201
    assert event.body["customerId"] is None
    customer = await client.customer(externalId="a1")
    session = await client.call("POST", f"/customers/{customer['id']}/sessions", {"value": "s1"})
    assert session.status == 201
    assert session.body["value"] == "s1"
    again = await client.call("POST", f"/customers/{customer['id']}/sessions", {"value": "s1"})
    assert again.body == session.body
    attached = (await client.call("GET", f"/events/{event.body['id']}")).body
    assert attached["customerId"] == customer["id"]
    assert attached["version"] == 1
    updates = await client.feed()
    assert [u["operation"] for u in updates] == ["CREATE", "CREATE", "UPDATE"]
    assert updates[0]["entity"]["data"] == event.body
    assert updates[2]["entity"]["data"] == attached
    later = await client.call("POST", "/events", client.event(), headers={"Prefer": "wait=10"})
    assert later.body["customerId"] == customer["id"]
    other = await client.customer(externalId="b1")
    taken = await client.call("POST", f"/customers/{other['id']}/sessions", {"value": "s1"})
    assert taken.status == 409
    assert taken.body["message"] == "Conflict: session already assigned"


async def test_events_that_race_with_their_customer_are_all_attached(client: Client) -> None:
    back = {"type": "EXTERNAL_ID", "value": "late", "nodeId": client.node_id}
    events = [
        client.call("POST", "/events", client.event(bringBackProperties=back)) for _ in range(60)
    ]
    customer = client.customer(externalId="late")
    *accepted, made = await asyncio.gather(*events[:30], *events[30:], customer)
    assert {answer.status for answer in accepted} == {202}

    async def all_attached() -> bool:
        found = await client.call("GET", "/events", params={"customerId": made["id"], "size": "1"})
        return bool(found.body["page"]["totalElements"] == 60)

    await eventually(all_attached, what="60 events of the customer")


async def test_an_idempotency_key_makes_one_event(client: Client) -> None:
    event, headers = client.event(), {"Idempotency-Key": "k1"}
    first = await client.call("POST", "/events", event, headers=headers)
    second = await client.call("POST", "/events", event, headers=headers)
    assert first.body == second.body
    await _status(client, first.body["id"], "ANONYMOUS")
    waited = await client.call("POST", "/events", event, headers={**headers, "Prefer": "wait=5"})
    assert waited.status == 201
    assert waited.body["id"] == first.body["id"]
    assert len(await client.feed()) == 1
    reused = await client.call("POST", "/events", client.event(date="2020-01-01"), headers=headers)
    assert (reused.status, reused.body["message"]) == (422, "idempotency key reused")


async def test_an_idempotency_key_gives_a_delete_its_first_answer(client: Client) -> None:
    made = await client.customer(externalId="a1")
    headers = {"Idempotency-Key": "gone"}
    for _ in range(2):
        answer = await client.call("DELETE", f"/customers/{made['id']}", headers=headers)
        assert (answer.status, answer.raw) == (200, b"")


async def test_an_event_of_an_unknown_customer_is_kept_and_can_be_replayed(client: Client) -> None:
    missing = str(uuid.uuid4())
    refused = await client.call(
        "POST", "/events", client.event(customerId=missing), headers={"Prefer": "wait=10"}
    )
    assert (refused.status, refused.body["message"]) == (404, f"customer not found {missing}")
    answer = await client.call("POST", "/events", client.event(customerId=missing))
    assert answer.status == 202
    status = await _status(client, answer.body["id"], "FAILED")
    assert status["reason"] == f"customer not found {missing}"
    listed = (await client.call("GET", "/rejections")).body
    assert [r["id"] for r in listed["elements"]] == [answer.body["id"]]
    path = f"/rejections/{answer.body['id']}"
    rejection = (await client.call("GET", path)).body
    assert rejection["status"] == "OPEN"
    assert rejection["payload"].startswith('{"type":')
    dry = await client.call("POST", "/rejections/replay", params={"dryRun": "true"})
    assert (dry.status, dry.body) == (200, {"matched": 1, "replayed": 0})
    replayed = await client.call("POST", f"{path}/replay")
    assert (replayed.status, replayed.body) == (202, {"matched": 1, "replayed": 1})
    discarded = await client.call("DELETE", path)
    assert discarded.status == 204
    assert (await client.call("GET", path)).body["status"] == "DISCARDED"
    assert await client.feed() == []


async def test_a_batch_of_events_accepts_the_good_ones(client: Client) -> None:
    good, bad = client.event(), client.event(type="noSuchType")
    answer = await client.call("POST", "/events/batch", {"events": [good, bad, good]})
    assert answer.status == 202
    assert [result["status"] for result in answer.body["results"]] == [202, 400, 202]
    assert len(await client.feed_of(2)) == 2
    lines = b'{"broken\n' + b'{"type":"loggedIn"}\n'
    answer = await client.call(
        "POST", "/events/batch", data=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert [result["status"] for result in answer.body["results"]] == [400, 400]


async def test_an_asynchronous_write_can_be_followed(client: Client) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    answer = await client.call("POST", "/customers", body, headers={"Prefer": "respond-async"})
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    path = f"/operations/{answer.body['operationId']}"
    assert answer.headers["Location"].endswith(path)

    async def applied() -> Any:
        operation = (await client.call("GET", path)).body
        return operation if operation["status"] == "APPLIED" else None

    operation = await eventually(applied)
    assert operation["entity"]["type"] == "CUSTOMER"
    assert (await client.call("GET", f"/customers/{operation['entity']['id']}")).status == 200
