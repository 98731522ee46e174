"""The feed in pages of 1,000 and 4,000, beside a bare SELECT of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable

import aiohttp
import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import post, run
from bench.report import MEMORY_MB, Row, at_least, at_most

BATCH = 100


async def measure(context: Context) -> list[Row]:
    """Fill the feed if it is short, then read it from the start."""
    servers, count = context.servers, context.sizes.updates
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    await _fill(context, count)
    await servers.conn.execute(
        "CREATE TABLE bench_feed AS SELECT u.feed_offset, coalesce(v.document, e.document) AS document "
        "FROM updates u "
        "LEFT JOIN versions v ON (v.workspace_id, v.entity_id, v.version) = ($1, u.entity_id, u.version) "
        "LEFT JOIN events e ON (e.workspace_id, e.id, e.version) = ($1, u.entity_id, u.version) "
        "WHERE u.workspace_id = $1 AND u.feed_offset <= $2",
        servers.demo.workspace_id,
        count,
    )
    await servers.conn.execute("ALTER TABLE bench_feed ADD PRIMARY KEY (feed_offset)")
    await servers.conn.execute("ANALYZE bench_feed")
    rows = []
    for size in (1_000, 4_000):
        with progress(f"pages of {size:,}", 2 * context.sizes.rounds * (count // size)) as tick:
            # one after the other: each wants the machine for itself
            rows.append(await _measure(context, size, count, tick))
    await servers.conn.execute("DROP TABLE bench_feed")
    return rows


async def _fill(context: Context, count: int) -> None:
    servers = context.servers
    known = await servers.conn.fetchval(
        "SELECT last_offset FROM feeds WHERE workspace_id = $1", servers.demo.workspace_id
    )
    missing = count - int(known or 0)
    if missing <= 0:
        return
    requests = (
        post(
            f"{servers.base}/events/batch",
            orjson.dumps({"events": [order(servers.demo, n) for n in range(start, start + BATCH)]}),
            servers.demo.token,
        )
        for start in range(0, missing, BATCH)
    )
    with progress("pages: fill the feed", missing) as tick:
        await run(servers.ports["web"], requests, 16, lambda: tick(BATCH))
        await servers.drained()


async def _measure(context: Context, size: int, count: int, tick: Callable[..., None]) -> Row:
    servers = context.servers
    pages = count // size
    url = f"http://127.0.0.1:{servers.ports['web']}{servers.base}/updates"
    headers = {"Authorization": f"Bearer {servers.demo.token}"}
    hub, floor, cpu, postgres, sent = [], [], [], [], 0
    for _ in range(context.sizes.rounds):
        before, started = servers.usage(), time.perf_counter()
        async with aiohttp.ClientSession(headers=headers) as http:
            for page in range(pages):
                params = {"offset": str(page * size), "size": str(size)}
                async with http.get(url, params=params) as answer:
                    sent += len(await answer.read())
                    assert answer.status == 200
                tick()
        hub.append(pages * size / (time.perf_counter() - started))
        spent = servers.usage().minus(before)
        cpu.append(spent["web"])
        postgres.append(spent["postgres"])
        started = time.perf_counter()
        for page in range(pages):
            await servers.conn.fetch(
                "SELECT document FROM bench_feed WHERE feed_offset > $1 "
                "ORDER BY feed_offset LIMIT $2",
                page * size,
                size,
            )
            tick()
        floor.append(pages * size / (time.perf_counter() - started))
    rate, bare = sorted(hub)[len(hub) // 2], sorted(floor)[len(floor) // 2]
    used, of_postgres = sorted(cpu)[len(cpu) // 2], sorted(postgres)[len(postgres) // 2]
    per_cpu = pages * size / max(used, 0.01)
    peak = servers.peak_mb("web")
    return Row(
        name=f"pages of {size:,}",
        unit="updates/s",
        value=rate,
        floor=bare,
        aims=[
            at_least("ratio", rate / bare, 0.7),
            context.pace.at_least("updates per web CPU s", per_cpu, 150_000),
            at_most("web MB", peak, MEMORY_MB),
        ],
        more={
            "per web CPU s": per_cpu,
            "MB/s": sent / context.sizes.rounds / 1e6 * rate / (pages * size),
        },
        cpu={
            "web": used / (pages * size) * 1e6,
            "postgres": of_postgres / (pages * size) * 1e6,
        },
        peak_mb={"web": peak},
    )
