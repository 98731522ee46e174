"""What a write and a page cost as the tables grow: the same work on a small hub and on a large one.

Costs are CPU time, of the processor and Postgres for a write, of the web process and Postgres for a page: it
moves less than the time on the clock does on a machine that is busy. Customers that are written to, and
pages that are read, lie anywhere in the tables.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import aiohttp

from bench.context import Context, progress
from bench.growth import Multiplier, size_gb
from bench.records import Load, Made, fill
from bench.report import Aim, Row, at_most
from bench.servers import Servers, running_servers
from headwater.kafka import open_producer
from headwater.settings import KafkaSettings

PAGES, PAGE = 60, 1_000
CHUNK = 5_000
WARM_UP = 2_000
"""Writes after each growth that are not measured: a new processor, and caches of Postgres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """In microseconds of CPU for a write, milliseconds for a page."""

    write_us: float
    page_ms: float
    writes_per_second: float
    pages_per_second: float
    gigabytes: float


async def measure(context: Context) -> list[Row]:
    """On servers of its own: what the other legs have written would be in the way of the first step."""
    found: list[tuple[int, int, _Costs]] = []
    folder = context.servers.folder / "growth"
    folder.mkdir(mode=0o755)
    async with running_servers(folder) as servers:
        demo = servers.demo
        caller = await servers.conn.fetchval("SELECT id FROM sources LIMIT 1")
        load = Load(demo.workspace_id, demo.node_id, str(caller), seed=1)
        multiplier = Multiplier(servers, load)
        await servers.start_web()
        await servers.start_processor()
        steps = context.sizes.growth
        # the pattern: a part of the first step, through the processor
        events, customers = steps[0]
        await _write(servers, list(load.customers(customers // 2)))
        await _write(servers, list(load.mixed(events // 2)))
        await multiplier.learn()
        for events, customers in steps:
            with progress(f"growth to {events:,} events", events) as tick:
                await multiplier.grow(events, customers, tick)
                await multiplier.settle()
            costs = await _measure(context, servers, load)
            found.append((events, customers, costs))
    first = found[0][2]
    return [_row(events, customers, costs, first) for events, customers, costs in found]


def _row(events: int, customers: int, costs: _Costs, first: _Costs) -> Row:
    write, page = costs.write_us / first.write_us, costs.page_ms / first.page_ms
    aims: list[Aim] = []
    if costs is not first:
        aims = [
            at_most("cost of a write, by the first", write, 1.2),
            at_most("cost of a page, by the first", page, 1.2),
        ]
    return Row(
        name=f"growth, {_short(events)} events, {_short(customers)} customers",
        unit="us of CPU a write",
        value=costs.write_us,
        aims=aims,
        more={
            "ms of CPU a page": costs.page_ms,
            "write, by the first": write,
            "page, by the first": page,
            "writes/s": costs.writes_per_second,
            "pages/s": costs.pages_per_second,
            "GB": costs.gigabytes,
        },
    )


def _short(count: int) -> str:
    return f"{count / 1e6:g} M" if count >= 1_000_000 else f"{count:,}"


async def _write(servers: Servers, made: list[Made]) -> None:
    producer = await open_producer(KafkaSettings(bootstrap=servers.kafka.bootstrap))
    try:
        for start in range(0, len(made), CHUNK):
            await fill(producer, made[start : start + CHUNK])
    finally:
        await producer.stop()
    await servers.drained()


async def _measure(context: Context, servers: Servers, load: Load) -> _Costs:
    count = context.sizes.growth_records
    await _write(servers, list(load.mixed(min(WARM_UP, count))))
    writes = list(load.mixed(count))
    with progress("growth: writes", None):
        before, started = servers.usage(), time.perf_counter()
        await _write(servers, writes)
        seconds = time.perf_counter() - started
        used = servers.usage().minus(before)
    write_us = (used["processor"] + used["postgres"]) / count * 1e6
    last = await servers.conn.fetchval(
        "SELECT last_offset FROM feeds WHERE workspace_id = $1", servers.demo.workspace_id
    )
    chosen = random.Random(3)  # not for secrets
    offsets = [chosen.randrange(0, max(1, last - PAGE)) for _ in range(PAGES)]
    with progress("growth: pages", PAGES) as tick:
        await _read_pages(servers, offsets[:5])
        before, started = servers.usage(), time.perf_counter()
        for offset in offsets:
            await _read_pages(servers, [offset])
            tick()
        page_seconds = time.perf_counter() - started
        used = servers.usage().minus(before)
    return _Costs(
        write_us=write_us,
        page_ms=(used["web"] + used["postgres"]) / PAGES * 1e3,
        writes_per_second=count / seconds,
        pages_per_second=PAGES / page_seconds,
        gigabytes=await size_gb(servers.conn),
    )


async def _read_pages(servers: Servers, offsets: list[int]) -> None:
    url = f"http://127.0.0.1:{servers.ports['web']}{servers.base}/updates"
    headers = {"Authorization": f"Bearer {servers.demo.token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for offset in offsets:
            params = {"offset": str(offset), "size": str(PAGE)}
            async with http.get(url, params=params) as answer:
                assert answer.status == 200
                await answer.read()
