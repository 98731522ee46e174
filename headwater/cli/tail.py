"""`headwater tail`: follow the feed in the terminal."""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import click
import orjson

from headwater.cli.hub import Hub, find_hub

_RETRY_SECONDS = 1.0


@click.command()
@click.option("--offset", type=click.IntRange(min=0), help="Start after this offset.")
@click.option("--from-end", is_flag=True, help="Start with what comes next.")
@click.option("--entity", type=click.Choice(["CUSTOMER", "EVENT"]), help="Only these.")
@click.option("--node", help="Only this node's.")
@click.option("--once", is_flag=True, help="Stop at the present end.")
def tail(
    offset: int | None, from_end: bool, entity: str | None, node: str | None, once: bool
) -> None:
    """Print the update feed, a line of JSON per change, and go on as it grows.

    Reads HEADWATER_URL, HEADWATER_WORKSPACE_ID and HEADWATER_TOKEN, from the environment or from
    .headwater/demo.env.
    """
    params = {k: v for k, v in {"entity": entity, "nodeId": node}.items() if v is not None}
    try:
        asyncio.run(_follow(find_hub(), params, offset, from_end=from_end, once=once))
    except KeyboardInterrupt:
        click.echo(err=True)


async def _follow(
    hub: Hub, params: dict[str, str], offset: int | None, *, from_end: bool, once: bool
) -> None:
    """Lines with `wait`, over and over from the last known offset, through outages of the hub too."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
    async with aiohttp.ClientSession(
        timeout=timeout, headers=hub.headers, read_bufsize=2**20
    ) as http:
        if from_end:
            async with http.get(hub.url("updates/last-offset"), params=params) as answer:
                await _check(answer)
                offset = orjson.loads(await answer.read())["lastOffset"]
        position = offset
        headers = {"Accept": "application/x-ndjson"}
        told_at = 0.0
        while True:
            query = {**params, "wait": "0" if once else "30"}
            if position is not None:
                query["offset"] = str(position)
            try:
                async with http.get(hub.url("updates"), params=query, headers=headers) as answer:
                    await _check(answer)
                    is_complete = False
                    async for line in answer.content:
                        update = orjson.loads(line)
                        if "nextOffset" in update:
                            position = update["nextOffset"]
                            is_complete = True
                        else:
                            position = update["offset"]
                            sys.stdout.buffer.write(line)
                            sys.stdout.buffer.flush()
                if once and is_complete:
                    return
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as exc:
                if time.monotonic() - told_at > 30:
                    click.echo(f"{hub.base}: {exc}; trying again", err=True)
                    told_at = time.monotonic()
                await asyncio.sleep(_RETRY_SECONDS)


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status in {429, 502, 503, 504}:
        raise aiohttp.ClientError(f"HTTP {answer.status}")
    if answer.status != 200:
        error = orjson.loads(await answer.read())
        details = "".join(f"\n  {e['path']}: {e['message']}" for e in error["errors"])
        raise click.ClickException(f"{answer.status} {error['message']}{details}")
