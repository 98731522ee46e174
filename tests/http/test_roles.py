"""Who may do what: every route of the hub against every role. Source: contacthub 2.2."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from tests.http.callers import (
    FORBIDDEN,
    UNAUTHORIZED,
    acting_as,
    another_node,
    configure,
    operator,
    person,
    refused,
    source,
    untrusted,
)
from tests.hub import Answer, Client, eventually
from tests.openapi import Document

READ = {"CLAB_OPERATOR", "ADMIN", "USER", "GUEST", "TRUSTED_APPLICATION"}
WRITE = {"CLAB_OPERATOR", "ADMIN", "USER", "TRUSTED_APPLICATION"}
POST = WRITE | {"UNTRUSTED_APPLICATION"}
CONFIGURED = {"CLAB_OPERATOR", "ADMIN", "USER", "TRUSTED_APPLICATION"}
CONFIGURE = {"CLAB_OPERATOR", "ADMIN"}
UPDATES = {"CLAB_OPERATOR", "ADMIN", "USER", "PLATFORM_UPDATES", "TRUSTED_APPLICATION"}
PLATFORM = {"CLAB_OPERATOR"}
EVERYBODY = {
    "CLAB_OPERATOR",
    "ADMIN",
    "USER",
    "GUEST",
    "DPO",
    "TRUSTED_APPLICATION",
    "UNTRUSTED_APPLICATION",
    "PLATFORM_UPDATES",
}
OPEN = "/health"
"""Below it nobody needs a token."""

ALLOWED: dict[tuple[str, str], set[str]] = {
    ("GET", "/me"): EVERYBODY,
    ("GET", "/workspaces"): PLATFORM,
    ("POST", "/workspaces"): PLATFORM,
    ("GET", "/workspaces/{workspaceId}"): PLATFORM,
    ("PUT", "/workspaces/{workspaceId}/status"): PLATFORM,
    ("GET", "/configuration"): CONFIGURED,
    ("PUT", "/configuration"): CONFIGURE,
    ("GET", "/configuration/throttling"): PLATFORM,
    ("PUT", "/configuration/throttling"): PLATFORM,
    ("GET", "/configuration/unique-customer-matching-policy"): CONFIGURED,
    ("GET", "/configuration/nodes"): CONFIGURED,
    ("GET", "/configuration/nodes/entries"): CONFIGURED,
    ("POST", "/configuration/nodes/entries"): CONFIGURE,
    ("GET", "/configuration/nodes/entries/{nodeId}"): CONFIGURED,
    ("PUT", "/configuration/nodes/entries/{nodeId}"): CONFIGURE,
    ("GET", "/configuration/sources"): CONFIGURED,
    ("POST", "/configuration/sources"): CONFIGURE,
    ("GET", "/configuration/sources/{sourceId}"): CONFIGURED,
    ("PUT", "/configuration/sources/{sourceId}"): CONFIGURE,
    ("DELETE", "/configuration/sources/{sourceId}"): CONFIGURE,
    ("POST", "/configuration/sources/{sourceId}/refresh-token"): CONFIGURE,
    ("GET", "/customers"): READ,
    ("POST", "/customers"): POST,
    ("POST", "/customers/batch"): POST,
    ("GET", "/customers/{customerId}"): READ,
    ("PATCH", "/customers/{customerId}"): POST,
    ("PUT", "/customers/{customerId}"): WRITE,
    ("DELETE", "/customers/{customerId}"): WRITE,
    ("GET", "/customers/{customerId}/sessions"): READ,
    ("POST", "/customers/{customerId}/sessions"): POST,
    ("GET", "/customers/{customerId}/sessions/{sessionId}"): READ,
    ("GET", "/events"): READ,
    ("POST", "/events"): POST,
    ("POST", "/events/batch"): POST,
    ("GET", "/events/{id}"): READ,
    ("GET", "/events/{id}/status"): READ | POST,  # who may post may know what became of it
    ("GET", "/updates"): UPDATES,
    ("GET", "/updates/last-offset"): UPDATES,
    ("GET", "/rejections"): READ,
    ("GET", "/rejections/{id}"): READ,
    ("DELETE", "/rejections/{id}"): WRITE,
    ("POST", "/rejections/replay"): WRITE,
    ("POST", "/rejections/{id}/replay"): WRITE,
}
"""Who is let in, by method and path: below the workspace, or below /hub/v1."""
TO_WHOM_IT_BELONGS = {("GET", "/operations/{id}")}


def _short(path: str) -> str:
    path = path.removeprefix("/hub/v1")
    below = path.removeprefix("/workspaces/{workspaceId}")
    return below if below not in {"", "/status"} else path


@dataclass(slots=True, kw_only=True)
class Things:
    """One of each kind in the client's workspace, for requests that are right but for who makes them."""

    client: Client
    customer_id: str
    event_id: str
    source_ids: list[str]
    """As many as roles: the first one is deleted by whoever may."""
    rejection_ids: list[str]
    """The same."""

    @classmethod
    async def make(cls, client: Client) -> Things:
        """With a session `s-ann` of the customer, and writes that were refused because of it."""
        customer_id = (await client.customer(externalId="ann"))["id"]
        await client.call("POST", f"/customers/{customer_id}/sessions", {"value": "s-ann"})
        event = await client.call("POST", "/events", client.event(customerId=customer_id))
        things = cls(
            client=client,
            customer_id=customer_id,
            event_id=event.body["id"],
            source_ids=[await _source_id(client) for _ in EVERYBODY],
            rejection_ids=[],
        )
        for number in range(len(EVERYBODY)):
            body = {"nodeId": client.node_id, "externalId": f"bob-{number}"}
            url, later = "/customers?sessionId=s-ann", {"Prefer": "respond-async"}
            assert (await client.call("POST", url, body, headers=later)).status == 202

        async def kept() -> Any:
            listed = (await client.call("GET", "/rejections")).body["elements"]
            event_is_stored = (
                await client.call("GET", f"/events/{event.body['id']}")
            ).status == 200
            return listed if len(listed) == len(EVERYBODY) and event_is_stored else None

        things.rejection_ids = [element["id"] for element in await eventually(kept)]
        return things

    async def call(self, caller: Client, method: str, path: str) -> Answer:
        """The answer to a request of this route."""
        filled = path
        for name, value in {
            "{workspaceId}": self.client.workspace_id,
            "{nodeId}": self.client.node_id,
            "{customerId}": self.customer_id,
            "{sessionId}": "s-ann",
            "{sourceId}": self.source_ids[0],
            "{id}": self.event_id if path.startswith("/events") else self.rejection_ids[0],
        }.items():
            filled = filled.replace(name, value)
        if (method, path) == ("GET", "/customers"):
            filled += f"?nodeId={self.client.node_id}"
        body = self._body(method, path)
        headers = {"Authorization": f"Bearer {caller.token}"}
        url = caller.path(filled) if _is_below(path) else f"/hub/v1{filled}"
        async with caller.http.request(method, url, json=body, headers=headers) as answer:
            raw = await answer.read()
            parsed = json.loads(raw) if raw else None
            return Answer(answer.status, parsed, dict(answer.headers), raw)

    async def renew(self, method: str, path: str) -> None:
        """Make up for what a call has ended."""
        match method, path:
            case "DELETE", "/customers/{customerId}":
                self.customer_id = (await self.client.customer(externalId="ann"))["id"]
                url = f"/customers/{self.customer_id}/sessions"
                await self.client.call("POST", url, {"value": "s-ann"})
                event = self.client.event(customerId=self.customer_id)
                stored = await self.client.call(
                    "POST", "/events", event, headers={"Prefer": "wait=20"}
                )
                self.event_id = stored.body["id"]
            case "DELETE", "/rejections/{id}":
                self.rejection_ids.pop(0)
            case "DELETE", "/configuration/sources/{sourceId}":
                self.source_ids.pop(0)

    def _body(self, method: str, path: str) -> Any:
        customer = {"nodeId": self.client.node_id, "externalId": "ann"}
        source = {"name": "x", "provider": "API", "nodes": [self.client.node_id]}
        rule = {"properties": ["externalId"], "caseSensitive": False}
        node = {"id": self.client.node_id, "name": "x", "uniqueCustomer": rule}
        shop = {"name": "x", "slug": uuid.uuid4().hex, "groupPk": 1, "shard": "default"}
        event = self.client.event()  # it names its node, so rights are checked before the 202
        return {
            ("POST", "/workspaces"): shop,
            ("PUT", "/workspaces/{workspaceId}/status"): {"status": "ENABLED"},
            ("PUT", "/configuration"): {"name": "x"},
            ("PUT", "/configuration/throttling"): {"maxRequestsPerMinute": 0},
            ("POST", "/configuration/nodes/entries"): {"name": "x"},
            ("PUT", "/configuration/nodes/entries/{nodeId}"): node,
            ("POST", "/configuration/sources"): source,
            ("PUT", "/configuration/sources/{sourceId}"): {"id": self.source_ids[0], **source},
            ("POST", "/customers"): customer,
            ("POST", "/customers/batch"): {"customers": [customer]},
            ("PATCH", "/customers/{customerId}"): {"extra": "x"},
            ("PUT", "/customers/{customerId}"): customer,
            ("POST", "/customers/{customerId}/sessions"): {"value": "s-ann"},
            ("POST", "/events"): event,
            ("POST", "/events/batch"): {"events": [event]},
        }.get((method, path))


def _is_below(path: str) -> bool:
    return path != "/me" and not path.startswith("/workspaces")


async def _source_id(client: Client) -> str:
    body = {"provider": "API", "name": "x", "nodes": [client.node_id], "properties": {}}
    return str((await configure(client, "/sources", body))["id"])


async def _as(client: Client, role: str) -> Client:
    match role:
        case "CLAB_OPERATOR":
            return operator(client)
        case "TRUSTED_APPLICATION":
            return await source(client)
        case "UNTRUSTED_APPLICATION":
            return await untrusted(client)
        case _:
            return await person(client, role)


def test_every_route_says_who_may_use_it() -> None:
    documented = {
        (operation.method, _short(operation.path))
        for operation in Document().operations
        if OPEN not in operation.path
    }
    assert documented == set(ALLOWED) | TO_WHOM_IT_BELONGS


async def test_a_role_may_do_what_it_may_and_nothing_else(client: Client) -> None:
    things = await Things.make(client)
    callers = {role: await _as(client, role) for role in sorted(EVERYBODY)}
    for (method, path), allowed in ALLOWED.items():
        for role, caller in callers.items():
            answer = await things.call(caller, method, path)
            if role in allowed:
                assert answer.status < 300, (method, path, role, answer)
                await things.renew(method, path)
            else:
                assert answer.status == 403, (method, path, role, answer)
                refused(answer, 403, FORBIDDEN)


async def test_no_route_is_open_without_a_token_of_the_workspace(
    client: Client, stranger: Client
) -> None:
    things = await Things.make(client)
    nobody = [acting_as(client, t) for t in ("nobody", client.token[:-1], f"{client.token}x")]
    foreign = [
        acting_as(client, t) for t in (stranger.token, (await person(stranger, "ADMIN")).token)
    ]
    for method, path in [*ALLOWED, *TO_WHOM_IT_BELONGS]:
        for caller in nobody:
            refused(await things.call(caller, method, path), 401, UNAUTHORIZED)
        for caller in foreign if "{workspaceId}" in path or _is_below(path) else ():
            answer = await things.call(caller, method, path)
            refused(answer, 403, f"workspace not found: {client.workspace_id}")


ON_A_NODE: dict[tuple[str, str], str] = {
    ("GET", "/configuration/nodes/entries/{nodeId}"): "RW",
    ("GET", "/customers"): "R",
    ("GET", "/customers/{customerId}"): "R",
    ("GET", "/customers/{customerId}/sessions"): "R",
    ("GET", "/customers/{customerId}/sessions/{sessionId}"): "R",
    ("GET", "/events/{id}"): "R",
    ("GET", "/events/{id}/status"): "RW",
    ("POST", "/customers"): "W",
    ("PATCH", "/customers/{customerId}"): "W",
    ("PUT", "/customers/{customerId}"): "W",
    ("POST", "/customers/{customerId}/sessions"): "W",
    ("POST", "/events"): "W",
    ("DELETE", "/customers/{customerId}"): "W",
}
"""Which permissions on the node let a user do this to it or to what it holds: one of these letters."""


async def test_a_user_needs_permission_on_the_node(client: Client) -> None:
    things = await Things.make(client)
    callers = {right: await person(client, "USER", right) for right in ("R", "W", "RW")}
    for (method, path), letters in ON_A_NODE.items():
        for right, caller in callers.items():
            answer = await things.call(caller, method, path)
            if set(right) & set(letters):
                assert answer.status < 300, (method, path, right, answer)
                await things.renew(method, path)
            else:
                assert answer.status == 403, (method, path, right, answer)
                refused(answer, 403, FORBIDDEN)
        elsewhere = await person(client, "USER", "RW", node=await another_node(client))
        answer = await things.call(elsewhere, method, path)
        assert answer.status == 403, (method, path, "another node", answer)
