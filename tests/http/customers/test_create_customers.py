"""POST /workspaces/{ws}/customers/batch (event-model 3a)."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import orjson
import pytest

from tests.http.callers import FORBIDDEN, person, raw_call, refused, refused_loosely, untrusted
from tests.hub import Answer, Client, Hub, eventually, make_client

INVALID = "source batch is not valid"


def _items(client: Client, *external_ids: str) -> list[dict[str, Any]]:
    return [{"nodeId": client.node_id, "externalId": name} for name in external_ids]


async def _post(client: Client, items: Any, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.call("POST", "/customers/batch", {"customers": items}, headers=names)


async def _found(client: Client) -> list[str]:
    answer = await client.call("GET", "/customers", params={"nodeId": client.node_id, "size": "50"})
    return sorted(customer["externalId"] for customer in answer.body["elements"])


def _error(item: dict[str, Any]) -> tuple[int, str, list[tuple[str, str]]]:
    assert set(item) == {"status", "error"}
    error = item["error"]
    assert (set(error), error["data"]) == ({"message", "logref", "data", "errors"}, None)
    return (
        item["status"],
        error["message"],
        [(one["message"], one["path"]) for one in error["errors"]],
    )


async def test_every_item_has_its_outcome_in_request_order(client: Client) -> None:
    first, again = _items(client, "a1", "A1")
    aside = {"nodeId": client.hub.url, "externalId": "b1"}
    too_long = {**_items(client, "c1")[0], "extra": "x" * 65_536}
    items = [
        first,
        {"nodeId": client.node_id},
        again,
        5,
        {**first, "surprise": 1},
        aside,
        too_long,
        {**first, "extra": "a\x00"},
        {**first, "idempotencyKey": "ü"},
    ]
    answer = await _post(client, items)
    assert answer.status == 200
    assert (answer.body["accepted"], answer.body["rejected"]) == (2, 7)
    results = answer.body["results"]
    assert results[0] == results[2] == {"status": 201, "id": results[0]["id"]}
    invalid = "source customer is not valid"
    assert [_error(results[place]) for place in (1, 3, 4, 5, 6, 7, 8)] == [
        (400, invalid, [("unique customer property is required", "/externalId")]),
        (400, invalid, [("expected type object", "")]),
        (400, invalid, [("property is not defined", "/surprise")]),
        (404, f"node not found {client.hub.url}", []),
        (413, "payload exceeds 65535 bytes", []),
        (400, invalid, [("character not allowed", "/extra")]),
        (400, invalid, [("expected 1 to 255 printable ASCII characters", "/idempotencyKey")]),
    ]
    read = await client.call("GET", f"/customers/{results[0]['id']}")
    assert (read.body["externalId"], read.body["version"]) == ("A1", 1)
    assert (await client.call("GET", "/rejections")).body["elements"] == []


async def test_items_are_applied_in_request_order(client: Client) -> None:
    items = [
        {"nodeId": client.node_id, "externalId": name, "extra": str(number)}
        for number in range(100)
        for name in ("a1", "b1", "c1")
    ]
    answer = await _post(client, items)
    assert (answer.status, answer.body["accepted"]) == (200, 300)
    for result in answer.body["results"][:3]:
        read = await client.call("GET", f"/customers/{result['id']}")
        assert (read.body["extra"], read.body["version"]) == ("99", 99)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], ("expected type object", "")),
        ({}, ("required property is missing", "/customers")),
        ({"customers": None}, ("required property is missing", "/customers")),
        ({"customers": {}}, ("expected type array", "/customers")),
        ({"customers": []}, ("expected 1 to 1000 items, not 0", "/customers")),
        ({"customers": [1] * 1001}, ("expected 1 to 1000 items, not 1001", "/customers")),
        ({"customers": [1], "a/b": 1}, ("property is not defined", "/a~1b")),
    ],
)
async def test_a_body_that_is_no_batch(client: Client, body: Any, error: tuple[str, str]) -> None:
    answer = await client.call("POST", "/customers/batch", body)
    refused(answer, 400, INVALID, error)


async def test_a_batch_over_the_limit(client: Client) -> None:
    whole = orjson.dumps({"customers": _items(client, "a1")})
    fitting = whole + b" " * (5_242_880 - len(whole))
    answer = await raw_call(client, "POST", "/customers/batch", data=BytesIO(fitting))
    assert answer.status == 200
    answer = await raw_call(client, "POST", "/customers/batch", data=BytesIO(fitting + b" "))
    refused(answer, 413, "payload exceeds 5242880 bytes")


async def test_who_may_post_one(client: Client) -> None:
    browser, guest = await untrusted(client), await person(client, "GUEST")
    answer = await _post(browser, _items(client, "a1"))
    (result,) = answer.body["results"]
    assert (answer.status, result) == (200, {"status": 201, "id": result["id"]})
    refused(await _post(guest, _items(client, "a1")), 403, FORBIDDEN)


async def test_a_key_is_the_batchs(client: Client) -> None:
    items = [*_items(client, "a1", "b1"), 5]
    first = await _post(client, items, Idempotency_Key="k")
    again = await _post(client, items, Idempotency_Key="k")
    assert [result.get("id") for result in again.body["results"]] == [
        result.get("id") for result in first.body["results"]
    ]
    assert (again.status, again.body["accepted"], again.body["rejected"]) == (200, 2, 1)
    assert [u["operation"] for u in await client.feed()] == ["CREATE", "CREATE"]


async def test_a_key_repeats_also_what_never_matches(hub: Hub) -> None:
    async with make_client(hub, unique=[]) as client:
        items = _items(client, "a1", "a1")
        first = await _post(client, items, Idempotency_Key="k")
        again = await _post(client, items, Idempotency_Key="k")
        assert again.body == first.body
        assert await _found(client) == ["a1", "a1"]


async def test_a_key_with_another_body_is_refused_as_a_whole(client: Client) -> None:
    await _post(client, [5, *_items(client, "a1")], Idempotency_Key="k")
    for items in (
        _items(client, "b1"),
        _items(client, "b1", "b2", "b3"),
        [5, 5, *_items(client, "b1")],
    ):
        answer = await _post(client, items, Idempotency_Key="k")
        refused(answer, 422, "idempotency key reused")
    assert await _found(client) == ["a1"]


async def test_a_longer_shorter_or_changed_batch_under_a_key_is_refused(client: Client) -> None:
    items = _items(client, *"abcdef")
    first = await _post(client, items, Idempotency_Key="k")
    assert (first.status, first.body["accepted"]) == (200, 6)
    for changed in (
        [*items, *_items(client, "more")],
        items[:2],
        [*items[:5], {**items[5], "extra": "x"}],
    ):
        answer = await _post(client, changed, Idempotency_Key="k")
        refused(answer, 422, "idempotency key reused")
    again = await _post(client, items, Idempotency_Key="k")
    assert (again.status, again.body) == (200, first.body)
    assert len(await client.feed()) == 6


async def test_of_two_batches_at_once_under_a_key_one_is_applied(client: Client) -> None:
    batches = [_items(client, *"abcd"), _items(client, *"efghijkl")]
    answers = await asyncio.gather(
        *(_post(client, batches[number % 2], Idempotency_Key="k") for number in range(6))
    )
    assert sorted(answer.status for answer in answers) == [200] * 3 + [422] * 3
    (count,) = {len(answer.body["results"]) for answer in answers if answer.status == 200}
    assert await _found(client) == list("abcd" if count == 4 else "efghijkl")


async def test_of_two_batches_that_slipped_through_under_a_key_one_is_applied(
    hub: Hub, client: Client
) -> None:
    one, other = _items(client, *"abcd"), _items(client, *"efghijkl")
    await asyncio.to_thread(hub.stop_processor)
    first = await _post(client, one, Idempotency_Key="k", Prefer="respond-async")
    assert (first.status, first.body["accepted"]) == (202, 4)
    await asyncio.to_thread(hub.kill_web)  # with what it remembers of the key
    hub.start_web()
    waiting = asyncio.create_task(_post(client, other, Idempotency_Key="k"))
    hub.start_processor()
    second = await waiting
    if second.status == 200:
        assert second.body["accepted"] == 8
        assert await _found(client) == list("efghijkl")
    else:
        refused(second, 422, "idempotency key reused")
        operations = [result["operationId"] for result in first.body["results"]]

        async def applied() -> bool:
            states = [await client.call("GET", f"/operations/{id_}") for id_ in operations]
            return [state.body["status"] for state in states] == ["APPLIED"] * 4

        await eventually(applied, what="the first batch to be applied")
        assert await _found(client) == list("abcd")


async def test_a_key_is_not_used_up_by_what_the_front_door_refuses(client: Client) -> None:
    refused(
        await _post(client, [], Idempotency_Key="k"),
        400,
        INVALID,
        ("expected 1 to 1000 items, not 0", "/customers"),
    )
    assert (await _post(client, [5], Idempotency_Key="k")).body["rejected"] == 1
    answer = await _post(client, _items(client, "a1"), Idempotency_Key="k")
    assert (answer.status, answer.body["accepted"]) == (200, 1)


async def test_a_key_of_a_single_write_is_none_of_a_batch(client: Client) -> None:
    single = await client.call(
        "POST", "/customers", _items(client, "a1")[0], headers={"Idempotency-Key": "k"}
    )
    assert single.status == 201
    answer = await _post(client, _items(client, "a1"), Idempotency_Key="k")
    refused(answer, 422, "idempotency key reused")


async def test_items_have_keys_of_their_own(hub: Hub) -> None:
    async with make_client(hub, unique=[]) as client:
        one, two = _items(client, "a1", "b1")
        first = await _post(client, [{**one, "idempotencyKey": "k1"}, two])
        again = await _post(client, [two, {**one, "idempotencyKey": "k1"}])
        assert again.body["results"][1] == first.body["results"][0]
        assert again.body["results"][0]["id"] != first.body["results"][1]["id"]
        other = await _post(client, [{**two, "idempotencyKey": "k1"}, one])
        assert _error(other.body["results"][0]) == (422, "idempotency key reused", [])
        assert other.body["results"][1]["status"] == 201
        read = await client.call("GET", f"/customers/{first.body['results'][0]['id']}")
        assert "idempotencyKey" not in read.body


async def test_of_items_under_one_key_the_first_counts(client: Client) -> None:
    # many, as the customers of a key go to different partitions, in no order
    numbers = range(10)
    items = [
        {**item, "idempotencyKey": f"k{number}"}
        for number in numbers
        for item in _items(client, f"a{number}", f"b{number}", f"a{number}")
    ]
    answer = await _post(client, items)
    results = answer.body["results"]
    assert [result["status"] for result in results] == [201, 422, 201] * 10
    assert results[0::3] == results[2::3]
    assert _error(results[1]) == (422, "idempotency key reused", [])
    assert await _found(client) == [f"a{number}" for number in numbers]


async def test_items_may_come_as_lines(client: Client) -> None:
    one, two = (orjson.dumps(item) for item in _items(client, "a1", "b1"))
    lines = b"\r\n".join([one, b"{", b"", two, b"5"])
    ndjson = {"Content-Type": "application/x-ndjson"}
    answer = await client.call("POST", "/customers/batch", data=lines, headers=ndjson)
    results = answer.body["results"]
    assert (answer.status, answer.body["accepted"], answer.body["rejected"]) == (200, 2, 2)
    assert [result["status"] for result in results] == [201, 400, 201, 400]
    assert results[1]["error"]["message"] == "malformed JSON"
    invalid = "source customer is not valid"
    assert _error(results[3]) == (400, invalid, [("expected type object", "")])
    assert await _found(client) == ["a1", "b1"]
    fault = ("expected 1 to 1000 items, not 0", "/customers")
    answer = await client.call("POST", "/customers/batch", data=b"\n", headers=ndjson)
    refused(answer, 400, INVALID, fault)


async def test_respond_async_names_the_operations(client: Client) -> None:
    items = [*_items(client, "a1"), 5]
    answer = await _post(client, items, Prefer="respond-async")
    good, bad = answer.body["results"]
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert (answer.body["accepted"], answer.body["rejected"]) == (1, 1)
    assert good == {"status": 202, "operationId": good["operationId"]}
    assert bad["status"] == 400

    async def applied() -> Any:
        state = (await client.call("GET", f"/operations/{good['operationId']}")).body
        return state if state["status"] != "PENDING" else None

    state = await eventually(applied)
    assert state == {
        "id": good["operationId"],
        "status": "APPLIED",
        "httpStatus": 201,
        "entity": {"type": "CUSTOMER", "id": state["entity"]["id"]},
        "error": None,
    }
    assert await _found(client) == ["a1"]


async def test_a_preference_that_is_none(client: Client) -> None:
    answer = await _post(client, _items(client, "a1"), Prefer="wait=0")
    refused_loosely(answer, 400, "invalid header Prefer")
