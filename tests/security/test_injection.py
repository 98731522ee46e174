"""SQL in every parameter, header and text of a body: it is data, wherever it gets to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.http.callers import operator
from tests.http.test_roles import Things, _short
from tests.hub import Client, Hub
from tests.openapi import Document, Operation

HOSTILE = (
    "' OR '1'='1",
    "'; DROP TABLE customers; --",
    "1) UNION SELECT token_hash::text FROM sources --",
    "id desc, (select pg_sleep(30))",
    "$1 {order} {0} %s %(a)s :a",
)
MISTAKES = ("syntax error", "does not exist", "unterminated", "canceling statement")
"""What Postgres would log of a statement that a text of ours has become a part of."""

DOCUMENT = Document()


def _postgres_log(hub: Hub) -> str:
    return (hub.folder / "postgres.log").read_text(errors="replace")


def _parameters(operation: Operation) -> Iterator[tuple[str, str]]:
    """Name and place of each parameter."""
    path = DOCUMENT.content["paths"][operation.path]
    for given in [*path.get("parameters", []), *operation.item.get("parameters", [])]:
        found, _ = DOCUMENT._resolved(given, "")
        yield found["name"], found["in"]


def _places(value: Any) -> Iterator[list[str | int]]:
    """The way to each text of a body."""
    if isinstance(value, str):
        yield []
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from ([step, *rest] for rest in _places(inner))


def _with(value: Any, place: list[str | int], text: str) -> Any:
    changed = json.loads(json.dumps(value))
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = text
    return changed


class Attack:
    """Calls of the platform's operator, who may do everything: nothing is refused before it is looked at."""

    def __init__(self, things: Things, foreign: str) -> None:
        self.things = things
        self.foreign = foreign.encode()
        self.caller = operator(things.client)
        self.calls = 0

    async def send(
        self,
        operation: Operation,
        *,
        replaced: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> None:
        url = operation.path
        ids = {
            "workspaceId": self.things.client.workspace_id,
            "nodeId": self.things.client.node_id,
            "customerId": self.things.customer_id,
            "sessionId": "s-ann",
            "sourceId": self.things.source_ids[0],
            "id": self.things.event_id if "/events" in url else self.things.rejection_ids[0],
        }
        for name, value in {**ids, **(replaced or {})}.items():
            url = url.replace(f"{{{name}}}", quote(value, safe=""))
        if query:
            url += "?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())
        whole = {"Authorization": f"Bearer {self.caller.token}", **(headers or {})}
        async with self.caller.http.request(
            operation.method, url, json=body, headers=whole
        ) as answer:
            raw = await answer.read()
        self.calls += 1
        assert answer.status < 500, (operation.method, url, answer.status, raw[:300])
        assert self.foreign not in raw, (operation.method, url)


def _operations() -> list[Operation]:
    """Those that delete stand last."""
    found = [one for one in DOCUMENT.operations if "/health" not in one.path]
    return sorted(found, key=lambda one: one.method == "DELETE")


async def test_no_parameter_and_no_body_gets_into_a_statement(
    hub: Hub, client: Client, stranger: Client
) -> None:
    kept = await stranger.customer(externalId="kept")
    things = await Things.make(client)
    attack = Attack(things, kept["id"])
    began = len(_postgres_log(hub))
    for operation in _operations():
        short = _short(operation.path)
        body = things._body(operation.method, short)
        needed = {"nodeId": client.node_id} if short == "/customers" else {}
        for name, where in _parameters(operation):
            for text in HOSTILE:
                if where == "path":
                    await attack.send(operation, replaced={name: text}, body=body)
                elif where == "query":
                    await attack.send(operation, query={**needed, name: text}, body=body)
                else:
                    await attack.send(operation, headers={name: text}, body=body)
        for place in _places(body) if isinstance(body, dict) else ():
            for text in HOSTILE:
                await attack.send(operation, body=_with(body, place, text))
    assert attack.calls > 500
    said = _postgres_log(hub)[began:]
    assert [line for line in said.splitlines() if any(m in line for m in MISTAKES)] == []
    # and everything is still there, of others too
    assert (await stranger.call("GET", f"/customers/{kept['id']}")).body == kept
    assert (await client.call("GET", "/updates/last-offset")).status == 200


@pytest.mark.parametrize("text", [*HOSTILE, "%", "_", "\\", "a%", "'", '"', "\u2019 OR 1=1"])
async def test_a_hostile_text_is_stored_and_found_as_it_is(client: Client, text: str) -> None:
    plain = await client.customer(externalId="a1")
    made = await client.customer(externalId=text, extra=text, tags={"manual": [text]})
    assert (made["externalId"], made["extra"], made["tags"]["manual"]) == (text, text, [text])
    assert made["id"] != plain["id"]
    found = await client.call(
        "GET", "/customers", params={"nodeId": client.node_id, "externalId": text}
    )
    assert [one["id"] for one in found.body["elements"]] == [made["id"]]
    session = await client.call("POST", f"/customers/{made['id']}/sessions", {"value": text})
    assert (session.status, session.body["value"]) == (201, text)
    path = f"/customers/{made['id']}/sessions/{quote(text, safe='')}"
    async with client.http.get(
        client.path(path), headers={"Authorization": f"Bearer {client.token}"}
    ) as answer:
        assert (answer.status, (await answer.json())["value"]) == (200, text)
