"""`headwater doctor`: a probe customer and event, followed to the feed."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import click
import orjson

from headwater.cli.hub import Hub, find_hub
from headwater.domain.json import JsonObject

LIMIT_SECONDS = 15
"""How long a step may take: more than a customer write waits for its outcome."""

_WEB = "is the hub running (`headwater up`), and HEADWATER_URL right?"
_KAFKA = "is Kafka running? The web process's log says what it answers"
_POSTGRES = "is Postgres running? The web process's log says what it answers"
_PROCESSOR = (
    "Kafka has it, but no processor applied it: is one running? Its log says what it waits for"
)
_TOKEN = "are HEADWATER_TOKEN and HEADWATER_WORKSPACE_ID those of this hub?"  # noqa: S105  # no password
_NODE = "is HEADWATER_NODE_ID an entry node that the token may use?"

_VALUES: dict[str, Any] = {
    "base.contacts.email": "doctor@headwater.invalid",
    "base.dob": "2000-01-01",
    "base.locale": "en_GB",
    "base.timezone": "Europe/London",
    "base.pictureUrl": "https://headwater.invalid/",
    "base.address.geo.lat": 0.0,
    "base.address.geo.lon": 0.0,
}


@dataclass(frozen=True, slots=True)
class _Probe:
    """Calls the hub, a named step at a time."""

    http: aiohttp.ClientSession

    async def step(
        self, what: str, hint: str, method: str, url: str, expected: int, body: object = None
    ) -> Any:
        """A call that is reported when it went well; as `call`."""
        started = time.monotonic()
        answer = await self.call(what, hint, method, url, expected, body)
        click.echo(f"  ok  {what} ({(time.monotonic() - started) * 1000:.0f} ms)")
        return answer

    async def call(
        self, what: str, hint: str, method: str, url: str, expected: int, body: object = None
    ) -> Any:
        """The JSON of the answer.

        Raises:
            ClickException: the step failed; says which, what came, and where to look.
        """
        try:
            async with self.http.request(method, url, json=body) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            reason = str(exc) or type(exc).__name__
            raise _stuck(what, f"{method} {url}: {reason}", hint) from exc
        if answer.status != expected:
            said = f"{method} {url} answered {answer.status}, expected {expected}: {_message(raw)}"
            raise _stuck(what, said, _hint_of(answer.status, said, hint))
        try:
            return orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError as exc:
            said = f"{method} {url} answered no JSON: {raw[:100].decode(errors='replace')}"
            raise _stuck(what, said, _WEB) from exc


@click.command()
def doctor() -> None:
    """Post a probe customer and event, follow them to the feed, say where they got stuck.

    The probe customer is deleted again, one that got stuck by the next run. HEADWATER_URL, HEADWATER_WORKSPACE_ID, HEADWATER_NODE_ID and
    HEADWATER_TOKEN name the hub, else `demo.env` in HEADWATER_HOME or .headwater.
    """
    hub = find_hub()
    if hub.node_id is None:
        raise click.ClickException("HEADWATER_NODE_ID is not set: the probe needs an entry node")
    asyncio.run(_examine(hub, hub.node_id))
    click.echo("The hub is well.")


async def _examine(hub: Hub, node_id: str) -> None:
    root = hub.base.removesuffix("/hub/v1")
    limit = aiohttp.ClientTimeout(total=LIMIT_SECONDS)
    async with aiohttp.ClientSession(headers=hub.headers, timeout=limit) as http:
        probe = _Probe(http)
        await probe.step("the hub answers", _WEB, "GET", f"{root}/health/live", 200)
        await probe.step("Kafka takes writes", _KAFKA, "GET", f"{root}/health/ready", 200)
        await probe.step("Postgres answers", _POSTGRES, "GET", f"{root}/health", 200)
        where = hub.url("updates/last-offset")
        last = await probe.step("the feed can be read", _POSTGRES, "GET", where, 200)
        where = hub.url(f"configuration/nodes/entries/{node_id}")
        node = await probe.step("the node is there", _NODE, "GET", where, 200)
        await _delete_leftover(probe, hub, node_id)
        made = await probe.step(
            "a customer is merged", _PROCESSOR, "POST", hub.url("customers"), 201, _customer(node)
        )
        event = {
            "type": "genericActiveEvent",
            "context": "OTHER",
            "properties": {"name": "headwater doctor"},
            "customerId": made["id"],
        }
        customer = hub.url(f"customers/{made['id']}")
        try:
            accepted = await probe.step(
                "an event is accepted", _KAFKA, "POST", hub.url("events"), 202, event
            )
            await _follow(probe, hub, last["lastOffset"], {made["id"], accepted["id"]})
        except click.ClickException:
            with suppress(aiohttp.ClientError, TimeoutError):
                await http.delete(customer)
            raise
        await probe.step("a delete works", _PROCESSOR, "DELETE", customer, 200)


async def _delete_leftover(probe: _Probe, hub: Hub, node_id: str) -> None:
    """Delete the probe of an earlier run that got stuck, and was applied when nobody waited any more."""
    query = urlencode({"nodeId": node_id, "externalId": _external_id()})
    url = hub.url(f"customers?{query}")
    found = await probe.call("customers can be read", _POSTGRES, "GET", url, 200)
    for left in found["elements"]:
        url = hub.url(f"customers/{left['id']}")
        what = "what an earlier run left is deleted"
        await probe.step(what, _PROCESSOR, "DELETE", url, 200)


def _external_id() -> str:
    # the same in each run of this machine, or what gets stuck could not be found again
    return f"headwater-doctor-{socket.gethostname()}"


def _customer(node: JsonObject) -> JsonObject:
    """A customer with what the node asks for."""
    probe: JsonObject = {"nodeId": node["id"], "externalId": _external_id()}
    for path in (*node["uniqueCustomer"]["properties"], *node["mandatoryProperties"]):
        *parents, name = path.split(".")
        inner = probe
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner.setdefault(name, _VALUES.get(path, "headwater doctor"))
    return probe


async def _follow(probe: _Probe, hub: Hub, feed_offset: int, wanted: set[str]) -> None:
    started = time.monotonic()
    missing = set(wanted)
    while missing and time.monotonic() - started < LIMIT_SECONDS:
        url = hub.url(f"updates?offset={feed_offset}&wait=3")
        page = await probe.call("both are in the feed", _POSTGRES, "GET", url, 200)
        feed_offset = page["nextOffset"]
        missing -= {update["entity"]["data"]["id"] for update in page["updates"]}
    if missing:
        said = f"not in the feed after {LIMIT_SECONDS} s: {', '.join(sorted(missing))}"
        raise _stuck("both are in the feed", said, _PROCESSOR)
    click.echo(f"  ok  both are in the feed ({(time.monotonic() - started) * 1000:.0f} ms)")


def _message(raw: bytes) -> str:
    """What an error of the hub says, else the beginning of the answer."""
    try:
        error = orjson.loads(raw)
        faults = "".join(f"; {fault['path']}: {fault['message']}" for fault in error["errors"])
        return f"{error['message']}{faults}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return raw[:300].decode(errors="replace")


def _hint_of(status: int, said: str, hint: str) -> str:
    """Where to look after this answer, if `hint` is what the step asks for."""
    if status in {401, 403}:
        return _TOKEN
    if hint == _PROCESSOR and "try again later" in said:  # not even Kafka has it
        return _KAFKA
    return hint


def _stuck(what: str, said: str, hint: str) -> click.ClickException:
    return click.ClickException(f"stuck at: {what}\n  {said}\n  {hint}")
