"""GET /me."""

from __future__ import annotations

from headwater.domain.configuration import Role
from tests.http.configuration.conftest import Control


async def test_me(control: Control) -> None:
    made = await control.source()
    me = (await control.acting_as(made["token"]).call("GET", "/hub/v1/me")).body
    assert (me["id"], me["name"], me["surname"], me["email"]) == (made["id"], "till", None, None)
    assert me["roles"] == ["TRUSTED_APPLICATION"]
    (group,) = me["groups"]
    (workspace,) = group["workspaces"]
    node = {"id": control.node_id, "name": "web", "type": "ENTRY", "permission": "RW"}
    assert (workspace["id"], workspace["nodes"]) == (control.workspace_id, [node])
    user = await (await control.user(Role.USER)).call("GET", "/hub/v1/me")
    assert isinstance(user.body["id"], int)
    assert user.body["groups"][0]["workspaces"][0]["nodes"][0]["permission"] == "R"
    operator = await control.call("GET", "/hub/v1/me")
    assert (operator.body["roles"], operator.body["groups"]) == (["CLAB_OPERATOR"], [])
