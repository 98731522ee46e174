"""PATCH and PUT /workspaces/{ws}/customers/{customerId} (operations 80 and 81): what they have in common."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.http.callers import FORBIDDEN, another_node, person, refused, source, untrusted
from tests.hub import Answer, Client

INVALID = "source customer is not valid"
METHODS = pytest.mark.parametrize("method", ["PATCH", "PUT"])


async def _change(client: Client, method: str, customer: Any, **members: Any) -> Answer:
    whole = {"nodeId": client.node_id, "externalId": customer["externalId"], **members}
    path = f"/customers/{customer['id']}"
    return await client.call(method, path, members if method == "PATCH" else whole)


@METHODS
async def test_the_answer_is_what_the_next_get_says(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1", extra="one")
    answer = await _change(client, method, made, extra="two")
    assert (answer.status, answer.body) == (
        200,
        {**made, "extra": "two", "version": 1, "updatedAt": answer.body["updatedAt"]},
    )
    assert answer.body["updatedAt"] > made["updatedAt"]
    assert (await client.call("GET", f"/customers/{made['id']}")).body == answer.body


@METHODS
async def test_the_document_as_it_was_read_changes_nothing(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1", base={"firstName": "Ann"}, tags={"auto": ["x"]})
    answer = await client.call(method, f"/customers/{made['id']}", made)
    assert (answer.status, answer.body) == (200, made)


@METHODS
async def test_system_members_are_ignored(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1")
    answer = await _change(
        client,
        method,
        made,
        id=made["id"],
        nodeId=client.node_id,
        intId=99,
        version=7,
        deleted=1,
        registeredAt="yesterday",
        updatedAt=5,
        sourceInfo=[],
    )
    assert (answer.status, answer.body) == (200, made)


@METHODS
async def test_ids_are_compared_as_ids(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1")
    body = {"id": made["id"].upper(), "nodeId": client.node_id.upper(), "externalId": "a1"}
    answer = await client.call(method, f"/customers/{made['id'].upper()}", body)
    assert (answer.status, answer.body) == (200, made)


@METHODS
async def test_another_id_or_node_is_immutable(
    client: Client, method: str, unknown_id: str
) -> None:
    made = await client.customer(externalId="a1")
    for member in ("id", "nodeId"):
        answer = await _change(client, method, made, **{member: unknown_id})
        refused(answer, 400, INVALID, ("property is immutable", f"/{member}"))
    answer = await _change(client, method, made, id=5)
    refused(answer, 400, INVALID, ("property is immutable", "/id"))


@METHODS
async def test_members_that_are_not_valid(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1")
    answer = await _change(client, method, made, surprise=1, enabled="x", base={"dob": 5})
    refused(
        answer,
        400,
        INVALID,
        ("property is not defined", "/surprise"),
        ("expected type string or null", "/base/dob"),
        ("expected type boolean or null", "/enabled"),
    )


@METHODS
async def test_the_key_of_another_is_a_conflict(client: Client, method: str) -> None:
    first = await client.customer(externalId="a1")
    second = await client.customer(externalId="b1")
    answer = await _change(client, method, second, externalId="A1")
    assert (answer.status, {**answer.body, "logref": ""}) == (
        409,
        {
            "message": f"Conflict with exiting customer {first['id']}",
            "logref": "",
            "data": {
                "customer": {
                    "id": first["id"],
                    "href": client.hub.url + client.path(f"/customers/{first['id']}"),
                }
            },
            "errors": [],
        },
    )


@METHODS
async def test_a_session_is_assigned_with_it_or_nothing_is_done(
    client: Client, method: str
) -> None:
    first = await client.customer(externalId="a1")
    second = await client.customer(externalId="b1")
    body = {"nodeId": client.node_id, "externalId": "a1", "extra": "x"}
    path, params = f"/customers/{first['id']}", {"sessionId": "s1"}
    assert (await client.call(method, path, body, params=params)).status == 200
    sessions = await client.call("GET", f"{path}/sessions")
    assert [session["value"] for session in sessions.body["elements"]] == ["s1"]
    body["externalId"] = "b1"
    path = f"/customers/{second['id']}"
    taken = await client.call(method, path, body, params=params)
    refused(taken, 409, "Conflict: session already assigned")
    assert (await client.call("GET", path)).body == second


@METHODS
async def test_strict_replaces_the_subscriptions(client: Client, method: str) -> None:
    news, mail = {"id": "n", "subscribed": True}, {"id": "m", "subscribed": True}
    made = await client.customer(externalId="a1", base={"subscriptions": [news, mail]})
    body = {"nodeId": client.node_id, "externalId": "a1", "base": {"subscriptions": [news]}}
    path = f"/customers/{made['id']}"
    for mode, left in [(None, ["n", "m"]), ("null", ["n", "m"]), ("STRICT", ["n"])]:
        params = {} if mode is None else {"mode": mode}
        answer = await client.call(method, path, body, params=params)
        found = [one["id"] for one in answer.body["base"]["subscriptions"]]
        assert (answer.status, found) == (200, left), mode
    refused(
        await client.call(method, path, body, params={"mode": "LAX"}),
        400,
        "invalid parameter mode",
        ("'LAX' is not STRICT", "/mode"),
    )


@METHODS
async def test_a_deleted_customer_is_unknown(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1")
    assert (await client.call("DELETE", f"/customers/{made['id']}")).status == 200
    answer = await _change(client, method, made)
    refused(answer, 404, f"customer not found {made['id']}")


@METHODS
@pytest.mark.parametrize(
    "customer_id",
    [
        "123",
        "not-existing",
        pytest.param(str(uuid.uuid4()), id="another"),
        "0000ABCD-0000-4000-8000-00000000ABCD",
    ],
)
async def test_an_unknown_customer_goes_before_its_body(
    client: Client, method: str, customer_id: str
) -> None:
    path, not_found = f"/customers/{customer_id}", f"customer not found {customer_id}"
    refused(await client.call(method, path, {}), 404, not_found)
    refused(await client.call(method, path, {"surprise": 1}), 404, not_found)
    refused(await client.call(method, path, data=b"{"), 404, not_found)
    refused(await client.call(method, path, data=b" " * 70_000), 404, not_found)
    text = {"Content-Type": "text/plain"}
    refused(await client.call(method, path, data=b"{}", headers=text), 404, not_found)
    refused(await client.call(method, path, {}, params={"mode": "LAX"}), 404, not_found)
    whole = {"nodeId": client.node_id, "externalId": "a1"}
    refused(await client.call(method, path, whole), 404, not_found)


@METHODS
async def test_a_customer_of_another_node_is_unknown(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1")
    other = await source(client, node=await another_node(client))
    body = {"nodeId": client.node_id, "externalId": "a1"}
    for sent in (body, {"surprise": 1}):
        answer = await other.call(method, f"/customers/{made['id']}", sent)
        refused(answer, 404, f"customer not found {made['id']}")


@METHODS
async def test_an_unknown_customer_goes_before_a_missing_role(
    client: Client, method: str, unknown_id: str
) -> None:
    made = await client.customer(externalId="a1")
    guest = await person(client, "GUEST")
    refused(await guest.call(method, f"/customers/{made['id']}", data=b"{"), 403, FORBIDDEN)
    answer = await guest.call(method, f"/customers/{unknown_id}", data=b"{")
    refused(answer, 404, f"customer not found {unknown_id}")


@METHODS
async def test_a_user_needs_the_right_to_write(client: Client, method: str) -> None:
    made = await client.customer(externalId="a1")
    reader, writer = await person(client, "USER", "R"), await person(client, "USER", "W")
    body = {"nodeId": client.node_id, "externalId": "a1", "extra": "x"}
    path = f"/customers/{made['id']}"
    refused(await reader.call(method, path, body), 403, FORBIDDEN)
    refused(await reader.call(method, path, {"surprise": 1}), 403, FORBIDDEN)
    assert (await writer.call(method, path, body)).status == 200


async def test_an_untrusted_source_may_patch_and_reads_no_profile(client: Client) -> None:
    made = await client.customer(externalId="a1", base={"firstName": "Ann"})
    browser = await untrusted(client)
    path = f"/customers/{made['id']}"
    answer = await browser.call("PATCH", path, {"id": made["id"], "extra": "x"})
    assert (answer.status, answer.body) == (
        200,
        {
            "id": made["id"],
            "nodeId": client.node_id,
            "version": 1,
            "registeredAt": made["registeredAt"],
            "updatedAt": answer.body["updatedAt"],
        },
    )
    body = {"nodeId": client.node_id, "externalId": "a1"}
    refused(await browser.call("PUT", path, body), 403, FORBIDDEN)


async def test_a_put_is_whole(client: Client) -> None:
    made = await client.customer(externalId="a1")
    answer = await client.call("PUT", f"/customers/{made['id']}", {"externalId": None})
    refused(answer, 400, INVALID, ("required property is missing", "/nodeId"))
    answer = await client.call("PUT", f"/customers/{made['id']}", {"nodeId": client.node_id})
    refused(answer, 400, INVALID, ("unique customer property is required", "/externalId"))
