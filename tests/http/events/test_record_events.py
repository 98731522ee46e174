"""POST /workspaces/{ws}/events/batch. Source: event-model 3a, contacthub 2.12."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import orjson
import pytest

from tests.hub import Answer, Client, Hub, eventually

NDJSON = {"Content-Type": "application/x-ndjson"}
REUSED = (422, "idempotency key reused")


def _events(client: Client, count: int, name: str = "e") -> list[dict[str, Any]]:
    """Events of several people, so that they go to several partitions."""
    return [
        client.event(
            properties={"title": f"{name}{n}"},
            bringBackProperties={
                "type": "SESSION_ID",
                "value": f"s{n}",
                "nodeId": client.node_id,
            },
        )
        for n in range(count)
    ]


async def _post(
    client: Client, events: list[Any], key: str | None = None, **headers: str
) -> Answer:
    named = dict(headers) if key is None else {**headers, "Idempotency-Key": key}
    return await client.call("POST", "/events/batch", {"events": events}, headers=named)


def _statuses(answer: Answer) -> list[int]:
    return [result["status"] for result in answer.body["results"]]


async def _titles(client: Client, count: int) -> list[str]:
    return sorted(u["entity"]["data"]["properties"]["title"] for u in await client.feed_of(count))


@pytest.mark.parametrize("settled", [False, True], ids=["at once", "after it was stored"])
@pytest.mark.parametrize(
    "change",
    [
        lambda events: [*events[:9], {**events[9], "date": "2020-01-01"}],
        lambda events: events[:5],
        lambda events: [{**events[0], "type": "noSuchType"}, *events[1:]],
        lambda events: [*events, *({**e, "date": "2020-01-01"} for e in events)],
        lambda events: events[5:],
    ],
    ids=["last differs", "shorter", "one is not valid", "longer", "shifted"],
)
async def test_another_batch_under_a_key_is_refused_whole(
    client: Client, change: Any, settled: bool
) -> None:
    events = _events(client, 10)
    first = await _post(client, events, "k")
    assert (first.status, _statuses(first)) == (202, [202] * 10)
    if settled:
        await client.feed_of(10)
    other = await _post(client, change(events), "k")
    assert (other.status, other.body["message"]) == REUSED
    waited = await _post(client, change(events), "k", Prefer="wait=5")
    assert (waited.status, waited.body["message"]) == REUSED
    again = await _post(client, events, "k")
    assert (again.status, again.body) == (202, first.body)
    assert await _titles(client, 10) == [f"e{n}" for n in range(10)]
    assert (await client.call("GET", "/rejections")).body["page"]["totalElements"] == 0


async def test_of_two_batches_at_once_under_a_key_one_is_accepted(client: Client) -> None:
    batches = [_events(client, 20, "a"), _events(client, 30, "b")]
    answers = await asyncio.gather(*(_post(client, batches[n % 2], "k") for n in range(6)))
    assert sorted(answer.status for answer in answers) == [202] * 3 + [422] * 3
    (count,) = {len(a.body["results"]) for a in answers if a.status == 202}
    titles = await _titles(client, count)
    assert titles == sorted(f"{'a' if count == 20 else 'b'}{n}" for n in range(count))


async def test_a_key_of_a_batch_is_no_key_of_an_event(client: Client) -> None:
    assert (await _post(client, _events(client, 2), "k")).status == 202
    headers = {"Idempotency-Key": "k"}
    single = await client.call("POST", "/events", client.event(), headers=headers)
    assert (single.status, single.body["message"]) == REUSED
    await client.feed_of(2)
    single = await client.call("POST", "/events", client.event(), headers=headers)
    assert (single.status, single.body["message"]) == REUSED


async def test_a_batch_of_which_nothing_is_valid_does_not_use_its_key_up(client: Client) -> None:
    bad = [client.event(type="noSuchType")] * 3
    refused = await _post(client, bad, "k")
    assert (refused.status, _statuses(refused)) == (202, [400] * 3)
    good = await _post(client, _events(client, 3), "k")
    assert _statuses(good) == [202] * 3


async def test_items_with_keys_of_their_own(client: Client) -> None:
    a, b, c = ({**event, "idempotencyKey": f"i{n}"} for n, event in enumerate(_events(client, 3)))
    first = await _post(client, [a, b])
    assert _statuses(first) == [202, 202]
    ids = [result["id"] for result in first.body["results"]]
    other = {**b, "date": "2020-01-01"}
    second = await _post(client, [a, other, c])
    assert _statuses(second) == [202, 422, 202]
    assert second.body["results"][0]["id"] == ids[0]
    assert second.body["results"][1]["error"]["message"] == "idempotency key reused"
    assert await _titles(client, 3) == ["e0", "e1", "e2"]
    third = await _post(client, [other, a])
    assert _statuses(third) == [422, 202]
    twice = {**c, "idempotencyKey": "new"}
    fourth = await _post(client, [twice, {**twice, "date": "2020-01-01"}, twice])
    assert _statuses(fourth) == [202, 422, 202]
    assert fourth.body["results"][0] == fourth.body["results"][2]
    assert len(await client.feed_of(4)) == 4


async def test_an_item_key_stands_under_the_key_of_its_request(client: Client) -> None:
    keyed = {**_events(client, 1)[0], "idempotencyKey": "i"}
    assert (await _post(client, [keyed], "k")).status == 202
    reused = await _post(client, [{**keyed, "idempotencyKey": "j"}], "k")
    assert (reused.status, reused.body["message"]) == REUSED


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\nb", 5, {}])
async def test_an_item_key_that_is_none(client: Client, key: Any) -> None:
    answer = await _post(client, [{**client.event(), "idempotencyKey": key}, client.event()])
    assert _statuses(answer) == [400, 202]
    (error,) = answer.body["results"][0]["error"]["errors"]
    assert error["path"] == "/idempotencyKey"


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"events":[' + b'{"a":' * 63 + b"1" + b"}" * 63 + b"]}",
        b'{"events":[' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"]}",
        b'{"other":' + b"[" * 64 + b"]" * 64 + b"}",
        b"[" * 2_000 + b"]" * 2_000,
        b"",
        b"{",
    ],
)
async def test_a_batch_that_is_no_json(client: Client, body: bytes) -> None:
    answer = await client.call("POST", "/events/batch", data=body)
    if body.startswith(b'{"events":[[') and body.count(b"[") == 63:
        assert answer.status == 202  # 64 levels in all
        return
    assert (answer.status, answer.body["message"]) == (400, "malformed JSON")


async def test_brackets_in_strings_are_no_levels(client: Client) -> None:
    event = client.event(properties={"title": '[{"' * 100 + "\\"})
    answer = await _post(client, [event])
    assert _statuses(answer) == [202]


@pytest.mark.parametrize(
    "options",
    [{}, {"indent": 2}, {"separators": (",", ":")}, {"sort_keys": True}],
    ids=["Python", "indented", "compact", "another member first"],
)
async def test_however_it_is_written_a_batch_is_the_same(
    client: Client, options: dict[str, Any]
) -> None:
    events = [*_events(client, 3), {"type": "noSuchType"}, *_events(client, 2, "f")]
    body = json.dumps({"events": events}, **options).encode()
    answer = await client.call("POST", "/events/batch", data=body)
    assert (answer.status, _statuses(answer)) == (202, [202] * 3 + [400] + [202] * 2)
    assert await _titles(client, 5) == ["e0", "e1", "e2", "f0", "f1"]


async def test_what_only_looks_like_the_next_item_is_none(client: Client) -> None:
    event = client.event()
    parts = [{"type": 1}, {"type": 2}]
    wrong = {"type": event["type"], "nested": parts, **event}
    answer = await _post(client, [event, wrong, event])
    assert _statuses(answer) == [202, 400, 202]


async def test_of_the_size_of_an_item_white_space_is_no_part(client: Client) -> None:
    event = client.event(properties={"title": "x" * 40_000})
    wide = json.dumps({"events": [event, event]}, indent=10_000).encode()
    answer = await client.call("POST", "/events/batch", data=wide)
    assert _statuses(answer) == [202, 202]
    event["properties"]["title"] = "x" * 65_535
    assert _statuses(await _post(client, [event])) == [413]


async def test_lines_are_judged_one_by_one(client: Client) -> None:
    good, bad = client.event(), client.event(type="noSuchType")
    deep = b'{"a":' * 65 + b"1" + b"}" * 65
    lines = b"\n".join([orjson.dumps(good), b"{", orjson.dumps(bad), deep, b"", orjson.dumps(good)])
    answer = await client.call("POST", "/events/batch", data=lines, headers=NDJSON)
    assert (answer.status, _statuses(answer)) == (202, [202, 400, 400, 400, 202])
    assert (answer.body["accepted"], answer.body["rejected"]) == (2, 3)
    messages = [r["error"]["message"] for r in answer.body["results"] if "error" in r]
    assert messages == ["malformed JSON", "source event is not valid", "malformed JSON"]


async def test_the_end_of_a_line_is_no_part_of_the_event(client: Client) -> None:
    """An event of the greatest size that is allowed, on lines of both kinds."""
    event = client.event(properties={"title": ""})
    event["properties"]["title"] = "x" * (65_535 - len(orjson.dumps(event)))
    line = orjson.dumps(event)
    lines = b"\r\n".join([line, b"", line]) + b"\n" + line + b"\r\n"
    answer = await client.call("POST", "/events/batch", data=lines, headers=NDJSON)
    assert (answer.status, _statuses(answer)) == (202, [202] * 3)
    answer = await client.call("POST", "/events/batch", data=line + b" \n", headers=NDJSON)
    assert (answer.status, _statuses(answer)) == (202, [413])


async def test_waiting_gives_the_verdicts(client: Client) -> None:
    unknown = {**_events(client, 1)[0], "bringBackProperties": None}
    unknown["customerId"] = "00000000-0000-4000-8000-000000000000"
    answer = await _post(client, [*_events(client, 2), unknown], Prefer="wait=10")
    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert _statuses(answer) == [201, 201, 404]
    assert (await client.call("GET", "/rejections")).body["page"]["totalElements"] == 0


async def test_a_cut_connection_neither_loses_nor_doubles_a_batch(client: Client) -> None:
    def send_and_cut(raw: bytes) -> None:
        with socket.create_connection(("127.0.0.1", client.hub.port)) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.sendall(raw)

    accepted: set[str] = set()
    for number in range(10):
        events = _events(client, 20, f"{number}-")
        body = orjson.dumps({"events": events})
        head = (
            f"POST {client.path('/events/batch')} HTTP/1.1\r\nHost: hub\r\n"
            f"Authorization: Bearer {client.token}\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: k{number}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        raw = head.encode() + body
        await asyncio.to_thread(send_and_cut, raw[: len(raw) * (1 + number) // 10])
        answer = await client.call(
            "POST", "/events/batch", data=body, headers={"Idempotency-Key": f"k{number}"}
        )
        assert (answer.status, _statuses(answer)) == (202, [202] * 20)
        accepted |= {result["id"] for result in answer.body["results"]}
    updates = await client.feed_of(200)
    assert len(updates) == 200
    assert {u["entity"]["data"]["id"] for u in updates} == accepted


async def test_of_two_batches_that_slipped_through_under_a_key_one_is_applied(
    hub: Hub, client: Client
) -> None:
    await asyncio.to_thread(hub.stop_processor)
    first = await _post(client, _events(client, 4, "a"), "k")
    await asyncio.to_thread(hub.kill_web)  # with what it remembers of the key
    hub.start_web()
    second = await _post(client, _events(client, 8, "b"), "k")
    hub.start_processor()
    assert (first.status, second.status) == (202, 202)
    updates = await client.feed_of(4)
    titles = [u["entity"]["data"]["properties"]["title"] for u in updates]
    won = first if titles[0].startswith("a") else second
    lost = second if won is first else first
    # whichever the processor met first is applied whole, and nothing of the other
    name = "a" if won is first else "b"
    assert sorted(titles) == [f"{name}{n}" for n in range(len(won.body["results"]))]

    async def all_rejected() -> bool:
        listed = (await client.call("GET", "/rejections")).body["elements"]
        return {r["id"] for r in listed} == {r["id"] for r in lost.body["results"]}

    await eventually(all_rejected, what="the items of the other to be rejected")
    again = await _post(client, _events(client, len(won.body["results"]), name), "k")
    assert (again.status, again.body) == (202, won.body)
    assert len(await client.feed()) == len(titles)
