"""(c) The processor applies what has queued up, beside a bare COPY of the same event rows.

60 % events of known customers, 20 % events that are brought back by a session, 20 % customer writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson

from bench.context import Context, progress
from bench.documents import order, person
from bench.load import post, run
from bench.report import MEMORY_MB, Row, at_least, at_most

CUSTOMERS = 2_000
BATCH = 100
COPIED = 50_000


async def measure(context: Context) -> list[Row]:
    """Queue with the processor stopped, then start it and wait until it is done."""
    servers = context.servers
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    known = await _known_customers(context)
    servers.stop("processor")
    await _queue(context, known)
    await servers.start_processor()
    await servers.moving()  # its start, its schemas and its place in the group are not the drain
    queued = await servers.backlog()
    with progress("c drain", queued) as tick:
        before, started = servers.usage(), time.perf_counter()
        await servers.drained(tick=tick)
        seconds = time.perf_counter() - started
        used = servers.usage().minus(before)
    per_cpu_second = queued / used["processor"]
    copied = await _copy_floor(context)
    peak = servers.peak_mb("processor")
    return [
        Row(
            name="c drain of queued writes",
            unit="records/s",
            value=queued / seconds,
            floor=copied,
            aims=[
                at_least("records per CPU second", per_cpu_second, 8_000),
                at_most("processor MB", peak, MEMORY_MB),
            ],
            more={"records": queued, "per processor CPU s": per_cpu_second},
            cpu={name: used[name] / queued * 1e6 for name in ("processor", "postgres", "kafka")},
            peak_mb={"processor": peak},
        )
    ]


async def _known_customers(context: Context) -> list[str]:
    servers = context.servers
    path, token = f"{servers.base}/customers", servers.demo.token
    bodies = (orjson.dumps(person(servers.demo, n)) for n in range(CUSTOMERS))
    with progress("c known customers", CUSTOMERS) as tick:
        load = await run(
            servers.ports["web"], [post(path, body, token) for body in bodies], 64, tick
        )
    assert not load.failed(201), load.statuses
    rows = await servers.conn.fetch(
        "SELECT id FROM customers WHERE workspace_id = $1 ORDER BY id LIMIT $2",
        servers.demo.workspace_id,
        CUSTOMERS,
    )
    return [str(row["id"]) for row in rows]


async def _queue(context: Context, known: list[str]) -> None:
    servers, count = context.servers, context.sizes.queued
    demo = servers.demo

    def events() -> Iterator[bytes]:
        of_known = count * 6 // 10
        for start in range(0, count * 8 // 10, BATCH):
            items = [
                order(demo, n, customer_id=known[n % len(known)] if n < of_known else None)
                for n in range(start, start + BATCH)
            ]
            body = orjson.dumps({"events": items})
            yield post(f"{servers.base}/events/batch", body, demo.token)

    def customers() -> Iterator[bytes]:
        for number in range(count * 2 // 10):
            body = orjson.dumps(person(demo, number % CUSTOMERS, step=1 + number // CUSTOMERS))
            yield post(f"{servers.base}/customers", body, demo.token, "Prefer: respond-async")

    with progress("c queue", count) as tick:
        port = servers.ports["web"]
        first = await run(port, events(), 16, lambda: tick(BATCH))
        second = await run(port, customers(), 64, tick)
    failed = first.failed(202) + second.failed(202)
    assert not failed, (first.statuses, second.statuses)


async def _copy_floor(context: Context) -> float:
    """Rows a second of a bare COPY of the same event rows, into a table with the same indexes."""
    conn = context.servers.conn
    rows = await conn.fetch(f"SELECT * FROM events LIMIT {COPIED}")
    await conn.execute("CREATE TABLE bench_copy (LIKE events INCLUDING ALL)")
    records = [tuple(row) for row in rows]
    started = time.perf_counter()
    for start in range(0, len(records), 1000):
        await conn.copy_records_to_table("bench_copy", records=records[start : start + 1000])
    seconds = time.perf_counter() - started
    await conn.execute("DROP TABLE bench_copy")
    return len(records) / seconds
