"""PUT /workspaces/{id}/status, and what still works in a suspended and in a disabled workspace."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import aiohttp
import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control
from tests.hub import OPERATOR_TOKEN, Answer, Client

FORBIDDEN = "You don't have the necessary permissions for the resource"
OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}


def _reads(client: Client, customer: str, event: str) -> list[str]:
    return [
        f"/customers?nodeId={client.node_id}",
        f"/customers/{customer}",
        f"/customers/{customer}/sessions",
        "/events",
        f"/events/{event}/status",
        "/updates",
        "/updates?wait=1&offset=0",
        "/updates/last-offset",
        "/rejections",
        "/configuration",
        "/configuration/nodes",
        "/configuration/nodes/entries",
        f"/configuration/nodes/entries/{client.node_id}",
        "/configuration/sources",
        "/configuration/unique-customer-matching-policy",
    ]


def _writes(client: Client, customer: str) -> list[tuple[str, str, Any]]:
    person = {"nodeId": client.node_id, "externalId": "b"}
    some = str(uuid.uuid4())
    return [
        ("POST", "/customers", person),
        ("POST", "/customers/batch", {"customers": [person]}),
        ("PATCH", f"/customers/{customer}", {"extra": "x"}),
        ("PUT", f"/customers/{customer}", person),
        ("DELETE", f"/customers/{customer}", None),
        ("POST", f"/customers/{customer}/sessions", {"value": "s"}),
        ("POST", "/events", client.event()),
        ("POST", "/events/batch", {"events": [client.event()]}),
        ("POST", "/rejections/replay", {}),
        ("POST", f"/rejections/{some}/replay", None),
        ("DELETE", f"/rejections/{some}", None),
    ]


def _changes(client: Client, source: str) -> list[tuple[str, str, Any]]:
    return [
        ("PUT", "/configuration", {"name": "x"}),
        ("PUT", "/configuration/throttling", {"maxRequestsPerMinute": 0}),
        ("POST", "/configuration/nodes/entries", {"name": "x"}),
        ("PUT", f"/configuration/nodes/entries/{client.node_id}", {}),
        ("POST", "/configuration/sources", {}),
        ("PUT", f"/configuration/sources/{source}", {}),
        ("POST", f"/configuration/sources/{source}/refresh-token", None),
        ("DELETE", f"/configuration/sources/{source}", None),
    ]


async def _set_status(client: Client, status: str) -> None:
    answer = await client.call("PUT", "/status", {"status": status}, headers=OPERATOR)
    assert (answer.status, answer.body) == (200, {"status": status})


async def _source_id(client: Client) -> str:
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.http.get("/hub/v1/me", headers=headers) as answer:
        own: str = (await answer.json())["id"]
        return own


async def test_suspended_is_read_only(client: Client) -> None:
    customer = (await client.customer(externalId="a"))["id"]
    event = (await client.call("POST", "/events", client.event(customerId=customer))).body["id"]
    updates = await client.feed_of(2)
    source = await _source_id(client)
    await _set_status(client, "SUSPENDED")
    for path in _reads(client, customer, event):
        assert (path, (await client.call("GET", path)).status) == (path, 200)
    message = f"workspace suspended: {client.workspace_id}"
    for headers in ({}, OPERATOR):
        for method, path, body in _writes(client, customer):
            answer = await client.call(method, path, body, headers=headers)
            assert (method, path, answer.status) == (method, path, 403)
            assert answer.body["message"] == message
    for method, path, body in _changes(client, source):
        answer = await client.call(method, path, body, headers=OPERATOR)
        assert (method, path, answer.status, answer.body["message"]) == (method, path, 403, message)
    read = await client.call("GET", "", headers=OPERATOR)
    assert (read.status, read.body["status"]) == (200, "SUSPENDED")
    async with client.http.get(
        "/hub/v1/me", headers={"Authorization": f"Bearer {client.token}"}
    ) as me:
        shown = (await me.json())["groups"][0]["workspaces"][0]
        assert (me.status, shown["status"]) == (200, "SUSPENDED")
    await _set_status(client, "ENABLED")
    assert await client.feed() == updates
    assert (await client.call("PATCH", f"/customers/{customer}", {"extra": "x"})).status == 200


async def test_disabled_is_closed(client: Client, operator: aiohttp.ClientSession) -> None:
    customer = (await client.customer(externalId="a"))["id"]
    event = (await client.call("POST", "/events", client.event(customerId=customer))).body["id"]
    source = await _source_id(client)
    await _set_status(client, "DISABLED")
    message = f"workspace not found: {client.workspace_id}"
    calls = [("GET", path, None) for path in _reads(client, customer, event)]
    calls += [*_writes(client, customer), *_changes(client, source)]
    for headers in ({}, OPERATOR):
        for method, path, body in calls:
            answer = await client.call(method, path, body, headers=headers)
            assert (method, path, answer.status) == (method, path, 403)
            assert answer.body["message"] == message
    assert (await client.call("GET", "")).status == 403
    for path in ("/hub/v1/me", "/hub/v1/workspaces"):
        headers = {"Authorization": f"Bearer {client.token}"}
        async with client.http.get(path, headers=headers) as refused:
            assert refused.status == 403
    read = await client.call("GET", "", headers=OPERATOR)
    assert (read.status, read.body["status"]) == (200, "DISABLED")
    async with operator.get("/hub/v1/workspaces", params={"size": "50", "page": "0"}) as listed:
        assert listed.status == 200
    await _set_status(client, "ENABLED")
    assert (await client.call("GET", f"/customers/{customer}")).status == 200


async def test_a_follower_of_a_workspace_that_is_disabled_is_let_go(client: Client) -> None:
    async def wait() -> Answer:
        return await client.call("GET", "/updates", params={"wait": "3"})

    waiting = asyncio.create_task(wait())
    await _set_status(client, "DISABLED")
    answer = await waiting
    assert answer.status in {200, 403}
    assert answer.status == 403 or answer.body["updates"] == []
    assert (await wait()).status == 403


def _path(control: Control, rest: str = "") -> str:
    return f"/hub/v1/workspaces/{control.workspace_id}{rest}"


async def test_suspended_refuses_configuration_until_it_is_enabled(control: Control) -> None:
    await control.set_status("SUSPENDED")
    assert (await control.call("GET", "/nodes")).status == 200
    answer = await control.call("POST", "/nodes/entries", {"name": "x"})
    await control.refused(answer, 403, f"workspace suspended: {control.workspace_id}")
    await control.set_status("ENABLED")
    assert (await control.call("POST", "/nodes/entries", {"name": "x"})).status == 201


async def test_disabled_is_closed_to_all_but_the_operator(control: Control) -> None:
    admin = await control.user(Role.ADMIN)
    await control.set_status("DISABLED")
    message = f"workspace not found: {control.workspace_id}"
    for path in ("", "/configuration"):
        await control.refused(await admin.call("GET", _path(control, path)), 403, message)
    for path in ("/hub/v1/workspaces", "/hub/v1/me"):
        await control.refused(await admin.call("GET", path), 403, message)
    answer = await admin.call("PUT", _path(control, "/status"), {"status": "ENABLED"})
    await control.refused(answer, 403, message)
    assert (await control.call("GET", _path(control))).body["status"] == "DISABLED"
    await control.refused(await control.call("GET", ""), 403, message)
    await control.set_status("ENABLED")
    assert (await admin.call("GET", "")).status == 200


async def test_only_an_operator_changes_the_status(control: Control) -> None:
    admin = await control.user(Role.ADMIN)
    answer = await admin.call("PUT", _path(control, "/status"), {"status": "SUSPENDED"})
    await control.refused(answer, 403, FORBIDDEN)


@pytest.mark.parametrize(
    ("body", "message", "path"),
    [
        ({}, "required property is missing", "/status"),
        ({"status": "GONE"}, "value not in enum", "/status"),
        ([], "expected type object", ""),
    ],
)
async def test_a_status_that_is_none(control: Control, body: Any, message: str, path: str) -> None:
    answer = await control.call("PUT", _path(control, "/status"), body)
    await control.refused(answer, 400, "source workspace is not valid", (message, path))
