"""GET and PUT /configuration/nodes/entries/{nodeId}."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from headwater import clock
from headwater.domain.configuration import Role
from headwater.postgres import config
from tests.http.configuration.conftest import Control

EMAIL = {"properties": ["base.contacts.email"], "caseSensitive": False}


async def _insert_customer(control: Control, number: int, document: dict[str, Any]) -> uuid.UUID:
    customer_id = uuid.uuid4()
    async with control.parts.pool.transaction() as conn:
        await conn.execute(
            "INSERT INTO customers (workspace_id, id, node_id, int_id, version, registered_at,"
            " updated_at, registered_by, updated_by, document)"
            " VALUES ($1, $2, $3, $4, 1, $5, $5, 'x', 'x', $6::text::jsonb)",
            uuid.UUID(control.workspace_id),
            customer_id,
            uuid.UUID(control.node_id),
            number,
            clock.now(),
            orjson.dumps(document).decode(),
        )
    return customer_id


async def _match_keys(control: Control) -> set[uuid.UUID]:
    async with control.parts.pool.connection() as conn:
        rows = await conn.fetch(
            "SELECT customer_id FROM identities WHERE workspace_id = $1 AND kind = 'MATCH'",
            uuid.UUID(control.workspace_id),
        )
    return {row["customer_id"] for row in rows}


async def test_a_changed_rule_gives_customers_new_keys(control: Control) -> None:
    path = f"/nodes/entries/{control.node_id}"
    ada = await _insert_customer(control, 1, {"base": {"contacts": {"email": "ada@example.com"}}})
    await _insert_customer(control, 2, {"externalId": "x"})
    body = {"id": control.node_id, "name": "web", "uniqueCustomer": EMAIL}
    changed = await control.call("PUT", path, body)
    assert (changed.status, changed.body["uniqueCustomer"]) == (200, EMAIL)
    assert await _match_keys(control) == {ada}
    assert (await control.call("GET", path)).body == changed.body


async def test_a_rule_that_would_merge_customers_is_refused(control: Control) -> None:
    path = f"/nodes/entries/{control.node_id}"
    before = (await control.call("GET", path)).body
    for number, email in ((1, "ada@example.com"), (2, "ADA@example.com")):
        await _insert_customer(control, number, {"base": {"contacts": {"email": email}}})
    body = {"id": control.node_id, "name": "new name", "uniqueCustomer": EMAIL}
    answer = await control.call("PUT", path, body)
    assert answer.status == 409
    assert answer.body["message"].startswith("Conflict: customers ")
    assert answer.body["data"] is None
    assert (await control.call("GET", path)).body == before
    body["uniqueCustomer"] = {**EMAIL, "caseSensitive": True}
    assert (await control.call("PUT", path, body)).status == 200
    assert len(await _match_keys(control)) == 2


async def test_customers_far_apart_that_would_share_a_key(control: Control) -> None:
    path = f"/nodes/entries/{control.node_id}"
    before = (await control.call("GET", path)).body
    emails = [f"{n}@example.com" for n in range(2 * config.REKEYED_AT_ONCE)]
    for number, email in enumerate([*emails, emails[0]], 1):
        await _insert_customer(control, number, {"base": {"contacts": {"email": email}}})
    body = {"id": control.node_id, "name": "web", "uniqueCustomer": EMAIL}
    answer = await control.call("PUT", path, body)
    assert (answer.status, answer.body["data"]) == (409, None)
    assert (await control.call("GET", path)).body == before
    assert await _match_keys(control) == set()
    body["uniqueCustomer"] = {"properties": []}
    assert (await control.call("PUT", path, body)).status == 200
    assert await _match_keys(control) == set()


async def test_the_document_that_was_read_may_be_sent_back(control: Control) -> None:
    source = await control.source()
    path = f"/nodes/entries/{control.node_id}"
    body = {"id": control.node_id.upper(), "name": "web", "uniqueCustomer": EMAIL}
    body["sourcePriority"] = [source["id"]]
    made = (await control.call("PUT", path, body)).body
    # the source is deleted, but what it wrote keeps its rank
    await control.call("DELETE", f"/sources/{source['id']}")
    answer = await control.call("PUT", path, made)
    assert (answer.status, answer.body) == (200, made)
    answer = await control.call("POST", "/nodes/entries", {**made, "id": None})
    fault = ("unknown source", "/sourcePriority/0")
    await control.refused(answer, 400, "source node is not valid", fault)


@pytest.mark.parametrize(
    "text", ["123", "not-existing", pytest.param(str(uuid.uuid4()), id="another")]
)
async def test_an_unknown_node(control: Control, text: str) -> None:
    for method in ("GET", "PUT"):
        answer = await control.call(method, f"/nodes/entries/{text}")
        await control.refused(answer, 404, f"node not found {text}")


async def test_a_node_of_another_workspace(control: Control) -> None:
    there = await control.another_workspace()
    answer = await control.call("GET", f"/nodes/entries/{there.node_id}")
    await control.refused(answer, 404, f"node not found {there.node_id}")


async def test_bodies_that_are_not_valid(control: Control) -> None:
    path = f"/nodes/entries/{control.node_id}"
    message = "source node is not valid"
    answer = await control.call("PUT", path, {"name": "a", "uniqueCustomer": EMAIL})
    await control.refused(answer, 400, message, ("required property is missing", "/id"))
    body = {"id": str(uuid.uuid4()), "name": "a", "uniqueCustomer": EMAIL}
    answer = await control.call("PUT", path, body)
    await control.refused(answer, 400, message, ("property is immutable", "/id"))
    answer = await control.call("PUT", path, {"id": control.node_id, "name": "a"})
    missing = ("required property is missing", "/uniqueCustomer")
    await control.refused(answer, 400, message, missing)


async def test_roles_come_after_the_node(control: Control) -> None:
    guest = await control.user(Role.GUEST)
    message = "You don't have the necessary permissions for the resource"
    for method in ("GET", "PUT"):
        answer = await guest.call(method, f"/nodes/entries/{control.node_id}")
        await control.refused(answer, 403, message)
        answer = await guest.call(method, "/nodes/entries/nothing")
        await control.refused(answer, 404, "node not found nothing")


async def test_an_entry_node_can_not_be_deleted(control: Control) -> None:
    answer = await control.call("DELETE", f"/nodes/entries/{control.node_id}")
    await control.refused(answer, 405, "Request method 'DELETE' not supported")
