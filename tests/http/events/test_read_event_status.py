"""GET /workspaces/{ws}/events/{id}/status (D3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.callers import another_node, refused, source, untrusted
from tests.hub import Client, eventually


async def _recorded(client: Client, **members: Any) -> str:
    answer = await client.call("POST", "/events", client.event(**members))
    assert answer.status == 202, answer
    return str(answer.body["id"])


async def _decided(client: Client, event_id: str) -> Any:
    """The state once it is not PENDING, which it is from the moment of the 202."""

    async def decided() -> Any:
        answer = await client.call("GET", f"/events/{event_id}/status")
        assert answer.status == 200, answer
        return answer.body if answer.body["status"] != "PENDING" else None

    return await eventually(decided)


async def test_an_event_of_a_customer_is_stored(client: Client) -> None:
    made = await client.customer(externalId="a1")
    event_id = await _recorded(client, customerId=made["id"])
    expected = {"id": event_id, "status": "STORED", "reason": None}
    assert await _decided(client, event_id) == expected
    upper = await client.call("GET", f"/events/{event_id.upper()}/status")
    assert (upper.status, upper.body) == (200, expected)


async def test_an_event_is_anonymous_until_it_is_attached(client: Client) -> None:
    made = await client.customer(externalId="a1")
    event_id = await _recorded(client)  # of the session s1
    state = {"id": event_id, "status": "ANONYMOUS", "reason": None}
    assert await _decided(client, event_id) == state
    await client.call("POST", f"/customers/{made['id']}/sessions", {"value": "s1"})

    async def attached() -> bool:
        answer = await client.call("GET", f"/events/{event_id}/status")
        return bool(answer.body == {**state, "status": "STORED"})

    await eventually(attached, what="the event to be attached")


async def test_an_event_that_is_refused_later_says_why(client: Client, unknown_id: str) -> None:
    for named in (unknown_id, unknown_id.upper(), "123", ""):
        event_id = await _recorded(client, customerId=named)
        reason = f"customer not found {named}"
        expected = {"id": event_id, "status": "FAILED", "reason": reason}
        assert await _decided(client, event_id) == expected


@pytest.mark.parametrize("text", ["123", "%20", "00000000-0000-4000-8000-000000000000"])
async def test_an_id_that_was_never_given_out(client: Client, text: str) -> None:
    answer = await client.call("GET", f"/events/{text}/status")
    refused(answer, 404, f"event not found {' ' if text == '%20' else text}")


async def test_an_event_that_is_deleted_with_its_customer(client: Client) -> None:
    made = await client.customer(externalId="a1")
    event_id = await _recorded(client, customerId=made["id"])
    await _decided(client, event_id)
    await client.call("DELETE", f"/customers/{made['id']}")
    answer = await client.call("GET", f"/events/{event_id}/status")
    refused(answer, 404, f"event not found {event_id}")


async def test_an_event_of_another_node_or_workspace(client: Client, stranger: Client) -> None:
    event_id = await _recorded(client)
    await _decided(client, event_id)
    other = await source(client, node=await another_node(client))
    for caller in (other, stranger):
        answer = await caller.call("GET", f"/events/{event_id}/status")
        refused(answer, 404, f"event not found {event_id}")


async def test_an_untrusted_source_follows_its_event(client: Client) -> None:
    browser = await untrusted(client)
    event_id = await _recorded(browser)
    expected = {"id": event_id, "status": "ANONYMOUS", "reason": None}
    assert await _decided(browser, event_id) == expected
