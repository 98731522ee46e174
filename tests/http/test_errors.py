"""What every route answers to what it can't use. Source: contacthub 2."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.hub import Client

UNAUTHORIZED = "The client is not authorized to access the API"


def _is_error(answer: Any, status: int, message: str) -> None:
    assert (answer.status, answer.body["message"]) == (status, message)
    assert set(answer.body) == {"message", "logref", "data", "errors"}
    assert answer.body["data"] is None
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Tracing-ID"]


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer nobody", "Basic eA==", "Bearer ü"])
async def test_no_token_or_a_bad_one(client: Client, value: str) -> None:
    answer = await client.call("GET", "/customers", headers={"Authorization": value})
    _is_error(answer, 401, UNAUTHORIZED)


async def test_a_foreign_token_sees_no_workspace(client: Client, stranger: Client) -> None:
    headers = {"Authorization": f"Bearer {stranger.token}"}
    answer = await client.call("POST", "/events", client.event(), headers=headers)
    _is_error(answer, 403, f"workspace not found: {client.workspace_id}")


async def test_a_foreign_node_is_not_found(client: Client, stranger: Client) -> None:
    answer = await client.call(
        "POST", "/customers", {"nodeId": stranger.node_id, "externalId": "a"}
    )
    _is_error(answer, 404, f"node not found {stranger.node_id}")


async def test_no_such_route_and_no_such_method(client: Client) -> None:
    _is_error(await client.call("GET", "/nothing"), 404, "Not Found")
    answer = await client.call("DELETE", "/events")
    _is_error(answer, 405, "Request method 'DELETE' not supported")


@pytest.mark.parametrize(
    ("raw", "explanations"),
    [
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", []),
        (b"GET / HTTP/1.1\r\n\r\n", []),
        (b"GET /hub/v1/me?x=\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", []),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer secret-word\r\n\r\n", []),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", []),
        (
            b"GET /hub/v1/me?x=%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 9_000),
            ["the URL or a header is too long"],
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Y: %b\r\n\r\n" % (b"x" * 9_000),
            ["the URL or a header is too long"],
        ),
    ],
)
async def test_what_is_no_http_request(client: Client, raw: bytes, explanations: list[str]) -> None:
    there = urlsplit(client.hub.url)
    reader, writer = await asyncio.open_connection(there.hostname, there.port)
    writer.write(raw)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, text = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    body = json.loads(text)
    logref = body["logref"]
    assert (lines[0].split(" ", 1)[1], body) == (
        "400 Bad Request",
        {
            "message": "malformed request",
            "logref": logref,
            "data": None,
            "errors": [
                {"message": explanation, "path": "", "code": None, "data": None}
                for explanation in explanations
            ],
        },
    )
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["X-Tracing-ID"]
    assert logref in [line.get("logref") for line in client.hub.log_of("web")]


async def test_an_expectation_that_is_not_met(client: Client) -> None:
    for path in ("/customers", "/nothing"):
        answer = await client.call("POST", path, {}, headers={"Expect": "200-ok"})
        _is_error(answer, 417, "Expectation Failed")


@pytest.mark.parametrize("method", ["FOO", "GETX", "VERSION-CONTROLS"])
async def test_a_method_that_nobody_knows(client: Client, method: str) -> None:
    there = urlsplit(client.hub.url)
    reader, writer = await asyncio.open_connection(there.hostname, there.port)
    writer.write(b"%b /hub/v1/me HTTP/1.1\r\nHost: x\r\n\r\n" % method.encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].partition(b" ")[2] == b"405 Method Not Allowed"
    body = json.loads(text)
    assert body["message"] == f"Request method '{method}' not supported"
    assert set(body) == {"message", "logref", "data", "errors"}


@pytest.mark.parametrize(
    "customer_id", ["123", "not-existing", "{a}", pytest.param(str(uuid.uuid4()), id="another")]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_an_unknown_customer(client: Client, customer_id: str, method: str) -> None:
    body = {"nodeId": client.node_id, "externalId": "a"} if method in {"PATCH", "PUT"} else None
    answer = await client.call(method, f"/customers/{customer_id}", body)
    _is_error(answer, 404, f"customer not found {customer_id}")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "malformed JSON"),
        (b"{", "malformed JSON"),
        (b'{"a":"\xff"}', "malformed JSON"),
        (b'{"a":"\\ud800"}', "malformed JSON"),
        (b'{"a":1e400}', "malformed JSON"),
        (b"[" * 65 + b"]" * 65, "malformed JSON"),
        (b"[]", "source event is not valid"),
        (b'"x"', "source event is not valid"),
        (b'{"type":"a\\u0000"}', "source event is not valid"),
    ],
)
async def test_a_body_that_is_no_event(client: Client, raw: bytes, message: str) -> None:
    _is_error(await client.call("POST", "/events", data=raw), 400, message)


async def test_too_long_a_body(client: Client) -> None:
    event = client.event(properties={"url": "https://example.com/", "title": "x" * 66_000})
    _is_error(await client.call("POST", "/events", event), 413, "payload exceeds 65535 bytes")
    huge = await client.call("POST", "/customers", data=b" " * 900_000)
    _is_error(huge, 413, "payload exceeds 65535 bytes")


async def test_another_media_type(client: Client) -> None:
    answer = await client.call(
        "POST", "/events", data=b"a=b", headers={"Content-Type": "text/plain"}
    )
    assert answer.status == 415


@pytest.mark.parametrize(
    ("change", "message", "path"),
    [
        ({"type": None}, "required property is missing", "/type"),
        ({"type": "nope"}, "value not in enum", "/type"),
        ({"context": "NOWHERE"}, "value not in enum", "/context"),
        ({"properties": None}, "required property is missing", "/properties"),
        ({"properties": {"url": 5}}, "expected type string", "/properties/url"),
        ({"properties": {"no": 5}}, "property is not defined", "/properties/no"),
        ({"surprise": 1}, "property is not defined", "/surprise"),
        ({"date": "yesterday"}, "invalid format date-time", "/date"),
    ],
)
async def test_an_event_that_is_not_valid(
    client: Client, change: dict[str, Any], message: str, path: str
) -> None:
    answer = await client.call("POST", "/events", client.event(**change))
    _is_error(answer, 400, "source event is not valid")
    assert {"message": message, "path": path, "code": None, "data": None} in answer.body["errors"]


@pytest.mark.parametrize("offset", ["-1", "x", "1.5", ""])
async def test_offsets_that_are_none(client: Client, offset: str) -> None:
    answer = await client.call("GET", "/updates", params={"offset": offset})
    _is_error(answer, 400, "invalid parameter offset")


async def test_an_offset_beyond_the_end_is_kept(client: Client) -> None:
    answer = await client.call("GET", "/updates", params={"offset": "1000"})
    assert (answer.status, answer.body) == (200, {"nextOffset": 1000, "updates": []})


async def test_preflight_needs_no_token(client: Client) -> None:
    async with client.http.options(client.path("/customers")) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Max-Age"] == "86400"


async def test_a_named_method_is_executed(client: Client) -> None:
    made = await client.customer(externalId="a1")
    answer = await client.call(
        "POST",
        f"/customers/{made['id']}",
        {"extra": "patched"},
        headers={"X-HTTP-Method-Override": "PATCH"},
    )
    assert (answer.status, answer.body["extra"]) == (200, "patched")


async def test_an_idempotency_key_must_be_printable(client: Client) -> None:
    answer = await client.call(
        "POST", "/events", client.event(), headers={"Idempotency-Key": "x" * 256}
    )
    _is_error(answer, 400, "invalid header Idempotency-Key")
