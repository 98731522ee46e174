"""A real shop's orders loaded whole through the public API, summed again from the feed, and loaded twice."""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path

import aiohttp
import orjson

from bench.context import Context, progress
from bench.report import MEMORY_MB, Aim, Row, at_most

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "cdnow_orders.csv"
CUSTOMERS = 23_570
EVENTS = 69_659
ITEMS = 167_881
USD = Decimal("2500315.63")


async def measure(context: Context) -> list[Row]:
    """Everything must be there exactly once, to the cent; loaded again, it must change nothing."""
    servers = context.servers
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    first = await _last_offset(context)
    before, started = servers.usage(), time.perf_counter()
    with progress("cdnow: load the real data set", None):
        await _load(context)
        await servers.drained()
    seconds = time.perf_counter() - started
    used = servers.usage().minus(before)
    totals = await _sum_feed(context, first)
    last = await _last_offset(context)
    started = time.perf_counter()
    with progress("cdnow: load it again", None):
        await _load(context)
        await servers.drained()
    again_seconds = time.perf_counter() - started
    writes = CUSTOMERS + EVENTS
    peaks = {name: servers.peak_mb(name) for name in ("web", "processor")}
    return [
        Row(
            name="cdnow, to the feed",
            unit="writes/s",
            value=writes / seconds,
            aims=[
                _exact("customers", totals["customers"], CUSTOMERS),
                _exact("events", totals["events"], EVENTS),
                _exact("items", totals["items"], ITEMS),
                _exact("USD", totals["usd"], USD),
                _exact("offset, again", await _last_offset(context), last),
                *(at_most(f"{name} MB", peak, MEMORY_MB) for name, peak in peaks.items()),
            ],
            more={"seconds": seconds, "again, seconds": again_seconds},
            cpu={name: cpu / writes * 1e6 for name, cpu in used.items() if name != "load"},
            peak_mb=peaks,
        )
    ]


def _exact(name: str, got: Decimal | int, wanted: Decimal | int) -> Aim:
    return Aim(text=f"{name} {got:,} = {wanted:,}", met=got == wanted)


async def _load(context: Context) -> None:
    servers = context.servers
    loader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from headwater.cli import main; main()", "load", "cdnow", str(EXAMPLE),
        env={
            **servers.environ,
            "HEADWATER_URL": f"http://127.0.0.1:{servers.ports['web']}",
            "HEADWATER_WORKSPACE_ID": str(servers.demo.workspace_id),
            "HEADWATER_NODE_ID": str(servers.demo.node_id),
            "HEADWATER_TOKEN": servers.demo.token,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await loader.wait():
        raise RuntimeError("loading the real data set failed")


async def _last_offset(context: Context) -> int:
    found = await context.servers.conn.fetchval(
        "SELECT last_offset FROM feeds WHERE workspace_id = $1",
        context.servers.demo.workspace_id,
    )
    return int(found or 0)


async def _sum_feed(context: Context, offset: int) -> dict[str, Decimal]:
    servers = context.servers
    url = f"http://127.0.0.1:{servers.ports['web']}{servers.base}/updates"
    headers = {"Authorization": f"Bearer {servers.demo.token}"}
    people: set[str] = set()
    orders: set[str] = set()
    usd, items = Decimal(0), 0
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            params = {"offset": str(offset), "size": "4000"}
            async with http.get(url, params=params) as answer:
                page = orjson.loads(await answer.read())
            if not page["updates"]:
                break
            offset = page["nextOffset"]
            for update in page["updates"]:
                data = update["entity"]["data"]
                if update["operation"] != "CREATE":
                    raise AssertionError(f"an update that nobody wrote: {update}")
                if update["entity"]["type"] == "CUSTOMER":
                    people.add(data["externalId"])
                    continue
                if data["id"] in orders:
                    raise AssertionError(f"twice in the feed: {data['id']}")
                orders.add(data["id"])
                usd += Decimal(str(data["properties"]["amount"]["total"]))
                items += sum(product["quantity"] for product in data["properties"]["products"])
    return {
        "customers": Decimal(len(people)),
        "events": Decimal(len(orders)),
        "items": Decimal(items),
        "usd": usd,
    }
