"""Sources and their tokens: list, create, read, change, refresh, delete."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control

INVALID = "source source is not valid"
UNAUTHORIZED = "The client is not authorized to access the API"
FORBIDDEN = "You don't have the necessary permissions for the resource"


async def test_the_token_is_shown_once(control: Control) -> None:
    made = await control.source(description="The till")
    assert made == {
        "id": made["id"],
        "provider": "API",
        "properties": {},
        "name": "till",
        "description": "The till",
        "nodes": [control.node_id],
        "enabled": True,
        "token": made["token"],
    }
    assert len(made["token"]) == 64
    assert (await control.acting_as(made["token"]).call("GET", "")).status == 200
    hidden = {**made, "token": None}
    assert (await control.call("GET", f"/sources/{made['id']}")).body == hidden
    listed = await control.call("GET", "/sources")
    assert listed.body["elements"] == [hidden]
    assert listed.body["page"]["size"] == 50
    async with control.parts.pool.connection() as conn:
        stored = await conn.fetchval("SELECT sources::text FROM sources")
    assert made["id"] in stored
    assert made["token"] not in stored


async def test_the_pages_behind_the_first_are_empty(control: Control) -> None:
    """A client that walks to the end, by the number of pages or to the first empty one, gets there."""
    await control.source()
    first = (await control.call("GET", "/sources", params={"page": "0", "size": "1"})).body
    assert (len(first["elements"]), first["page"]["number"], first["page"]["totalPages"]) == (
        1,
        0,
        1,
    )
    behind = (await control.call("GET", "/sources", params={"page": "1"})).body
    assert behind == {"elements": [], "page": {**first["page"], "number": 1}}
    answer = await control.call("GET", "/sources", params={"page": "x"})
    explanation = f"'x' is not a whole number between 0 and {2**31}"
    await control.refused(answer, 400, "invalid parameter page", (explanation, "/page"))


@pytest.mark.parametrize(
    ("changes", "message", "path"),
    [
        ({"provider": None}, "required property is missing", "/provider"),
        ({"provider": "MAGENTO"}, "value not in enum", "/provider"),
        ({"provider": "nobody"}, "value not in enum", "/provider"),
        ({"nodes": []}, "required property is missing", "/nodes"),
        ({"nodes": "x"}, "expected type array", "/nodes"),
        ({"enabled": "yes"}, "expected type boolean", "/enabled"),
        ({"colour": 1}, "property is not defined", "/colour"),
        ({"properties": {"a/b": 1}}, "property is not defined", "/properties/a~1b"),
        (
            {"properties": {"allowedIPs": 1}},
            "expected type string or array",
            "/properties/allowedIPs",
        ),
        ({"properties": {"allowedIPs": [1]}}, "expected type string", "/properties/allowedIPs/0"),
        (
            {"properties": {"allowedIPs": ["::1", "x"]}},
            "invalid format ip",
            "/properties/allowedIPs/1",
        ),
        ({"properties": {"allowedIPs": "::1, x"}}, "invalid format ip", "/properties/allowedIPs"),
        ({"properties": {"allowedIPs": [""]}}, "invalid format ip", "/properties/allowedIPs/0"),
        ({"properties": 1}, "expected type object", "/properties"),
        ({"nodes": [None]}, "expected type string", "/nodes/0"),
    ],
)
async def test_a_body_that_is_not_valid(
    control: Control, changes: dict[str, Any], message: str, path: str
) -> None:
    body = {"provider": "API", "name": "till", "nodes": [control.node_id], **changes}
    answer = await control.call("POST", "/sources", body)
    await control.refused(answer, 400, INVALID, (message, path))


@pytest.mark.parametrize("text", ["x", "123", pytest.param(str(uuid.uuid4()), id="another")])
async def test_a_node_that_is_unknown(control: Control, text: str) -> None:
    body = {"provider": "API", "name": "till", "nodes": [control.node_id, text]}
    answer = await control.call("POST", "/sources", body)
    await control.refused(answer, 404, f"node not found {text}")
    there = await control.another_workspace()
    answer = await control.call("POST", "/sources", {**body, "nodes": [there.node_id]})
    await control.refused(answer, 404, f"node not found {there.node_id}")


async def test_null_stands_for_any_optional_member(control: Control) -> None:
    body = {"provider": "API", "name": "till", "nodes": [control.node_id], "id": None}
    optional = {"description": None, "properties": None, "enabled": None, "token": None}
    made = await control.call("POST", "/sources", {**body, **optional})
    assert made.status == 201
    assert (made.body["properties"], made.body["enabled"]) == ({}, True)
    again = {**body, **optional, "id": made.body["id"]}
    changed = await control.call("PUT", f"/sources/{made.body['id']}", again)
    assert (changed.status, changed.body) == (200, {**made.body, "token": None})


async def test_arrays_and_objects_as_php_writes_them(control: Control) -> None:
    made = await control.source(nodes={"0": control.node_id}, properties=[])
    assert (made["nodes"], made["properties"]) == ([control.node_id], {})


async def test_a_token_for_browsers_is_for_operators_to_make(control: Control) -> None:
    body = {"provider": "JavaScript", "name": "site", "nodes": [control.node_id]}
    admin = await control.user(Role.ADMIN)
    answer = await admin.call("POST", "/sources", body)
    await control.refused(answer, 400, INVALID, ("value not in enum", "/provider"))
    token = (await control.source(provider="JavaScript"))["token"]
    await control.refused(await control.acting_as(token).call("GET", ""), 403, FORBIDDEN)
    me = await control.acting_as(token).call("GET", "/hub/v1/me")
    assert me.body["roles"] == ["UNTRUSTED_APPLICATION"]


@pytest.mark.parametrize(
    ("remote", "allowed", "is_allowed"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.4", "10.1.2.3", False),
        ("10.1.2.3", "192.168.0.0/16, 10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", ["::ffff:10.0.0.0/104"], True),
        ("10.1.2.3", [" 10.1.2.3 "], True),
        ("2001:db8::7", ["10.0.0.1", "2001:db8::/32"], True),
        ("2001:db9::7", ["2001:db8::/32"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("10.1.2.3", "::/0", False),
        (None, "0.0.0.0/0", False),
        ("10.1.2.3", "", True),
        ("10.1.2.3", " , ", True),
        ("10.1.2.3", [], True),
        ("10.1.2.3", None, True),
    ],
)
async def test_who_may_come_from_where(
    control: Control, remote: str | None, allowed: Any, is_allowed: bool
) -> None:
    made = await control.source(properties={"allowedIPs": allowed})
    caller = await control.parts.auth.caller_of(made["token"], remote)
    assert (caller is not None) == is_allowed


async def test_a_crowd_that_comes_back_at_once_is_looked_up_once(control: Control) -> None:
    auth, token = control.parts.auth, (await control.source())["token"]
    crowd = [asyncio.create_task(auth.caller_of(token, "10.0.0.1")) for _ in range(3)]
    await asyncio.sleep(0)
    assert auth.is_finding(token, "10.0.0.1")
    assert not auth.is_finding(token, "10.0.0.2")
    first, second, third = await asyncio.gather(*crowd)
    assert first is not None
    assert first is second is third
    assert not auth.is_finding(token, "10.0.0.1")


async def test_addresses(control: Control) -> None:
    here = await control.source(properties={"allowedIPs": "10.0.0.1, 127.0.0.0/8"})
    assert (await control.acting_as(here["token"]).call("GET", "")).status == 200
    elsewhere = await control.source(properties={"allowedIPs": ["10.0.0.1"]})
    answer = await control.acting_as(elsewhere["token"]).call("GET", "")
    await control.refused(answer, 401, UNAUTHORIZED)


async def test_a_change_keeps_the_token(control: Control) -> None:
    made = await control.source()
    caller = control.acting_as(made["token"])
    body = {**made, "name": "renamed", "enabled": False}
    changed = await control.call("PUT", f"/sources/{made['id']}", body)
    assert (changed.status, changed.body) == (200, {**body, "token": None})
    await control.refused(await caller.call("GET", ""), 401, UNAUTHORIZED)
    await control.call("PUT", f"/sources/{made['id']}", {**body, "enabled": True})
    assert (await caller.call("GET", "")).status == 200


async def test_the_document_that_was_read_may_be_sent_back(control: Control) -> None:
    made = await control.source(description="The till", properties={"allowedIPs": ["127.0.0.1"]})
    answer = await control.call("PUT", f"/sources/{made['id'].upper()}", made)
    assert (answer.status, answer.body) == (200, {**made, "token": None})
    assert (await control.acting_as(made["token"]).call("GET", "")).status == 200


async def test_what_can_not_change(control: Control) -> None:
    made = await control.source()
    path = f"/sources/{made['id']}"
    for member, value in (("id", str(uuid.uuid4())), ("provider", "CONTACTPLAN")):
        answer = await control.call("PUT", path, {**made, member: value})
        await control.refused(answer, 400, INVALID, ("property is immutable", f"/{member}"))


async def test_a_refreshed_token_replaces_the_old_one_at_once(control: Control) -> None:
    made = await control.source()
    old = control.acting_as(made["token"])
    assert (await old.call("GET", "")).status == 200
    fresh = await control.call("POST", f"/sources/{made['id']}/refresh-token")
    assert fresh.status == 200
    assert fresh.body == {**made, "token": fresh.body["token"]}
    await control.refused(await old.call("GET", ""), 401, UNAUTHORIZED)
    assert (await control.acting_as(fresh.body["token"]).call("GET", "")).status == 200


async def test_changes_beside_a_refresh_bring_no_old_token_back(control: Control) -> None:
    made = await control.source()
    path = f"/sources/{made['id']}"
    old = made["token"]
    for _ in range(10):
        answers = await asyncio.gather(
            control.call("PUT", path, made),
            control.call("POST", f"{path}/refresh-token"),
            control.call("PUT", path, made),
        )
        assert [answer.status for answer in answers] == [200, 200, 200]
        await control.refused(await control.acting_as(old).call("GET", ""), 401, UNAUTHORIZED)
        old = answers[1].body["token"]
        assert (await control.acting_as(old).call("GET", "")).status == 200


async def test_a_change_beside_a_delete_brings_no_source_back(control: Control) -> None:
    made = await control.source()
    path = f"/sources/{made['id']}"
    changed, deleted = await asyncio.gather(
        control.call("PUT", path, made), control.call("DELETE", path)
    )
    assert changed.status in {200, 404}
    assert deleted.status == 200
    assert (await control.call("GET", path)).status == 404


async def test_delete_answers_nothing_and_kills_the_token(control: Control) -> None:
    made = await control.source()
    answer = await control.call("DELETE", f"/sources/{made['id']}")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, None, "0")
    await control.refused(await control.acting_as(made["token"]).call("GET", ""), 401, UNAUTHORIZED)
    answer = await control.call("DELETE", f"/sources/{made['id']}")
    await control.refused(answer, 404, f"source not found {made['id']}")


@pytest.mark.parametrize("text", ["123", pytest.param(str(uuid.uuid4()), id="another")])
async def test_an_unknown_source(control: Control, text: str) -> None:
    for method, rest in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/refresh-token")):
        answer = await control.call(method, f"/sources/{text}{rest}")
        await control.refused(answer, 404, f"source not found {text}")


async def test_roles(control: Control) -> None:
    made = await control.source()
    own = control.acting_as(made["token"])
    path = f"/sources/{made['id']}"
    assert (await own.call("GET", path)).status == 200
    refused = [
        ("POST", "/sources"),
        ("PUT", path),
        ("DELETE", path),
        ("POST", f"{path}/refresh-token"),
    ]
    for method, target in refused:
        await control.refused(await own.call(method, target), 403, FORBIDDEN)
        answer = await control.acting_as("nobody").call(method, target)
        await control.refused(answer, 401, UNAUTHORIZED)
    guest = await control.user(Role.GUEST)
    await control.refused(await guest.call("GET", "/sources"), 403, FORBIDDEN)
    await control.refused(await guest.call("GET", path), 403, FORBIDDEN)
