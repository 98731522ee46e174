"""POST /workspaces/{ws}/customers (operation 78)."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from tests.http.callers import FORBIDDEN, another_node, person, refused, source, untrusted
from tests.hub import Client, Hub, make_client

INVALID = "source customer is not valid"
BASE: dict[str, Any] = {
    "pictureUrl": None,
    "title": None,
    "prefix": None,
    "firstName": None,
    "lastName": None,
    "middleName": None,
    "gender": None,
    "dob": None,
    "locale": None,
    "timezone": None,
    "contacts": None,
    "address": None,
    "credential": None,
    "educations": [],
    "likes": [],
    "socialProfile": None,
    "jobs": [],
    "subscriptions": [],
}


async def test_created_is_answered_with_the_whole_customer(client: Client) -> None:
    answer = await client.call(
        "POST", "/customers", {"nodeId": client.node_id, "externalId": "a1", "extra": "more"}
    )
    assert answer.status == 201
    body = answer.body
    assert uuid.UUID(body["id"])
    assert body == {
        "id": body["id"],
        "intId": 1,
        "externalId": "a1",
        "nodeId": client.node_id,
        "base": BASE,
        "consents": None,
        "extended": None,
        "extra": "more",
        "tags": None,
        "enabled": True,
        "registeredAt": body["registeredAt"],
        "updatedAt": body["registeredAt"],
        "version": 0,
        "deleted": 0,
        "sourceInfo": body["sourceInfo"],
    }
    assert set(body["sourceInfo"]) == {"registeredBy", "updatedBy"}
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert (await client.call("GET", f"/customers/{body['id']}")).body == body


async def test_merged_is_answered_with_201_too(client: Client) -> None:
    first = await client.customer(externalId="a1", extra="one")
    answer = await client.call(
        "POST", "/customers", {"nodeId": client.node_id, "externalId": "A1", "extra": "two"}
    )
    expected = {
        **first,
        "externalId": "A1",
        "extra": "two",
        "version": 1,
        "updatedAt": answer.body["updatedAt"],
    }
    assert (answer.status, answer.body) == (201, expected)
    assert answer.body["updatedAt"] > first["updatedAt"]


async def test_system_members_are_ignored(client: Client) -> None:
    answer = await client.call(
        "POST",
        "/customers",
        {
            "nodeId": client.node_id,
            "externalId": "a1",
            "id": "mine",
            "intId": 99,
            "version": 7,
            "deleted": 1,
            "registeredAt": "yesterday",
            "updatedAt": None,
            "sourceInfo": [],
        },
    )
    assert answer.status == 201
    assert (answer.body["intId"], answer.body["version"], answer.body["deleted"]) == (1, 0, 0)
    assert answer.body["id"] != "mine"


async def test_a_session_is_assigned_with_it(client: Client) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    made = await client.call("POST", "/customers", body, params={"sessionId": "s1"})
    assert made.status == 201
    session = await client.call("POST", f"/customers/{made.body['id']}/sessions", {"value": "s1"})
    assert session.status == 201
    other = {"nodeId": client.node_id, "externalId": "b1"}
    taken = await client.call("POST", "/customers", other, params={"sessionId": "s1"})
    refused(taken, 409, "Conflict: session already assigned")
    found = await client.call(
        "GET", "/customers", params={"nodeId": client.node_id, "externalId": "b1"}
    )
    assert found.body["elements"] == []


@pytest.mark.parametrize("value", ["", "x" * 256, "a\x00"])
async def test_a_session_that_is_none(client: Client, value: str) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    answer = await client.call("POST", "/customers", body, params={"sessionId": value})
    refused(
        answer, 400, "invalid parameter sessionId", ("expected 1 to 255 characters", "/sessionId")
    )


@pytest.mark.parametrize("value", ["%FF", "caf%E9", "%ED%A0%80"])
async def test_a_session_that_is_no_utf_8(client: Client, value: str) -> None:
    # read with replacement characters, the sessions of different visitors would be one
    body = {"nodeId": client.node_id, "externalId": "a1"}
    answer = await client.call("POST", f"/customers?sessionId={value}", body)
    refused(answer, 400, "invalid parameter sessionId", ("expected UTF-8", "/sessionId"))


async def test_a_session_with_a_replacement_character(client: Client) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    made = await client.call("POST", "/customers", body, params={"sessionId": "\ufffd"})
    sessions = await client.call("GET", f"/customers/{made.body['id']}/sessions")
    assert [session["value"] for session in sessions.body["elements"]] == ["\ufffd"]


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"nodeId": None}, [("required property is missing", "/nodeId")]),
        ({"nodeId": 5}, [("expected type string", "/nodeId")]),
        ({"externalId": None}, [("unique customer property is required", "/externalId")]),
        ({"externalId": ""}, [("unique customer property is required", "/externalId")]),
        ({"externalId": "x" * 256}, [("max length is 255", "/externalId")]),
        ({"externalId": 5}, [("expected type string or null", "/externalId")]),
        ({"surprise": 1}, [("property is not defined", "/surprise")]),
        ({"base": {"nick": "x"}}, [("property is not defined", "/base/nick")]),
        ({"extended": {"x": "y"}}, [("property is not defined", "/extended/x")]),
        ({"enabled": "yes"}, [("expected type boolean or null", "/enabled")]),
        ({"base": {"dob": "soon"}}, [("invalid format date", "/base/dob")]),
        ({"base": {"address": {"geo": {"lat": 1}}}}, [("required property is missing", "/base/address/geo/lon")]),
        ({"extra": "a\x00"}, [("character not allowed", "/extra")]),
        ({"base": 5}, [("expected type object or null", "/base")]),
    ],
)  # fmt: skip
async def test_members_that_are_not_valid(
    client: Client, change: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1", **change}
    refused(await client.call("POST", "/customers", body), 400, INVALID, *errors)


async def test_every_missing_unique_and_mandatory_property_is_named(hub: Hub) -> None:
    unique = ["externalId", "base.contacts.email"]
    async with make_client(hub, unique=unique, mandatory=["base.lastName"]) as client:
        answer = await client.call("POST", "/customers", {"nodeId": client.node_id})
        refused(
            answer,
            400,
            INVALID,
            ("unique customer property is required", "/externalId"),
            ("unique customer property is required", "/base/contacts/email"),
            ("mandatory property is required", "/base/lastName"),
        )


async def test_missing_properties_are_named_beside_other_faults(hub: Hub) -> None:
    unique = ["externalId", "base.contacts.email"]
    async with make_client(hub, unique=unique, mandatory=["base.lastName"]) as client:
        made = await client.customer(
            externalId="a1", base={"lastName": "Lee", "contacts": {"email": "a@x.it"}}
        )
        body = {"nodeId": client.node_id, "surprise": 1, "base": {"contacts": {"email": ""}}}
        for method, path in (("POST", "/customers"), ("PUT", f"/customers/{made['id']}")):
            refused(
                await client.call(method, path, body),
                400,
                INVALID,
                ("property is not defined", "/surprise"),
                ("unique customer property is required", "/externalId"),
                ("unique customer property is required", "/base/contacts/email"),
                ("mandatory property is required", "/base/lastName"),
            )


async def test_an_unknown_node(client: Client, unknown_id: str) -> None:
    for node_id in (unknown_id, "123", "not-existing"):
        body = {"nodeId": node_id, "externalId": "a1"}
        answer = await client.call("POST", "/customers", body)
        refused(answer, 404, f"node not found {node_id}")


async def test_a_bad_member_goes_before_an_unknown_node(client: Client, unknown_id: str) -> None:
    body = {"nodeId": unknown_id, "externalId": "a1", "surprise": 1}
    answer = await client.call("POST", "/customers", body)
    refused(answer, 400, INVALID, ("property is not defined", "/surprise"))


async def test_a_node_of_another_source_is_unknown(client: Client) -> None:
    node_id = await another_node(client)
    body = {"nodeId": node_id, "externalId": "a1"}
    answer = await client.call("POST", "/customers", body)
    refused(answer, 404, f"node not found {node_id}")
    other = await source(client, node=node_id)
    assert (await other.call("POST", "/customers", body)).status == 201


async def test_who_may_create(client: Client) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    for role, permission, status in [
        ("USER", "RW", 201),
        ("USER", "W", 201),
        ("ADMIN", "R", 201),
        ("USER", "R", 403),
        ("GUEST", "RW", 403),
    ]:
        who = await person(client, role, permission)
        answer = await who.call("POST", "/customers", body)
        assert answer.status == status, (role, permission, answer)
        if status == 403:
            refused(answer, 403, FORBIDDEN)


async def test_an_untrusted_source_reads_no_profile_by_merging(client: Client) -> None:
    made = await client.customer(externalId="a1", base={"firstName": "Ann"})
    browser = await untrusted(client)
    answer = await browser.call(
        "POST", "/customers", {"nodeId": client.node_id, "externalId": "a1"}
    )
    seen = ("id", "nodeId", "version", "registeredAt", "updatedAt")
    assert (answer.status, answer.body) == (201, {name: made[name] for name in seen})


async def test_a_customer_that_is_shown_in_a_megabyte_is_answered(client: Client) -> None:
    """Unset members are shown as nulls: of many small elements they are the most."""
    signs = [chr(code) for code in range(33, 127) if chr(code) not in '"\\/']
    ids = [*signs, *(a + b for a in signs for b in signs)][:5_430]
    body = {
        "nodeId": client.node_id,
        "externalId": "a1",
        "base": {"subscriptions": [{"id": one} for one in ids]},
    }
    raw = orjson.dumps(body)
    assert len(raw) <= 65_535
    answer = await client.call("POST", "/customers", data=raw)
    assert answer.status == 201, answer.raw[:200]
    assert len(answer.raw) > 1_048_576
    assert [shown["id"] for shown in answer.body["base"]["subscriptions"]] == ids
    again = await client.call("GET", f"/customers/{answer.body['id']}")
    assert again.body == answer.body
