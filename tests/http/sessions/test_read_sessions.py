"""GET /workspaces/{ws}/customers/{customerId}/sessions and one of them (operations 86 and 88)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.http.callers import another_node, refused, source
from tests.hub import Client


async def test_a_customer_without_sessions(client: Client) -> None:
    made = await client.customer(externalId="a1")
    answer = await client.call("GET", f"/customers/{made['id']}/sessions")
    assert (answer.status, answer.body) == (200, {"elements": []})


async def test_sessions_are_those_of_the_customer(client: Client) -> None:
    first, second = await client.customer(externalId="a1"), await client.customer(externalId="b1")
    path, other = (f"/customers/{made['id']}/sessions" for made in (first, second))
    made = [(await client.call("POST", path, {"value": value})).body for value in ("s1", "s2")]
    await client.call("POST", other, {"value": "s3"})
    answer = await client.call("GET", path)
    assert (answer.status, list(answer.body)) == (200, ["elements"])
    by_value = sorted(answer.body["elements"], key=lambda element: str(element["value"]))
    assert by_value == sorted(made, key=lambda element: str(element["value"]))


@pytest.mark.parametrize("value", ["s1", "a/b", "50%", "?&#", "\u00fc x", "\U0001f600", "x" * 255])
async def test_a_session_by_id_and_by_value(client: Client, value: str) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}/sessions"
    session = (await client.call("POST", path, {"value": value})).body
    for text in (session["id"], session["id"].upper(), quote(value, safe="")):
        answer = await client.call("GET", f"{path}/{text}")
        assert (answer.status, answer.body) == (200, session), text


async def test_unknown_ones(client: Client, unknown_id: str) -> None:
    first, second = await client.customer(externalId="a1"), await client.customer(externalId="b1")
    path = f"/customers/{second['id']}/sessions"
    session = (await client.call("POST", path, {"value": "s1"})).body
    for text in ("s1", session["id"], unknown_id, "S1"):
        answer = await client.call("GET", f"/customers/{first['id']}/sessions/{text}")
        refused(answer, 404, f"session not found {text}")
    assert (await client.call("DELETE", f"/customers/{second['id']}")).status == 200
    for customer_id in (second["id"], unknown_id, "123"):
        for below in ("", "/s1"):
            answer = await client.call("GET", f"/customers/{customer_id}/sessions{below}")
            refused(answer, 404, f"customer not found {customer_id}")


async def test_a_customer_of_another_node_is_unknown(client: Client) -> None:
    made = await client.customer(externalId="a1")
    other = await source(client, node=await another_node(client))
    for below in ("", "/s1"):
        answer = await other.call("GET", f"/customers/{made['id']}/sessions{below}")
        refused(answer, 404, f"customer not found {made['id']}")
