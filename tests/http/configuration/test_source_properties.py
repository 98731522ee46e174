"""What sources of the providers CONTACTSEND and CONTACTPLAN are configured with."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control

INVALID = "source source is not valid"
PLAN: dict[str, Any] = {
    "exportProducts": True,
    "exportStores": False,
    "groupPk": 12,
    "userdbId": 34,
    "eventPropertiesColumnMapping": [
        {"model": "ORDER", "mapping": [{"hub": "properties.storeCode", "plan": "custom_string_1"}]}
    ],
    "productsPropertiesColumnMapping": [{"model": "ORDER_LINE", "mapping": []}],
    "classifications": ["brand"],
}
SEND: dict[str, Any] = {
    "userdbId": 34,
    "groupPk": 12,
    "mappedColumns": [{"hub": "base.contacts.email", "send": "email"}],
    "options": {"syncCustomer": "IN_OUT", "importEvent": True},
    "subscriptions": [{"sendWfc": 5, "hub": "newsletter", "send": "nl"}],
}


@pytest.mark.parametrize(
    ("provider", "properties"),
    [
        ("CONTACTPLAN", PLAN),
        ("CONTACTSEND", SEND),
        ("CONTACTSEND", {}),
        ("CONTACTPLAN", dict.fromkeys(PLAN)),
        ("CONTACTSEND", {**SEND, "options": {"syncCustomer": None}}),
    ],
)
async def test_they_are_kept_as_sent(
    control: Control, provider: str, properties: dict[str, Any]
) -> None:
    admin = await control.user(Role.ADMIN)
    body = {"provider": provider, "name": "x", "nodes": [control.node_id], "properties": properties}
    made = await admin.call("POST", "/sources", body)
    assert (made.status, made.body["properties"]) == (201, properties)
    read = await control.call("GET", f"/sources/{made.body['id']}")
    assert read.body == {**made.body, "token": None}
    changed = await control.call("PUT", f"/sources/{made.body['id']}", read.body)
    assert (changed.status, changed.body) == (200, read.body)


@pytest.mark.parametrize(
    ("provider", "properties", "message", "path"),
    [
        ("CONTACTPLAN", {"colour": 1}, "property is not defined", "/colour"),
        ("CONTACTPLAN", {"allowedIPs": "::1"}, "property is not defined", "/allowedIPs"),
        ("CONTACTPLAN", {"exportStores": "no"}, "expected type boolean", "/exportStores"),
        ("CONTACTPLAN", {"groupPk": "12"}, "expected type integer", "/groupPk"),
        ("CONTACTPLAN", {"classifications": "x"}, "expected type array", "/classifications"),
        ("CONTACTPLAN", {"classifications": [1]}, "expected type string", "/classifications/0"),
        (
            "CONTACTPLAN",
            {"eventPropertiesColumnMapping": [{"model": "ORDER", "mapping": [{"send": "x"}]}]},
            "property is not defined",
            "/eventPropertiesColumnMapping/0/mapping/0/send",
        ),
        ("CONTACTSEND", {"options": {"speed": 1}}, "property is not defined", "/options/speed"),
        (
            "CONTACTSEND",
            {"options": {"importEvent": 1}},
            "expected type boolean",
            "/options/importEvent",
        ),
        ("CONTACTSEND", {"mappedColumns": {"a": 1}}, "expected type array", "/mappedColumns"),
        ("CONTACTSEND", {"subscriptions": [5]}, "expected type object", "/subscriptions/0"),
    ],
)
async def test_what_they_are_not(
    control: Control, provider: str, properties: dict[str, Any], message: str, path: str
) -> None:
    body = {"provider": provider, "name": "x", "nodes": [control.node_id], "properties": properties}
    answer = await control.call("POST", "/sources", body)
    await control.refused(answer, 400, INVALID, (message, f"/properties{path}"))
    made = await control.source(provider=provider)
    answer = await control.call("PUT", f"/sources/{made['id']}", {**made, "properties": properties})
    await control.refused(answer, 400, INVALID, (message, f"/properties{path}"))


async def test_tokens_for_browsers_know_addresses_too(control: Control) -> None:
    made = await control.source(provider="JavaScript", properties={"allowedIPs": "10.0.0.1"})
    body = {**made, "properties": {"allowedIPs": "everywhere"}}
    answer = await control.call("PUT", f"/sources/{made['id']}", body)
    fault = ("invalid format ip", "/properties/allowedIPs")
    await control.refused(answer, 400, INVALID, fault)
