"""DELETE /workspaces/{ws}/customers/{customerId} (L1)."""

from __future__ import annotations

from tests.http.callers import (
    FORBIDDEN,
    another_node,
    person,
    raw_call,
    refused,
    source,
    untrusted,
)
from tests.hub import Client


async def test_the_answer_is_200_and_empty(client: Client) -> None:
    made = await client.customer(externalId="a1")
    answer = await client.call("DELETE", f"/customers/{made['id']}", params={"nodeId": "any"})
    assert (answer.status, answer.raw) == (200, b"")
    assert answer.headers["Content-Length"] == "0"
    assert (await client.call("GET", f"/customers/{made['id']}")).status == 404


async def test_a_content_type_with_an_empty_body_is_accepted(client: Client) -> None:
    made = await client.customer(externalId="a1")
    headers = {"Content-Type": "application/json"}
    answer = await raw_call(client, "DELETE", f"/customers/{made['id']}", headers=headers)
    assert (answer.status, answer.raw) == (200, b"")


async def test_an_unknown_customer(client: Client, unknown_id: str) -> None:
    for customer_id in (unknown_id, unknown_id.upper(), "123", "not-existing", "%00", "%ff"):
        answer = await client.call("DELETE", f"/customers/{customer_id}")
        shown = {"%00": "\x00", "%ff": "%FF"}.get(customer_id, customer_id)
        refused(answer, 404, f"customer not found {shown}")


async def test_a_second_time_it_is_unknown(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}"
    assert (await client.call("DELETE", path)).status == 200
    refused(await client.call("DELETE", path), 404, f"customer not found {made['id']}")


async def test_a_customer_of_another_node_is_unknown(client: Client) -> None:
    made = await client.customer(externalId="a1")
    other = await source(client, node=await another_node(client))
    answer = await other.call("DELETE", f"/customers/{made['id']}")
    refused(answer, 404, f"customer not found {made['id']}")
    assert (await client.call("GET", f"/customers/{made['id']}")).status == 200


async def test_a_missing_role_is_told_only_of_a_known_customer(
    client: Client, unknown_id: str
) -> None:
    made = await client.customer(externalId="a1")
    for who in (
        await untrusted(client),
        await person(client, "GUEST"),
        await person(client, "USER", "R"),
    ):
        refused(await who.call("DELETE", f"/customers/{made['id']}"), 403, FORBIDDEN)
        answer = await who.call("DELETE", f"/customers/{unknown_id}")
        refused(answer, 404, f"customer not found {unknown_id}")
    assert (await client.call("GET", f"/customers/{made['id']}")).status == 200
