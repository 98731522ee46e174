"""`headwater tail`: follow the feed in the terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import aiohttp
import click
import orjson

from headwater.cli.hub import Hub, find_hub
from headwater.domain.json import JsonObject

_RETRY_SECONDS = 1.0
_TELL_SECONDS = 30.0
"""How often an outage that lasts is told again."""


@click.command()
@click.option(
    "--from",
    "start",
    default="start",
    show_default=True,
    help="Where to begin: `start`, `end` (what comes next), or after this offset.",
)
@click.option("--entity", type=click.Choice(["CUSTOMER", "EVENT"]), help="Only these.")
@click.option("--node", help="Only this node's.")
@click.option("--json", "as_json", is_flag=True, help="Whole updates, a line of JSON each.")
@click.option("--once", is_flag=True, help="Stop at the present end.")
def tail(start: str, entity: str | None, node: str | None, as_json: bool, once: bool) -> None:
    """Print the update feed, a line per change, and go on as it grows, until Ctrl-C.

    Outages of the hub are waited out; nothing is skipped or printed twice. Reads HEADWATER_URL,
    HEADWATER_WORKSPACE_ID and HEADWATER_TOKEN from the environment, else `demo.env` in HEADWATER_HOME
    or .headwater.
    """
    if start not in {"start", "end"} and not (start.isascii() and start.isdigit()):
        raise click.BadParameter(f"{start!r} is no offset, start or end", param_hint="--from")
    params = {k: v for k, v in {"entity": entity, "nodeId": node}.items() if v is not None}
    show = _as_json if as_json else _as_text
    try:
        asyncio.run(_follow(find_hub(), params, start, show, once=once))
    except KeyboardInterrupt:
        click.echo(err=True)
    except BrokenPipeError:  # `headwater tail | head`
        sys.stderr.close()


def _as_json(line: bytes, _update: JsonObject) -> bytes:
    return line


def _as_text(_line: bytes, update: JsonObject) -> bytes:
    """`offset  time  operation  what  id`, aligned."""
    entity = update["entity"]
    data = entity["data"]
    at = data.get("updatedAt") or data.get("registeredAt") or "-"
    what = [data.get("type") or "", data.get("context") or ""]
    if entity["type"] == "CUSTOMER":
        what = [f"version {data['version']}" if "version" in data else "forgotten"]
    owner = f"  of {data['customerId']}" if data.get("customerId") else ""
    kind = " ".join([entity["type"].lower(), *filter(None, what)])
    return (
        f"{update['offset']:>9}  {at:<28}  {update['operation']:<6}  {kind:<36}  {data['id']}{owner}\n"
    ).encode()


async def _follow(
    hub: Hub,
    params: dict[str, str],
    start: str,
    show: Callable[[bytes, JsonObject], bytes],
    *,
    once: bool,
) -> None:
    """Lines with `wait`, over and over from the last known offset, through outages of the hub too."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
    position = None if start in {"start", "end"} else int(start)
    is_at_end = start != "end"
    headers = {"Accept": "application/x-ndjson"}
    told_at = -_TELL_SECONDS
    async with aiohttp.ClientSession(
        timeout=timeout, headers=hub.headers, read_bufsize=2**20
    ) as http:
        while True:
            try:
                if not is_at_end:
                    async with http.get(hub.url("updates/last-offset")) as answer:
                        await _check(answer, "application/json")
                        position = orjson.loads(await answer.read())["lastOffset"]
                    is_at_end = True
                query = {**params, "wait": "0" if once else "30"}
                if position is not None:
                    query["offset"] = str(position)
                is_complete = False
                async with http.get(hub.url("updates"), params=query, headers=headers) as answer:
                    await _check(answer, headers["Accept"])
                    async for line in answer.content:
                        update = orjson.loads(line)
                        if "nextOffset" in update:
                            position = update["nextOffset"]
                            is_complete = True
                        else:
                            position = update["offset"]
                            sys.stdout.buffer.write(show(line, update))
                            sys.stdout.buffer.flush()
                if once and is_complete:
                    return
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as exc:
                if time.monotonic() - told_at >= _TELL_SECONDS:
                    click.echo(f"{hub.base}: {exc or type(exc).__name__}; trying again", err=True)
                    told_at = time.monotonic()
                await asyncio.sleep(_RETRY_SECONDS)


async def _check(answer: aiohttp.ClientResponse, wanted: str) -> None:
    if answer.status in {429, 502, 503, 504}:
        raise aiohttp.ClientError(f"HTTP {answer.status}")
    if answer.status != 200:
        try:
            error = orjson.loads(await answer.read())
            details = "".join(f"\n  {e['path']}: {e['message']}" for e in error["errors"])
            sentence = f"{error['message']}{details}"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            sentence = "what answers is no hub"
        raise click.ClickException(f"{answer.status} {sentence}")
    if answer.content_type != wanted:
        raise click.ClickException(
            f"what answers is no hub: {answer.url} sends {answer.content_type}, expected {wanted}"
        )
