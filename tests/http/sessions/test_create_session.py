"""POST /workspaces/{ws}/customers/{customerId}/sessions (operation 87)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.http.callers import FORBIDDEN, another_node, person, refused, source, untrusted
from tests.hub import Client

INVALID = "source session is not valid"


async def test_the_answer_is_the_session(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}/sessions"
    answer = await client.call("POST", path, {"value": "s1"})
    assert (answer.status, answer.body) == (201, {"id": answer.body["id"], "value": "s1"})
    assert uuid.UUID(answer.body["id"])
    assert (await client.call("GET", path)).body == {"elements": [answer.body]}


async def test_the_same_value_again_is_the_same_session(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}/sessions"
    first = await client.call("POST", path, {"value": "s1"})
    again = await client.call("POST", path, {"value": "s1"})
    other = await client.call("POST", path, {"value": "s2"})
    assert (again.status, again.body) == (201, first.body)
    assert (other.status, other.body["id"] == first.body["id"]) == (201, False)


async def test_it_is_no_change_of_the_customer(client: Client) -> None:
    made = await client.customer(externalId="a1")
    await client.call("POST", f"/customers/{made['id']}/sessions", {"value": "s1"})
    assert (await client.call("GET", f"/customers/{made['id']}")).body == made
    assert len(await client.feed()) == 1


async def test_a_value_of_another_customer_is_a_conflict(client: Client) -> None:
    first, second = await client.customer(externalId="a1"), await client.customer(externalId="b1")
    await client.call("POST", f"/customers/{first['id']}/sessions", {"value": "s1"})
    answer = await client.call("POST", f"/customers/{second['id']}/sessions", {"value": "s1"})
    refused(answer, 409, "Conflict: session already assigned")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, ("required property is missing", "/value")),
        ({"value": None}, ("required property is missing", "/value")),
        ({"value": ""}, ("min length is 1", "/value")),
        ({"value": "x" * 256}, ("max length is 255", "/value")),
        ({"value": 5}, ("expected type string", "/value")),
        ({"value": "a\x00"}, ("character not allowed", "/value")),
        ({"value": "s1", "id": "x"}, ("property is not defined", "/id")),
        (["s1"], ("expected type object", "")),
    ],
)
async def test_a_body_that_is_no_session(
    client: Client, body: Any, error: tuple[str, str], unknown_id: str
) -> None:
    made = await client.customer(externalId="a1")
    answer = await client.call("POST", f"/customers/{made['id']}/sessions", body)
    refused(answer, 400, INVALID, error)
    answer = await client.call("POST", f"/customers/{unknown_id}/sessions", body)
    refused(answer, 404, f"customer not found {unknown_id}")


async def test_255_characters_are_a_value(client: Client) -> None:
    made = await client.customer(externalId="a1")
    value = "ä" * 255
    answer = await client.call("POST", f"/customers/{made['id']}/sessions", {"value": value})
    assert (answer.status, answer.body["value"]) == (201, value)


async def test_an_unknown_customer(client: Client, unknown_id: str) -> None:
    for customer_id in (unknown_id, unknown_id.upper(), "123"):
        answer = await client.call("POST", f"/customers/{customer_id}/sessions", {"value": "s1"})
        refused(answer, 404, f"customer not found {customer_id}")
    other = await source(client, node=await another_node(client))
    made = await client.customer(externalId="a1")
    answer = await other.call("POST", f"/customers/{made['id']}/sessions", {"value": "s1"})
    refused(answer, 404, f"customer not found {made['id']}")


async def test_who_may_create(client: Client, unknown_id: str) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}/sessions"
    browser = await untrusted(client)
    assert (await browser.call("POST", path, {"value": "s1"})).status == 201
    for who in (await person(client, "GUEST"), await person(client, "USER", "R")):
        refused(await who.call("POST", path, {"value": "s2"}), 403, FORBIDDEN)
        answer = await who.call("POST", f"/customers/{unknown_id}/sessions", {"value": "s2"})
        refused(answer, 404, f"customer not found {unknown_id}")
