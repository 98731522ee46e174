"""`headwater doctor`: a probe customer and event, followed to the feed."""

from __future__ import annotations

import asyncio
import time
import uuid

import aiohttp
import click

from headwater.cli.hub import Hub, find_hub

LIMIT_SECONDS = 15


@click.command()
def doctor() -> None:
    """Post a probe customer and event, follow them to the feed, say where they got stuck.

    The probe customer is deleted again. HEADWATER_URL and the rest name the hub, else `demo.env`.
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
        await _step(http, "the hub answers", "GET", f"{root}/health/live", 200)
        await _step(http, "Kafka takes writes", "GET", f"{root}/health/ready", 200)
        await _step(http, "Postgres answers", "GET", f"{root}/health", 200)
        last = await _step(http, "the feed can be read", "GET", hub.url("updates/last-offset"), 200)
        probe = {"nodeId": node_id, "externalId": f"headwater-doctor-{uuid.uuid4()}"}
        customer = await _step(
            http, "a customer is merged", "POST", hub.url("customers"), 201, probe
        )
        customer_id = customer["id"]
        event = {
            "type": "genericActiveEvent",
            "context": "OTHER",
            "properties": {"name": "headwater doctor"},
            "customerId": customer_id,
        }
        accepted = await _step(http, "an event is accepted", "POST", hub.url("events"), 202, event)
        await _follow(http, hub, last["lastOffset"], {customer_id, accepted["id"]})
        await _step(http, "a delete works", "DELETE", hub.url(f"customers/{customer_id}"), 200)


async def _step(
    http: aiohttp.ClientSession,
    what: str,
    method: str,
    url: str,
    expected: int,
    body: object = None,
) -> dict[str, str]:
    started = time.monotonic()
    try:
        async with http.request(method, url, json=body) as answer:
            text = await answer.text()
            if answer.status != expected:
                raise click.ClickException(
                    f"{what}: {method} {url} answered {answer.status}, expected {expected}: {text[:300]}"
                )
            click.echo(f"  ok  {what} ({(time.monotonic() - started) * 1000:.0f} ms)")
            found: dict[str, str] = await answer.json() if text else {}
            return found
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise click.ClickException(f"{what}: {method} {url} failed: {exc!r}") from exc


async def _follow(http: aiohttp.ClientSession, hub: Hub, offset: object, wanted: set[str]) -> None:
    started = time.monotonic()
    missing = set(wanted)
    while missing and time.monotonic() - started < LIMIT_SECONDS:
        async with http.get(
            hub.url("updates"), params={"offset": str(offset), "wait": "5"}
        ) as answer:
            page = await answer.json()
        offset = page["nextOffset"]
        missing -= {update["entity"]["data"]["id"] for update in page["updates"]}
    if missing:
        raise click.ClickException(
            f"accepted, but not in the feed after {LIMIT_SECONDS} s: {', '.join(sorted(missing))}; "
            "is a processor running?"
        )
    click.echo(f"  ok  both are in the feed ({(time.monotonic() - started) * 1000:.0f} ms)")
