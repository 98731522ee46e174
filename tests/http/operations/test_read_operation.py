"""GET /workspaces/{ws}/operations/{id} (D4)."""

from __future__ import annotations

from typing import Any

from tests.http.callers import operator, person, refused, source, untrusted
from tests.hub import Answer, Client, eventually

ASYNC = {"Prefer": "respond-async"}


async def _started(client: Client, method: str, path: str, body: Any) -> str:
    answer = await client.call(method, path, body, headers=ASYNC)
    operation_id = answer.body["operationId"]
    assert (answer.status, answer.body) == (202, {"operationId": operation_id})
    location = client.hub.url + client.path(f"/operations/{operation_id}")
    assert answer.headers["Location"] == location
    assert answer.headers["Preference-Applied"] == "respond-async"
    return str(operation_id)


async def _decided(client: Client, operation_id: str) -> Answer:
    async def decided() -> Answer | None:
        answer = await client.call("GET", f"/operations/{operation_id}")
        return None if answer.status == 200 and answer.body["status"] == "PENDING" else answer

    answer = await eventually(decided)
    assert isinstance(answer, Answer)
    return answer


async def test_an_applied_write(client: Client) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    operation_id = await _started(client, "POST", "/customers", body)
    answer = await _decided(client, operation_id)
    found = await client.call("GET", "/customers", params={"nodeId": client.node_id})
    (customer,) = found.body["elements"]
    assert (answer.status, answer.body) == (
        200,
        {
            "id": operation_id,
            "status": "APPLIED",
            "httpStatus": 201,
            "entity": {"type": "CUSTOMER", "id": customer["id"]},
            "error": None,
        },
    )


async def test_each_kind_of_write(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}"
    whole = {"nodeId": client.node_id, "externalId": "a1"}
    for method, where, body, status, kind in [
        ("PATCH", path, {"extra": "x"}, 200, "CUSTOMER"),
        ("PUT", path, whole, 200, "CUSTOMER"),
        ("POST", f"{path}/sessions", {"value": "s1"}, 201, "SESSION"),
        ("DELETE", path, None, 200, "CUSTOMER"),
    ]:
        answer = await _decided(client, await _started(client, method, where, body))
        assert answer.body["status"] == "APPLIED"
        assert (answer.body["httpStatus"], answer.body["entity"]["type"]) == (status, kind)
        if kind == "CUSTOMER":
            assert answer.body["entity"]["id"] == made["id"]


async def test_a_refused_write(client: Client, unknown_id: str) -> None:
    operation_id = await _started(client, "PATCH", f"/customers/{unknown_id}", {"extra": "x"})
    answer = await _decided(client, operation_id)
    error = answer.body["error"]
    assert (answer.status, answer.body) == (
        200,
        {
            "id": operation_id,
            "status": "REJECTED",
            "httpStatus": 404,
            "entity": None,
            "error": {
                "message": f"customer not found {unknown_id}",
                "logref": error["logref"],
                "data": None,
                "errors": [],
            },
        },
    )
    kept = await client.call("GET", f"/rejections/{operation_id}")
    assert (kept.status, kept.body["status"]) == (200, "OPEN")


async def test_an_unknown_operation(client: Client, stranger: Client, unknown_id: str) -> None:
    for operation_id in (unknown_id, "123"):
        answer = await client.call("GET", f"/operations/{operation_id}")
        refused(answer, 404, f"operation not found {operation_id}")
    body = {"nodeId": stranger.node_id, "externalId": "a1"}
    foreign = await _started(stranger, "POST", "/customers", body)
    answer = await client.call("GET", f"/operations/{foreign}")
    refused(answer, 404, f"operation not found {foreign}")


async def test_an_untrusted_source_reads_its_own_and_no_profile(client: Client) -> None:
    made = await client.customer(externalId="a1", base={"firstName": "Ann"})
    browser = await untrusted(client)
    own = await _started(browser, "PATCH", f"/customers/{made['id']}", {"extra": "x"})
    answer = await _decided(browser, own)
    assert (answer.status, answer.body) == (
        200,
        {
            "id": own,
            "status": "APPLIED",
            "httpStatus": 200,
            "entity": {"type": "CUSTOMER", "id": made["id"]},
            "error": None,
        },
    )
    others = await _started(client, "PATCH", f"/customers/{made['id']}", {"extra": "y"})
    await _decided(client, others)
    refused(
        await browser.call("GET", f"/operations/{others}"), 404, f"operation not found {others}"
    )


async def test_a_source_reads_its_own_a_person_all(client: Client) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    started = await _started(client, "POST", "/customers", body)
    await _decided(client, started)
    other = await source(client)
    refused(
        await other.call("GET", f"/operations/{started}"), 404, f"operation not found {started}"
    )
    for who in (client, operator(client), await person(client, "GUEST", "R")):
        assert (await who.call("GET", f"/operations/{started}")).body["status"] == "APPLIED"
