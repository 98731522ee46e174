"""A changed uniqueness rule or policy on a running hub, with writes in flight."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any
from uuid import UUID

from headwater import clock
from headwater.domain.configuration import CustomerPolicy
from headwater.domain.ids import WorkspaceId
from headwater.postgres.config import set_workspace_policy
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings
from tests.hub import OPERATOR_TOKEN, Answer, Client, eventually

PEOPLE = 12
HEADERS = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}


def _person(client: Client, number: int) -> dict[str, Any]:
    email = f"p{number}@example.com"
    return {
        "nodeId": client.node_id,
        "externalId": f"p{number}",
        "base": {"contacts": {"email": email}},
    }


async def _set_rule(client: Client, *properties: str) -> Answer:
    body = {"id": client.node_id, "name": "shop", "uniqueCustomer": {"properties": properties}}
    path = f"/configuration/nodes/entries/{client.node_id}"
    return await client.call("PUT", path, body, headers=HEADERS)


async def _customers(client: Client) -> list[Any]:
    answer = await client.call("GET", "/customers", params={"nodeId": client.node_id, "size": "50"})
    assert answer.status == 200, answer
    elements: list[Any] = answer.body["elements"]
    return elements


async def _set_policy(client: Client, policy: CustomerPolicy) -> None:
    pool = await open_pool(PostgresSettings(database_url=client.hub.postgres.url), max_size=1)
    try:
        async with pool.transaction() as conn:
            await set_workspace_policy(
                conn, WorkspaceId(UUID(client.workspace_id)), policy, clock.now()
            )
    finally:
        await pool.close()


async def test_nobody_is_doubled_while_the_rule_changes(client: Client) -> None:
    done = asyncio.Event()

    async def write(start: int) -> None:
        for number in count(start):
            if done.is_set():
                return
            answer = await client.call("POST", "/customers", _person(client, number % PEOPLE))
            assert answer.status == 201, answer

    async with asyncio.TaskGroup() as group:
        for start in range(4):
            group.create_task(write(start))
        for _ in range(4):
            assert (await _set_rule(client, "base.contacts.email")).status == 200
            assert (await _set_rule(client, "externalId")).status == 200
        done.set()
    await _set_rule(client, "base.contacts.email")
    for number in range(PEOPLE):
        body = {**_person(client, number), "externalId": f"moved-{number}"}
        assert (await client.call("POST", "/customers", body)).status == 201
    customers = await _customers(client)
    assert sorted(c["externalId"] for c in customers) == sorted(
        f"moved-{number}" for number in range(PEOPLE)
    )


async def test_a_refused_rule_changes_nothing(client: Client) -> None:
    first = await client.customer(externalId="a", base={"contacts": {"email": "x@example.com"}})
    second = await client.customer(externalId="b", base={"contacts": {"email": "X@example.com"}})
    refused = await _set_rule(client, "base.contacts.email")
    assert (refused.status, refused.body["data"]) == (409, None)
    assert {first["id"], second["id"]} == {
        (await client.customer(externalId=name))["id"] for name in ("A", "B")
    }
    answer = await client.call("PATCH", f"/customers/{second['id']}", {"externalId": "a"})
    assert (answer.status, answer.body["data"]["customer"]["id"]) == (409, first["id"])


async def test_merge_over_the_api_ends_an_older_policy(client: Client) -> None:
    path = "/configuration"
    first = await client.customer(externalId="a")
    await _set_policy(client, CustomerPolicy.BLOCK)
    body = {"nodeId": client.node_id, "externalId": "a"}

    async def is_blocked() -> bool:
        return (await client.call("POST", "/customers", body)).status == 409

    await eventually(is_blocked, what="BLOCK to count")
    settings = (await client.call("GET", path)).body
    assert settings["customerUniquenessPolicy"] == "MERGE"
    kept = {**settings, "customerUniquenessPolicy": None}
    assert (await client.call("PUT", path, kept, headers=HEADERS)).status == 200
    assert await is_blocked()
    assert (await client.call("PUT", path, settings, headers=HEADERS)).body == settings
    assert (await client.customer(externalId="a"))["id"] == first["id"]


async def test_who_was_made_without_a_check_is_found_after_it(client: Client) -> None:
    await _set_policy(client, CustomerPolicy.NO_CHECK)
    first = await client.customer(externalId="a")
    second = await client.customer(externalId="a")
    assert first["id"] != second["id"]
    assert (await _set_rule(client, "base.contacts.email", "externalId")).status == 200
    assert (await _set_rule(client, "externalId")).status == 200
    settings = (await client.call("GET", "/configuration")).body
    refused = await client.call("PUT", "/configuration", settings, headers=HEADERS)
    assert (refused.status, refused.body["data"]) == (409, None)
    assert (await client.call("DELETE", f"/customers/{second['id']}")).status == 200
    merged = await client.call("PUT", "/configuration", settings, headers=HEADERS)
    assert merged.status == 200
    assert (await client.customer(externalId="A"))["id"] == first["id"]
