"""Waiting, joining and repeating writes. Source: contacthub 2.12."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.http.callers import refused, source
from tests.hub import Answer, Client, Hub, eventually, make_client
from tests.servers import web_beside


@pytest.fixture(scope="module")
def patient_hub(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    """A web process whose writes wait for a second by default."""
    settings = {"HEADWATER_INGEST_WAIT_SECONDS": "1"}
    with web_beside(hub, server_folder / "patient", settings) as patient:
        yield patient


@pytest.fixture(scope="module")
def second_web(patient_hub: Hub) -> Iterator[Hub]:
    """Another web process of the same hub, at a port of its own."""
    with web_beside(patient_hub, patient_hub.folder / "second") as second:
        yield second


@asynccontextmanager
async def _without_processor(hub: Hub) -> AsyncIterator[None]:
    await asyncio.to_thread(hub.stop_processor)
    try:
        yield
    finally:
        hub.start_processor()


async def _call(client: Client, method: str, path: str, body: Any, **headers: str) -> Answer:
    """As `client.call`, at the process of the client's hub."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.call(method, path, body, headers=named)


async def _customers(client: Client) -> list[Any]:
    found = await client.call("GET", "/customers", params={"nodeId": client.node_id, "size": "50"})
    elements: list[Any] = found.body["elements"]
    return elements


# an Idempotency-Key


async def test_the_same_key_is_the_same_outcome_once(hub: Hub) -> None:
    async with make_client(hub, unique=[]) as client:
        new = {"nodeId": client.node_id, "externalId": "a1"}
        made = await _call(client, "POST", "/customers", new, Idempotency_Key="k1")
        path = f"/customers/{made.body['id']}"
        for method, where, body, key in [
            ("POST", "/customers", new, "k1"),
            ("PATCH", path, {"extra": "x"}, "k2"),
            ("PUT", path, {**new, "extra": "y"}, "k3"),
            ("POST", f"{path}/sessions", {"value": "s1"}, "k4"),
            ("DELETE", path, None, "k5"),
        ]:
            first = await _call(client, method, where, body, Idempotency_Key=key)
            again = await _call(client, method, where, body, Idempotency_Key=key)
            waited = await _call(client, method, where, body, Idempotency_Key=key, Prefer="wait=5")
            assert first.status in {200, 201}, (method, first)
            assert (again.status, again.raw) == (first.status, first.raw), method
            assert (waited.status, waited.raw) == (first.status, first.raw), method
            assert waited.headers["Preference-Applied"] == "wait=5"
        operations = [update["operation"] for update in await client.feed()]
        assert operations == ["CREATE", "UPDATE", "UPDATE", "DELETE"]
        first = await _call(client, "PATCH", path, {"extra": "x"}, Idempotency_Key="k2")
        assert (first.status, first.body["version"]) == (200, 1)  # of a customer that is gone


async def test_a_key_with_another_call_is_refused(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}"
    assert (await _call(client, "PATCH", path, {"extra": "x"}, Idempotency_Key="k")).status == 200
    whole = {"nodeId": client.node_id, "externalId": "a1"}
    for method, where, body in [
        ("PATCH", path, {"extra": "y"}),
        ("PATCH", f"{path}?mode=STRICT", {"extra": "x"}),
        ("PATCH", f"{path}?sessionId=s", {"extra": "x"}),
        ("PUT", path, whole),
        ("POST", "/customers", whole),
        ("POST", f"{path}/sessions", {"value": "s"}),
        ("DELETE", path, None),
        ("POST", "/customers/batch", {"customers": [whole]}),
        ("POST", "/events", client.event()),
    ]:
        answer = await _call(client, method, where, body, Idempotency_Key="k")
        refused(answer, 422, "idempotency key reused")
    assert (await client.call("GET", path)).body["version"] == 1


async def test_a_refusal_of_the_processor_is_the_outcome(client: Client) -> None:
    first, second = await client.customer(externalId="a1"), await client.customer(externalId="b1")
    path, body = f"/customers/{second['id']}", {"externalId": "a1"}
    taken = await _call(client, "PATCH", path, body, Idempotency_Key="k")
    assert taken.status == 409
    freed = await client.call("PATCH", f"/customers/{first['id']}", {"externalId": "c1"})
    assert freed.status == 200
    again = await _call(client, "PATCH", path, body, Idempotency_Key="k")
    assert (again.status, again.body["message"], again.body["data"]) == (
        409,
        taken.body["message"],
        taken.body["data"],
    )
    assert (await _call(client, "PATCH", path, body, Idempotency_Key="k2")).status == 200
    assert (await client.call("GET", "/rejections")).body["elements"] == []


async def test_a_refusal_of_the_front_door_uses_no_key_up(
    client: Client, stranger: Client, unknown_id: str
) -> None:
    body = {"nodeId": client.node_id, "externalId": "a1"}
    for bad, status in [
        ({**body, "surprise": 1}, 400),
        ({**body, "nodeId": unknown_id}, 404),
        ({**body, "extra": "x" * 65_536}, 413),
    ]:
        answer = await _call(client, "POST", "/customers", bad, Idempotency_Key="k")
        assert answer.status == status
    answer = await _call(client, "POST", "/customers", body, Idempotency_Key="k")
    assert answer.status == 201


async def test_a_key_is_its_sources(hub: Hub) -> None:
    async with make_client(hub, unique=[]) as client:
        other = await source(client)
        body = {"nodeId": client.node_id, "externalId": "a1"}
        mine = await _call(client, "POST", "/customers", body, Idempotency_Key="k")
        its = await _call(other, "POST", "/customers", body, Idempotency_Key="k")
        assert (mine.status, its.status) == (201, 201)
        assert mine.body["id"] != its.body["id"]


async def test_a_key_is_free_again_when_its_days_are_over(hub: Hub, client: Client) -> None:
    one, other = ({"nodeId": client.node_id, "externalId": name} for name in ("a1", "b1"))
    first = await _call(client, "POST", "/customers", one, Idempotency_Key="k")
    batch = {"customers": [one | {"externalId": "c1"}]}
    await _call(client, "POST", "/customers/batch", batch, Idempotency_Key="kb")
    await _expire_operations(hub, client.workspace_id)
    second = await _call(client, "POST", "/customers", other, Idempotency_Key="k")
    assert (first.status, second.status) == (201, 201)
    batch = {"customers": [one | {"externalId": "d1"}]}
    answer = await _call(client, "POST", "/customers/batch", batch, Idempotency_Key="kb")
    assert [result["status"] for result in answer.body["results"]] == [201]
    names = [customer["externalId"] for customer in await _customers(client)]
    assert sorted(names) == ["a1", "b1", "c1", "d1"]


async def _expire_operations(hub: Hub, workspace_id: str) -> None:
    conn = await asyncpg.connect(hub.postgres.url)
    try:
        await conn.execute(
            "UPDATE operations SET expires_at = now() - interval '1 s' WHERE workspace_id = $1",
            workspace_id,
        )
    finally:
        await conn.close()


async def test_those_in_flight_join(hub: Hub) -> None:
    async with make_client(hub, unique=[]) as client:
        body = {"nodeId": client.node_id, "externalId": "a1"}
        answers = await asyncio.gather(
            *(_call(client, "POST", "/customers", body, Idempotency_Key="k") for _ in range(20))
        )
        assert {answer.status for answer in answers} == {201}
        assert len({answer.raw for answer in answers}) == 1
        assert len(await _customers(client)) == 1


# waiting


async def test_what_is_pending_is_joined_from_every_process(
    hub: Hub, patient_hub: Hub, second_web: Hub
) -> None:
    async with make_client(patient_hub, unique=[]) as client, make_client(second_web) as there:
        made = await client.customer(externalId="old")
        other = Client(second_web, there.http, client.workspace_id, client.node_id, client.token)
        path = f"/customers/{made['id']}"
        new = {"nodeId": client.node_id, "externalId": "a1"}
        calls: list[tuple[str, str, Any]] = [
            ("POST", "/customers", new),
            ("POST", "/customers/batch", {"customers": [new, 5, new]}),
            ("PATCH", path, {"extra": "x"}),
            ("POST", f"{path}/sessions", {"value": "s1"}),
        ]
        async with _without_processor(hub):
            for answer in await asyncio.gather(*(_call(client, *call) for call in calls)):
                refused(answer, 503, "write still pending")
                assert answer.headers["Retry-After"] == "1"

            async def all_pending() -> bool:
                """The other process has heard of them once it joins instead of adding."""
                answers = await asyncio.gather(*(_call(other, *call) for call in calls))
                return all(answer.body["message"] == "write still pending" for answer in answers)

            assert await all_pending()

        async def done() -> list[Answer]:
            found = await asyncio.gather(*(_call(other, *call) for call in calls))
            return [] if any(answer.status == 503 for answer in found) else list(found)

        post, batch, patch, session = await eventually(done, 60, "the processor to catch up")
        assert (post.status, batch.status, patch.status, session.status) == (201, 200, 200, 201)
        assert [result["status"] for result in batch.body["results"]] == [201, 400, 201]
        assert patch.body["version"] == 1
        ids = {post.body["id"], made["id"]}
        ids |= {result["id"] for result in batch.body["results"] if "id" in result}
        assert {customer["id"] for customer in await _customers(client)} == ids
        assert len(ids) == 4

        async def a_new_write() -> bool:
            """Both processes know that the first has its outcome: an identical call is another write."""
            answer = await _call(client, "POST", "/customers", new)
            assert answer.status == 201, answer
            return bool(answer.body["id"] != post.body["id"])

        await eventually(a_new_write, what="the outcome to be known everywhere")


async def test_a_delete_that_is_pending_is_joined(hub: Hub, patient_hub: Hub) -> None:
    async with make_client(patient_hub) as client:
        made = await client.customer(externalId="a1")
        path = f"/customers/{made['id']}"
        async with _without_processor(hub):
            refused(await client.call("DELETE", path), 503, "write still pending")

        async def done() -> Answer | None:
            answer = await client.call("DELETE", path)
            return None if answer.status == 503 else answer

        gone = await eventually(done, 60, "the processor to catch up")
        assert (gone.status, gone.raw) == (200, b"")
        refused(await client.call("DELETE", path), 404, f"customer not found {made['id']}")


async def test_who_prefers_to_wait_is_told_where_to_ask(hub: Hub, patient_hub: Hub) -> None:
    async with make_client(patient_hub) as client:
        made = await client.customer(externalId="a1")
        path = f"/customers/{made['id']}"
        new = {"nodeId": client.node_id, "externalId": "b1"}
        started = []
        async with _without_processor(hub):
            for prefer, applied in [
                ("wait=1", "wait=1"),
                ("respond-async", "respond-async"),
                ("respond-async, wait=1", "wait=1"),
                ("wait=1, wait=60", "wait=1"),
            ]:
                for method, where, body in [
                    ("PATCH", path, {"extra": prefer}),
                    ("POST", f"{path}/sessions", {"value": prefer}),
                ]:
                    answer = await _call(client, method, where, body, Prefer=prefer)
                    operation_id = answer.body["operationId"]
                    assert (answer.status, answer.body) == (202, {"operationId": operation_id})
                    assert answer.headers["Preference-Applied"] == applied
                    location = f"{patient_hub.url}{client.path('/operations/')}{operation_id}"
                    assert answer.headers["Location"] == location
                    started.append(operation_id)
            batch = await _call(
                client, "POST", "/customers/batch", {"customers": [new]}, Prefer="wait=1"
            )
            (result,) = batch.body["results"]
            assert (batch.status, result["status"]) == (202, 202)
            started.append(result["operationId"])
            for operation_id in started:
                state = await client.call("GET", f"/operations/{operation_id}")
                assert (state.status, state.body) == (
                    200,
                    {
                        "id": operation_id,
                        "status": "PENDING",
                        "httpStatus": None,
                        "entity": None,
                        "error": None,
                    },
                )
        for operation_id in started:

            async def applied_at(operation_id: str = operation_id) -> bool:
                state = await client.call("GET", f"/operations/{operation_id}")
                return bool(state.body["status"] == "APPLIED")

            await eventually(applied_at, 60, "the processor to catch up")
        assert (await client.call("GET", path)).body["version"] == 4
        assert len(await _customers(client)) == 2

        async def kept_for_days() -> bool:
            return await _short_lived(patient_hub, client.workspace_id, started) == 0

        await eventually(
            kept_for_days, what="the outcomes to be kept for who was told where to ask"
        )


async def _short_lived(hub: Hub, workspace_id: str, operations: list[str]) -> int:
    conn = await asyncpg.connect(hub.postgres.url)
    try:
        found: int = await conn.fetchval(
            "SELECT count(*) FROM operations WHERE workspace_id = $1 AND id = ANY ($2::uuid[])"
            " AND expires_at < now() + interval '6 days'",
            workspace_id,
            operations,
        )
    finally:
        await conn.close()
    return found


async def test_a_client_that_hangs_up_loses_and_doubles_nothing(hub: Hub, patient_hub: Hub) -> None:
    async with make_client(patient_hub, unique=[]) as client:
        body = {"nodeId": client.node_id, "externalId": "a1"}
        async with _without_processor(hub):
            call = asyncio.create_task(
                _call(client, "POST", "/customers", body, Idempotency_Key="k")
            )
            await asyncio.wait([call], timeout=0.5)
            call.cancel()

        async def done() -> Answer | None:
            answer = await _call(client, "POST", "/customers", body, Idempotency_Key="k")
            return None if answer.status == 503 else answer

        again = await eventually(done, 60, "the processor to catch up")
        assert again.status == 201
        assert [customer["id"] for customer in await _customers(client)] == [again.body["id"]]


async def test_without_postgres_the_plain_refusal_stands(patient_hub: Hub, unknown_id: str) -> None:
    """Whether the customer exists can't be asked then; and no refusal waits for it."""
    async with make_client(patient_hub) as client:
        made = await client.customer(externalId="a1")
        await asyncio.to_thread(patient_hub.postgres.stop)
        try:
            for customer_id in (made["id"], unknown_id):
                answer = await client.call("PATCH", f"/customers/{customer_id}", {"surprise": 1})
                refused(
                    answer,
                    400,
                    "source customer is not valid",
                    ("property is not defined", "/surprise"),
                )
            body = {"extra": "x"}
            pending = await client.call("PATCH", f"/customers/{made['id']}", body)
            refused(pending, 503, "write still pending")
        finally:
            await asyncio.to_thread(patient_hub.postgres.start)

        async def done() -> Answer | None:
            answer = await client.call("PATCH", f"/customers/{made['id']}", body)
            return None if answer.status == 503 else answer

        joined = await eventually(done, 60, "the processor to catch up")
        assert (joined.status, joined.body["version"]) == (200, 1)
