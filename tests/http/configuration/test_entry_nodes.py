"""GET and POST /configuration/nodes/entries; paging is that of `test_nodes.py`."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control

FORBIDDEN = "You don't have the necessary permissions for the resource"


async def test_a_new_node_has_the_default_rule(control: Control) -> None:
    made = await control.call("POST", "/nodes/entries", {"name": "shop"})
    assert made.status == 201
    assert made.body == {
        "id": made.body["id"],
        "name": "shop",
        "description": None,
        "imageUrl": None,
        "uniqueCustomer": {"properties": ["externalId"], "caseSensitive": False},
        "sourcePriority": [],
        "mandatoryProperties": [],
    }
    listed = await control.call("GET", "/nodes/entries")
    assert listed.body["elements"][-1] == made.body
    assert listed.body["page"]["totalElements"] == 2


async def test_all_members_are_kept(control: Control) -> None:
    source = await control.source()
    body = {
        "name": "shop",
        "description": "The shop",
        "imageUrl": "https://example.com/i.png",
        "uniqueCustomer": {"properties": ["base.contacts.email"], "caseSensitive": True},
        "sourcePriority": [source["id"]],
        "mandatoryProperties": ["base.lastName", "base.subscriptions"],
    }
    made = await control.call("POST", "/nodes/entries", body)
    assert (made.status, made.body) == (201, {**body, "id": made.body["id"]})


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("required property is missing", "/name")]),
        ({"name": 5}, [("expected type string", "/name")]),
        ({"name": "a", "kind": 1}, [("property is not defined", "/kind")]),
        (
            {"name": "a", "uniqueCustomer": {"properties": ["externalId", "base.shoeSize"]}},
            [("property is not defined", "/uniqueCustomer/properties/1")],
        ),
        (
            {"name": "a", "mandatoryProperties": ["extended.card"]},
            [("property is not defined", "/mandatoryProperties/0")],
        ),
        (
            {"name": "a", "uniqueCustomer": {"properties": ["base.subscriptions", "base"]}},
            [
                ("property is not scalar", "/uniqueCustomer/properties/0"),
                ("property is not scalar", "/uniqueCustomer/properties/1"),
            ],
        ),
        (
            {"name": "a", "uniqueCustomer": {"properties": ["base.address.geo", "tags.auto"]}},
            [
                ("property is not scalar", "/uniqueCustomer/properties/0"),
                ("property is not scalar", "/uniqueCustomer/properties/1"),
            ],
        ),
        (
            {"name": "a", "uniqueCustomer": {"properties": ["", "id", "base.", "firstName"]}},
            [("property is not defined", f"/uniqueCustomer/properties/{n}") for n in range(4)],
        ),
        (
            {"name": "a", "uniqueCustomer": {"properties": [None], "caseSensitive": "no"}},
            [
                ("expected type string", "/uniqueCustomer/properties/0"),
                ("expected type boolean", "/uniqueCustomer/caseSensitive"),
            ],
        ),
        (
            {"name": "a", "sourcePriority": ["x", str(uuid.UUID(int=5))]},
            [("unknown source", "/sourcePriority/0"), ("unknown source", "/sourcePriority/1")],
        ),
        ([], [("expected type object", "")]),
    ],
)
async def test_a_body_that_is_not_valid(
    control: Control, body: Any, errors: list[tuple[str, str]]
) -> None:
    answer = await control.call("POST", "/nodes/entries", body)
    await control.refused(answer, 400, "source node is not valid", *errors)


async def test_null_stands_for_any_optional_member(control: Control) -> None:
    names = ("id", "description", "imageUrl", "uniqueCustomer", "sourcePriority")
    body = {"name": "shop", **dict.fromkeys(names), "mandatoryProperties": None}
    made = await control.call("POST", "/nodes/entries", body)
    plain = await control.call("POST", "/nodes/entries", {"name": "shop"})
    assert (made.status, {**made.body, "id": ""}) == (201, {**plain.body, "id": ""})
    body["uniqueCustomer"] = {"properties": None, "caseSensitive": None}
    made = await control.call("POST", "/nodes/entries", body)
    assert (made.status, {**made.body, "id": ""}) == (201, {**plain.body, "id": ""})


async def test_an_empty_rule_and_objects_as_php_writes_them(control: Control) -> None:
    empty = {"name": "shop", "uniqueCustomer": {"properties": [], "caseSensitive": True}}
    made = await control.call("POST", "/nodes/entries", empty)
    assert (made.status, made.body["uniqueCustomer"]) == (201, empty["uniqueCustomer"])
    body = {
        "name": "shop",
        "uniqueCustomer": [],
        "mandatoryProperties": {"1": "consents.disclaimer.version", "0": "base.lastName"},
    }
    made = await control.call("POST", "/nodes/entries", body)
    assert made.status == 201, made
    assert made.body["uniqueCustomer"] == {"properties": ["externalId"], "caseSensitive": False}
    assert made.body["mandatoryProperties"] == ["base.lastName", "consents.disclaimer.version"]


async def test_the_members_of_a_consent_may_be_mandatory(control: Control) -> None:
    mandatory = ["consents.softSpam.email.status", "consents.profiling.online"]
    body = {"name": "shop", "mandatoryProperties": mandatory}
    made = await control.call("POST", "/nodes/entries", body)
    assert made.status == 201, made
    assert made.body["mandatoryProperties"] == mandatory
    body = {"name": "shop", "mandatoryProperties": ["consents.softSpam.email.state"]}
    answer = await control.call("POST", "/nodes/entries", body)
    fault = ("property is not defined", "/mandatoryProperties/0")
    await control.refused(answer, 400, "source node is not valid", fault)


async def test_extended_properties_in_rules(control: Control) -> None:
    definitions = {
        "card": {"type": "string"},
        "points": {"type": "integer", "contactlabProperties": {"enabled": True}},
        "stores": {"type": "array", "items": {"type": "string"}},
        "old": {"type": "string", "contactlabProperties": {"enabled": False}},
    }
    await control.define_extended(definitions)
    rule = {"properties": ["extended.card", "extended.points"], "caseSensitive": True}
    mandatory = ["extended.stores"]
    body = {"name": "shop", "uniqueCustomer": rule, "mandatoryProperties": mandatory}
    made = await control.call("POST", "/nodes/entries", body)
    assert (made.status, made.body["uniqueCustomer"]) == (201, rule)
    assert made.body["mandatoryProperties"] == mandatory
    rule = {"properties": ["extended.stores", "extended.old", "extended.new", "extended"]}
    body = {"name": "shop", "uniqueCustomer": rule, "mandatoryProperties": ["extended.old"]}
    answer = await control.call("POST", "/nodes/entries", body)
    errors = [
        ("property is not scalar", "/uniqueCustomer/properties/0"),
        ("property is disabled", "/uniqueCustomer/properties/1"),
        ("property is not defined", "/uniqueCustomer/properties/2"),
        ("property is not defined", "/uniqueCustomer/properties/3"),
        ("property is disabled", "/mandatoryProperties/0"),
    ]
    await control.refused(answer, 400, "source node is not valid", *errors)


async def test_roles(control: Control) -> None:
    source = control.acting_as((await control.source())["token"])
    await control.refused(await source.call("POST", "/nodes/entries", {}), 403, FORBIDDEN)
    guest = await control.user(Role.GUEST)
    await control.refused(await guest.call("GET", "/nodes"), 403, FORBIDDEN)
    await control.refused(await guest.call("GET", "/nodes/entries"), 403, FORBIDDEN)
    nobody = control.acting_as("nobody")
    for method, path in (("GET", "/nodes"), ("GET", "/nodes/entries"), ("POST", "/nodes/entries")):
        answer = await nobody.call(method, path)
        await control.refused(answer, 401, "The client is not authorized to access the API")
