"""A running hub answers as `schemas/openapi.yaml` says: one walk by hand, one with generated requests."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.hub import OPERATOR_TOKEN, Client, Hub, eventually, make_client
from tests.openapi import FILE, Document

DOCUMENT = Document()
EXAMPLES = 6
"""Generated requests per operation; all of them together stay well below a minute."""


class Walker:
    """Makes requests, and holds each answer against the document."""

    def __init__(self, http: aiohttp.ClientSession, client: Client) -> None:
        self._http = http
        self._client = client
        self.base = f"/hub/v1/workspaces/{client.workspace_id}"
        self.succeeded: set[str] = set()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int,
        token: str | None = None,
        data: bytes | None = None,
        **headers: str,
    ) -> Any:
        """The body of the answer, which must have this status. `path` may be whole or of the workspace."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Authorization"] = f"Bearer {self._client.token if token is None else token}"
        if data is not None:
            named.setdefault("Content-Type", "application/json")
        url = path if path.startswith(("/hub", "/health")) else self.base + path
        async with self._http.request(method, url, json=body, data=data, headers=named) as answer:
            raw = await answer.read()
            assert answer.status == status, raw
            operation = DOCUMENT.check(method, url, status, answer.headers, raw)
            if status < 400:
                self.succeeded.add(operation.name)
            return await answer.json() if answer.content_type == "application/json" else raw


async def test_every_operation_answers_as_documented(hub: Hub, client: Client) -> None:
    async with aiohttp.ClientSession(hub.url) as http:
        walker = Walker(http, client)
        for walk in (_customers, _events, _outcomes, _feed, _configuration, _workspaces, _health):
            await walk(walker, client)
    assert walker.succeeded == {operation.name for operation in DOCUMENT.operations}


async def _customers(walker: Walker, client: Client) -> None:
    body = {
        "nodeId": client.node_id,
        "externalId": "ann",
        "base": {
            "firstName": "Ann",
            "contacts": {"email": "ann@example.com", "otherContacts": [{"name": "x"}]},
            "subscriptions": [{"id": "news", "subscribed": True}],
            "educations": [{"id": "e1", "startYear": "1999"}],
        },
        "consents": {"disclaimer": {"date": "2026-11-24", "version": "1"}, "softSpam": {}},
        "tags": {"manual": ["a"]},
        "extended": {},
    }
    ann = await walker.call("POST", "/customers", body, status=201, Prefer="wait=20")
    here = f"/customers/{ann['id']}"
    assert await walker.call("GET", here, status=200) == ann
    await walker.call("PATCH", here, {"extra": "x"}, status=200)
    await walker.call("PATCH", f"{here}?mode=STRICT", {"base": None}, status=200)
    await walker.call("PUT", here, body, status=200, Idempotency_Key="k1")
    await walker.call("PUT", here, {**body, "extra": "y"}, status=422, Idempotency_Key="k1")
    bob = await walker.call(
        "POST", "/customers?sessionId=s-bob", {**body, "externalId": "bob"}, status=201
    )
    conflict = await walker.call("PATCH", here, {"externalId": "bob"}, status=409)
    assert conflict["data"]["customer"]["id"] == bob["id"]
    await walker.call("PATCH", here, {"externalId": "zoe"}, status=202, Prefer="respond-async")
    batch = {"customers": [{**body, "externalId": "cat"}, {"nodeId": client.node_id}, 1]}
    answer = await walker.call("POST", "/customers/batch", batch, status=200)
    assert [item["status"] for item in answer["results"]] == [201, 400, 400]
    search = f"/customers?nodeId={client.node_id}"
    assert (await walker.call("GET", search, status=200))["page"]["totalElements"] == 3
    await walker.call("GET", f"{search}&fields=base.firstName&sort=externalId", status=200)
    session = await walker.call("POST", f"{here}/sessions", {"value": "s-ann"}, status=201)
    await walker.call("POST", f"{here}/sessions", {"value": "s-bob"}, status=409)
    await walker.call("POST", f"{here}/sessions", {"value": ""}, status=400)
    await walker.call("GET", f"{here}/sessions", status=200)
    assert await walker.call("GET", f"{here}/sessions/s-ann", status=200) == session
    await walker.call("GET", f"{here}/sessions/nothing", status=404)
    await walker.call("DELETE", here, status=200)
    await walker.call("GET", here, status=404)
    await walker.call("POST", "/customers", {"nodeId": client.node_id}, status=400)
    await walker.call("POST", "/customers", data=b"{", status=400)
    await walker.call("POST", "/customers", data=b"x" * 65_536, status=413)
    await walker.call("POST", "/customers", data=b"x", status=415, Content_Type="text/plain")
    await walker.call("POST", "/customers", body, status=401, token="nobody")
    await walker.call("POST", "/customers", {**body, "nodeId": str(uuid.uuid4())}, status=404)
    await walker.call("GET", "/customers", status=400)
    await walker.call("GET", f"{search}&size=51", status=400)


async def _events(walker: Walker, client: Client) -> None:
    event = client.event(
        contextInfo={"client": {"ip": "127.0.0.1"}}, tracking={"ga": {"utm_source": "x"}}
    )
    accepted = await walker.call("POST", "/events", event, status=202)
    stored = await walker.call("POST", "/events", event, status=201, Prefer="wait=20")
    assert await walker.call("GET", f"/events/{stored['id']}", status=200) == stored
    await walker.call("GET", f"/events/{stored['id']}?nav=CUSTOMER", status=200)
    await walker.call("GET", f"/events/{accepted['id']}/status", status=200)
    batch = {"events": [event, {**event, "type": "nothing"}]}
    await walker.call("POST", "/events/batch", batch, status=202)
    await walker.call("POST", "/events/batch", batch, status=200, Prefer="wait=20")
    await walker.call("POST", "/events/batch", {"events": []}, status=400)
    await walker.call("GET", "/events?type=viewedPage&context=WEB&sort=date", status=200)
    await walker.call("GET", "/events?type=nothing", status=400)
    await walker.call("GET", f"/events/{uuid.uuid4()}", status=404)
    await walker.call("GET", f"/events/{uuid.uuid4()}/status", status=404)
    await walker.call("POST", "/events", {**event, "customerId": str(uuid.uuid4())}, status=400)


async def _outcomes(walker: Walker, client: Client) -> None:
    lost = {"type": "viewedPage", "context": "WEB", "properties": {}}
    unknown = {**lost, "customerId": str(uuid.uuid4())}
    await walker.call("POST", "/events", unknown, status=404, Prefer="wait=20")
    kept = [(await walker.call("POST", "/events", unknown, status=202))["id"] for _ in range(2)]

    async def both_kept() -> Any:
        listed = await walker.call("GET", "/rejections?status=OPEN&entity=EVENT", status=200)
        return {rejection["id"] for rejection in listed["elements"]} == set(kept)

    await eventually(both_kept, what="two rejections")
    await walker.call("GET", f"/rejections/{kept[0]}", status=200)
    await walker.call("POST", f"/rejections/{kept[0]}/replay?dryRun=true", status=200)
    await walker.call("POST", f"/rejections/{kept[0]}/replay", status=202)
    await walker.call("POST", "/rejections/replay?dryRun=true", status=200)
    await walker.call("POST", "/rejections/replay?reason=customer_not_found", status=202)
    await walker.call("DELETE", f"/rejections/{kept[1]}", status=204)
    await walker.call("GET", "/rejections?status=LOST", status=400)
    await walker.call("GET", f"/rejections/{uuid.uuid4()}", status=404)
    body = {"nodeId": client.node_id, "externalId": "dan"}
    later = await walker.call("POST", "/customers", body, status=202, Prefer="respond-async")
    await walker.call("GET", f"/operations/{later['operationId']}", status=200)
    await walker.call("GET", f"/operations/{uuid.uuid4()}", status=404)


async def _feed(walker: Walker, client: Client) -> None:
    await walker.call("GET", "/updates/last-offset?entity=CUSTOMER", status=200)
    page = await walker.call("GET", "/updates?size=4000", status=200)
    operations = {
        (update["entity"]["type"], update["operation"]): update for update in page["updates"]
    }
    assert {("CUSTOMER", "CREATE"), ("CUSTOMER", "DELETE"), ("EVENT", "CREATE")} <= set(operations)
    await walker.call("GET", f"/updates?nodeId={client.node_id}&timestamp=0&size=1", status=200)
    await walker.call("GET", "/updates", status=200, Accept="application/x-ndjson")
    await walker.call("GET", "/updates?offset=-1", status=400)
    await walker.call("GET", f"/updates?nodeId={uuid.uuid4()}", status=404)


async def _configuration(walker: Walker, client: Client) -> None:
    operator = OPERATOR_TOKEN
    at = "/configuration"
    await walker.call("GET", at, status=200)
    await walker.call("PUT", at, {"name": "Test"}, status=403)
    await walker.call("PUT", at, {"name": "Test", "timezone": None}, status=200, token=operator)
    await walker.call("PUT", at, {"name": 1}, status=400, token=operator)
    minute = {"maxRequestsPerMinute": 1}
    await walker.call("PUT", f"{at}/throttling", minute, status=200, token=operator)
    await walker.call("GET", f"{at}/throttling", status=200, token=operator)
    await walker.call("GET", at, status=200)
    await walker.call("GET", at, status=429)
    await walker.call("PUT", f"{at}/throttling", {}, status=400, token=operator)
    minute = {"maxRequestsPerMinute": 0}
    await walker.call("PUT", f"{at}/throttling", minute, status=200, token=operator)
    await walker.call("GET", f"{at}/unique-customer-matching-policy", status=200)
    await walker.call("GET", f"{at}/nodes?nodeType=ENTRY", status=200)
    await walker.call("GET", f"{at}/nodes/entries", status=200)
    node = await walker.call(
        "POST", f"{at}/nodes/entries", {"name": "till"}, status=201, token=operator
    )
    here = f"{at}/nodes/entries/{node['id']}"
    await walker.call("GET", here, status=200, token=operator)
    await walker.call("GET", here, status=404)
    await walker.call("PUT", here, node, status=200, token=operator)
    await walker.call("PUT", here, {**node, "name": None}, status=400, token=operator)
    body = {"provider": "API", "name": "till", "nodes": [node["id"]], "description": "of the till"}
    source = await walker.call("POST", f"{at}/sources", body, status=201, token=operator)
    assert source["token"]
    here = f"{at}/sources/{source['id']}"
    await walker.call("GET", f"{at}/sources", status=200)
    assert (await walker.call("GET", here, status=200))["token"] is None
    await walker.call("PUT", here, {**source, "name": "desk"}, status=200, token=operator)
    await walker.call("POST", f"{here}/refresh-token", status=200, token=operator)
    browser = {**body, "provider": "JavaScript", "nodes": [client.node_id]}
    untrusted = await walker.call("POST", f"{at}/sources", browser, status=201, token=operator)
    gina = {"nodeId": client.node_id, "externalId": "gina"}
    brief = await walker.call("POST", "/customers", gina, status=201, token=untrusted["token"])
    assert set(brief) == {"id", "nodeId", "version", "registeredAt", "updatedAt"}
    await walker.call("GET", "/updates", status=403, token=untrusted["token"])
    await walker.call("DELETE", here, status=200, token=operator)
    await walker.call("DELETE", here, status=404, token=operator)


async def _workspaces(walker: Walker, client: Client) -> None:
    operator, everything = OPERATOR_TOKEN, "/hub/v1/workspaces"
    await walker.call("GET", "/hub/v1/me", status=200)
    await walker.call("GET", "/hub/v1/me", status=200, token=operator)
    await walker.call("GET", f"{everything}?name=Test&size=2", status=200, token=operator)
    await walker.call("GET", "", status=200, token=operator)
    await walker.call("GET", "", status=403)
    body = {"name": "Other", "slug": uuid.uuid4().hex, "groupPk": 2, "shard": "default"}
    other = await walker.call("POST", everything, body, status=201, token=operator)
    await walker.call("POST", everything, body, status=409, token=operator)
    await walker.call("POST", everything, {**body, "slug": "A"}, status=400, token=operator)
    await walker.call("GET", f"{everything}/{other['id']}", status=403)
    status = {"status": "SUSPENDED"}
    await walker.call(
        "PUT", f"{everything}/{other['id']}/status", status, status=200, token=operator
    )


async def _health(walker: Walker, client: Client) -> None:
    for base in ("", "/hub/v1"):
        for path in ("/health", "/health/live", "/health/ready"):
            await walker.call("GET", base + path, status=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What generated requests are pointed at, or few of them would get past the first check."""

    hub: Hub
    workspace: str
    other_workspace: str
    node: str
    customer: str
    doomed: str
    source: str

    def take(self, case: Any) -> None:
        """Put real ids into a generated request."""
        changes_status = case.method == "PUT" and case.operation.path.endswith("/status")
        real = {
            "workspaceId": self.other_workspace if changes_status else self.workspace,
            "customerId": self.doomed if case.method == "DELETE" else self.customer,
            "nodeId": self.node,
            "sourceId": self.source,
        }
        for name in case.path_parameters:
            if name != "sourceId" or case.method != "DELETE":
                case.path_parameters[name] = real.get(name, case.path_parameters[name])
        if "nodeId" in case.query:
            case.query["nodeId"] = self.node
        case.query.pop("wait", None)  # waiting is tested elsewhere, and takes its time
        case.headers.pop("Prefer", None)
        if not isinstance(case.body, dict):
            return
        case.body.pop("extended", None)  # this workspace has defined none
        self._point(case.body, case.method, case.operation.path)

    def _point(self, body: dict[str, Any], method: str, path: str) -> None:
        known: dict[str, Any] = {"nodeId": self.node, "nodes": [self.node]}
        if path.endswith("/events"):
            body.pop("customerId", None)
            bring_back = {"type": "SESSION_ID", "value": "g", "nodeId": self.node}
            body["bringBackProperties"] = bring_back
        elif path.endswith("/customers"):
            body["externalId"] = "generated"
        elif path.endswith("/customers/{customerId}"):
            known |= {"id": self.customer, "externalId": "a"}
            if method == "PUT":
                body["externalId"] = "a"
        elif path.endswith("/sources/{sourceId}"):
            known |= {"id": self.source, "provider": "API"}
        elif path.endswith("/entries/{nodeId}"):
            known |= {"id": self.node}
        body.update({name: value for name, value in known.items() if name in body})


async def _aims(hub: Hub) -> Aims:
    async with make_client(hub) as client, make_client(hub) as other:
        sources = await client.call("GET", "/configuration/sources")
        return Aims(
            hub=hub,
            workspace=client.workspace_id,
            other_workspace=other.workspace_id,
            node=client.node_id,
            customer=(await client.customer(externalId="a"))["id"],
            doomed=(await client.customer(externalId="b"))["id"],
            source=sources.body["elements"][0]["id"],
        )


@pytest.mark.timeout(120)
def test_generated_requests_get_documented_answers(hub: Hub) -> None:
    """Whatever a client sends, it gets no 500, and nothing that the document doesn't announce."""
    aims = asyncio.run(_aims(hub))
    schema = schemathesis.openapi.from_path(FILE)
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
    ]
    tried = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()

        @hypothesis.seed(3)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy())
        def answers_well(case: Any) -> None:
            aims.take(case)
            case.call_and_validate(
                base_url=hub.url,
                headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
                checks=checks,
                timeout=15,
            )

        answers_well()
        tried.add((operation.method.upper(), operation.path))
    assert tried == {(operation.method, operation.path) for operation in DOCUMENT.operations}
