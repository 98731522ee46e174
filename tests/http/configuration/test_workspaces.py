"""GET and POST /workspaces."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control

PATH = "/hub/v1/workspaces"
FORBIDDEN = "You don't have the necessary permissions for the resource"


def _body(**changes: Any) -> dict[str, Any]:
    return {"name": "Shop", "slug": uuid.uuid4().hex, "groupPk": 1, "shard": "default", **changes}


async def test_a_new_workspace_is_enabled_and_listed(control: Control) -> None:
    body = _body(name="Wine & More")
    made = await control.call("POST", PATH, body)
    assert made.status == 201
    assert made.body == {**body, "id": made.body["id"], "status": "ENABLED"}
    found = await control.call("GET", PATH, params={"name": "wine"})
    assert found.body["elements"] == [made.body]
    assert found.body["page"] == {
        "size": 20,
        "number": 0,
        "totalElements": 1,
        "totalPages": 1,
        "totalUnfilteredElements": 2,
        "maxElements": 10_000,
        "maxPages": 500,
    }


async def test_the_longest_slug(control: Control) -> None:
    body = _body(slug="0-" + "z" * 61, groupPk=2**63 - 1)
    made = await control.call("POST", PATH, body)
    assert (made.status, made.body["slug"]) == (201, body["slug"])


async def test_a_name_is_found_literally(control: Control) -> None:
    made = (await control.call("POST", PATH, _body(name="50% Öl_"))).body
    for name in ("50%", "öl_", "% Ö"):
        found = await control.call("GET", PATH, params={"name": name})
        assert found.body["elements"] == [made]
    for name in ("5_%", "a\0"):
        found = await control.call("GET", PATH, params={"name": name})
        assert (found.body["elements"], found.body["page"]["totalElements"]) == ([], 0)


async def test_pages_and_groups(control: Control) -> None:
    made = [(await control.call("POST", PATH, _body(groupPk=9))).body for _ in range(3)]
    second = await control.call("GET", PATH, params={"groupPk": "9", "size": "2", "page": "1"})
    assert second.body["elements"] == made[2:]
    beyond = await control.call("GET", PATH, params={"groupPk": "9", "page": "50"})
    assert (beyond.status, beyond.body["elements"]) == (200, [])
    assert beyond.body["page"]["number"] == 50
    nothing = await control.call("GET", PATH, params={"size": "0"})
    assert (nothing.body["elements"], nothing.body["page"]["totalPages"]) == ([], 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page", "51"),
        ("page", "-1"),
        ("page", "x"),
        ("size", "51"),
        ("size", ""),
        ("groupPk", "0"),
        ("groupPk", "x"),
        ("groupPk", str(2**63)),
    ],
)
async def test_a_bad_parameter(control: Control, name: str, value: str) -> None:
    answer = await control.call("GET", PATH, params={name: value})
    assert (answer.status, answer.body["message"]) == (400, f"invalid parameter {name}")
    assert answer.body["errors"][0]["path"] == f"/{name}"


@pytest.mark.parametrize(
    ("changes", "message", "path"),
    [
        ({"name": None}, "required property is missing", "/name"),
        ({"slug": "No Capitals"}, "invalid format pattern", "/slug"),
        ({"slug": "a" * 64}, "invalid format pattern", "/slug"),
        ({"slug": ""}, "invalid format pattern", "/slug"),
        ({"slug": "a\n"}, "invalid format pattern", "/slug"),
        ({"slug": "ä"}, "invalid format pattern", "/slug"),
        ({"slug": None}, "required property is missing", "/slug"),
        ({"groupPk": 1.5}, "expected type integer", "/groupPk"),
        ({"groupPk": None}, "required property is missing", "/groupPk"),
        ({"shard": 1}, "expected type string", "/shard"),
        ({"id": "x"}, "property is not defined", "/id"),
        ({"groupPk": 0}, "minimum is 1", "/groupPk"),
        ({"groupPk": 2**63}, f"maximum is {2**63 - 1}", "/groupPk"),
        ({"groupPk": "1"}, "expected type integer", "/groupPk"),
        ({"shard": "eu-9"}, "value not in enum", "/shard"),
        ({"owner": "me"}, "property is not defined", "/owner"),
        ({"name": "a\0"}, "character not allowed", "/name"),
    ],
)
async def test_a_body_that_is_not_valid(
    control: Control, changes: dict[str, Any], message: str, path: str
) -> None:
    answer = await control.call("POST", PATH, _body(**changes))
    await control.refused(answer, 400, "source workspace is not valid", (message, path))


async def test_a_whole_number_may_be_written_with_a_fraction(control: Control) -> None:
    made = await control.call("POST", PATH, _body(groupPk=3.0))
    assert (made.status, made.body["groupPk"]) == (201, 3)


async def test_a_slug_is_given_once(control: Control) -> None:
    body = _body()
    await control.call("POST", PATH, body)
    answer = await control.call("POST", PATH, body)
    await control.refused(answer, 409, f"Conflict: the slug '{body['slug']}' is taken")


async def test_only_an_operator_lists_and_creates(control: Control) -> None:
    admin = await control.user(Role.ADMIN, Role.USER)
    source = control.acting_as((await control.source())["token"])
    for caller in (admin, source):
        for method in ("GET", "POST"):
            answer = await caller.call(method, PATH, {"nonsense": 1} if method == "POST" else None)
            await control.refused(answer, 403, FORBIDDEN)


async def test_no_token(control: Control) -> None:
    for method in ("GET", "POST"):
        answer = await control.acting_as("nobody").call(method, PATH)
        await control.refused(answer, 401, "The client is not authorized to access the API")
