"""GET and PUT /workspaces/{id}/configuration."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control

INVALID = "source workspace configuration is not valid"
DEFAULT = {
    "name": "Shop",
    "industry": "NotDefined",
    "logo": None,
    "timezone": "Europe/Rome",
    "currency": "EUR",
    "tier": None,
    "customerUniquenessPolicy": "MERGE",
}


async def test_a_new_workspace_has_defaults(control: Control) -> None:
    assert (await control.call("GET", "")).body == DEFAULT


async def test_a_change_is_read_back(control: Control) -> None:
    body = {
        "name": "Bottega",
        "industry": "Luxury",
        "logo": "https://example.com/l.png",
        "timezone": None,
        "currency": "JPY",
        "customerUniquenessPolicy": None,
    }
    changed = await control.call("PUT", "", body)
    assert (changed.status, changed.body) == (
        200,
        {**DEFAULT, **body} | {"customerUniquenessPolicy": "MERGE"},
    )
    assert (await control.call("GET", "")).body == changed.body
    assert (await control.call("PUT", "", {"name": "Shop"})).body == DEFAULT


@pytest.mark.parametrize(
    ("body", "message", "path"),
    [
        ({}, "required property is missing", "/name"),
        ({"name": ""}, "required property is missing", "/name"),
        ({"name": "a", "industry": "Farming"}, "value not in enum", "/industry"),
        ({"name": "a", "logo": "no uri"}, "invalid format uri", "/logo"),
        ({"name": "a", "timezone": "Asia/Tokyo"}, "value not in enum", "/timezone"),
        ({"name": "a", "currency": 5}, "expected type string", "/currency"),
        (
            {"name": "a", "customerUniquenessPolicy": "BLOCK"},
            "value not in enum",
            "/customerUniquenessPolicy",
        ),
        ({"name": "a", "x/y~z": 1}, "property is not defined", "/x~1y~0z"),
        ([], "expected type object", ""),
    ],
)
async def test_a_body_that_is_not_valid(
    control: Control, body: Any, message: str, path: str
) -> None:
    answer = await control.call("PUT", "", body)
    assert (answer.status, answer.body["message"]) == (400, INVALID)
    assert answer.body["errors"][0]["path"] == path
    if body != {"name": ""}:
        assert answer.body["errors"][0]["message"] == message


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b'{"name":"\\ud800"}', b"[" * 65 + b"]" * 65, b'{"name":1e999}']
)
async def test_malformed_json(control: Control, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await control.call("PUT", "", data=raw, headers=headers)
    assert (answer.status, answer.body["message"]) == (400, "malformed JSON")


async def test_media_types_codings_and_sizes(control: Control) -> None:
    answer = await control.call("PUT", "", data=b"<a/>", headers={"Content-Type": "text/xml"})
    assert answer.status == 415
    headers = {"Content-Type": "application/json; charset=UTF-8", "Content-Encoding": "gzip"}
    packed = gzip.compress(b'{"name":"Packed"}')
    answer = await control.call("PUT", "", data=packed, headers=headers)
    assert (answer.status, answer.body["name"]) == (200, "Packed")
    bomb = gzip.compress(b" " * 30_000_000)
    answer = await control.call("PUT", "", data=bomb, headers=headers)
    await control.refused(answer, 413, "payload exceeds 1048576 bytes")
    answer = await control.call("PUT", "", data=b"no gzip at all", headers=headers)
    assert (answer.status, answer.body["message"]) == (400, "malformed JSON")
    answer = await control.call("PUT", "", data=packed[:-20], headers=headers)
    assert (answer.status, answer.body["message"]) == (400, "malformed JSON")


async def test_roles(control: Control) -> None:
    message = "You don't have the necessary permissions for the resource"
    token = (await control.source())["token"]
    source = control.acting_as(token)
    assert (await source.call("GET", "")).status == 200
    await control.refused(await source.call("PUT", "", {"name": "a"}), 403, message)
    guest = await control.user(Role.GUEST)
    await control.refused(await guest.call("GET", ""), 403, message)
    # the role comes before the body
    await control.refused(await guest.call("PUT", "", {"nonsense": 1}), 403, message)
    admin = await control.user(Role.ADMIN)
    assert (await admin.call("PUT", "", {"name": "a"})).status == 200


async def test_post_may_name_another_method(control: Control) -> None:
    headers = {"X-HTTP-Method-Override": "put"}
    answer = await control.call("POST", "", {"name": "Named"}, headers=headers)
    assert (answer.status, answer.body["name"]) == (200, "Named")
    headers = {"X-HTTP-Method-Override": "DELETE"}
    answer = await control.call("POST", "", {"name": "Named"}, headers=headers)
    await control.refused(answer, 405, "Request method 'DELETE' not supported")


async def test_preflight_needs_no_token(control: Control) -> None:
    answer = await control.call("OPTIONS", "", headers={"Authorization": ""})
    assert (answer.status, answer.body) == (204, None)
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert "Last-Event-ID" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("name", ["X-Tracing-ID", "Contactlab-Tracing-ID"])
async def test_a_tracing_id_comes_back(control: Control, name: str) -> None:
    answer = await control.call("GET", "", headers={name: "abc-1"})
    assert answer.headers["X-Tracing-ID"] == "abc-1"
