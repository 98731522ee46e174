"""GET /workspaces/{id} and PUT /workspaces/{id}/status."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control

FORBIDDEN = "You don't have the necessary permissions for the resource"


def _path(control: Control, rest: str = "") -> str:
    return f"/hub/v1/workspaces/{control.workspace_id}{rest}"


async def test_read(control: Control) -> None:
    answer = await control.call("GET", _path(control))
    assert (answer.status, answer.body["status"]) == (200, "ENABLED")
    assert set(answer.body) == {"id", "name", "slug", "groupPk", "shard", "status"}
    token = (await control.source())["token"]
    for caller in (control.acting_as(token), await control.user(Role.ADMIN)):
        answer = await caller.call("GET", _path(control))
        await control.refused(answer, 403, FORBIDDEN)


async def test_a_client_may_send_a_content_type_without_a_body(control: Control) -> None:
    answer = await control.call("GET", _path(control), headers={"Content-Type": "application/json"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "text", ["123", "not-a-uuid", pytest.param(str(uuid.uuid4()), id="another")]
)
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("PUT", "/status")])
async def test_an_unknown_workspace(control: Control, text: str, method: str, rest: str) -> None:
    answer = await control.call(method, f"/hub/v1/workspaces/{text}{rest}")
    await control.refused(answer, 403, f"workspace not found: {text}")


async def test_a_foreign_workspace(control: Control) -> None:
    token = (await (await control.another_workspace()).source())["token"]
    for method, rest in (("GET", ""), ("PUT", "/status"), ("GET", "/configuration")):
        answer = await control.acting_as(token).call(method, _path(control, rest))
        await control.refused(answer, 403, f"workspace not found: {control.workspace_id}")


async def test_suspended_is_reading_only(control: Control) -> None:
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


async def test_no_other_method(control: Control) -> None:
    answer = await control.call("DELETE", _path(control))
    await control.refused(answer, 405, "Request method 'DELETE' not supported")
    answer = await control.call("GET", _path(control, "/nothing"))
    await control.refused(answer, 404, "Not Found")
