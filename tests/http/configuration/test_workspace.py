"""GET /workspaces/{id}."""

from __future__ import annotations

import uuid

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


async def test_no_other_method(control: Control) -> None:
    answer = await control.call("DELETE", _path(control))
    await control.refused(answer, 405, "Request method 'DELETE' not supported")
    answer = await control.call("GET", _path(control, "/nothing"))
    await control.refused(answer, 404, "Not Found")
