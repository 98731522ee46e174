"""The processor applies what has queued up, beside a bare COPY of the same event rows.

60 % events of known customers, 20 % events with bring-back, 20 % customer writes, half a percent of all
merging into a known one; 2 % of all are invalid (`bench.records`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice

from bench.context import Context, progress
from bench.records import Load, Made, fill
from bench.report import MEMORY_MB, Row, at_most
from headwater.kafka import open_producer
from headwater.settings import KafkaSettings

CUSTOMERS = 10_000
CHUNK = 5_000
COPIED = 50_000


async def measure(context: Context) -> list[Row]:
    """Queue with the processor stopped, then start it and wait until it is done."""
    servers, pace, count = context.servers, context.pace, context.sizes.queued
    demo = servers.demo
    caller = await servers.conn.fetchval(
        "SELECT id FROM sources WHERE workspace_id = $1 LIMIT 1", demo.workspace_id
    )
    load = Load(demo.workspace_id, demo.node_id, str(caller), seed=1)
    await servers.start_processor()
    await _queue(context, "known customers", load.customers(min(CUSTOMERS, count)), count)
    await servers.drained()
    servers.stop("processor")
    await servers.conn.execute("VACUUM ANALYZE")
    await _queue(context, "queue", load.mixed(count), count)
    await servers.start_processor()
    await servers.moving()  # its start, its schemas and its place in the group are not the drain
    queued = await servers.backlog()
    with progress("drain", queued) as tick:
        before, started = servers.usage(), time.perf_counter()
        await servers.drained(tick=tick)
        seconds = time.perf_counter() - started
        used = servers.usage().minus(before)
    per_cpu = queued / max(used["processor"], 0.01)
    copied = await _copy_floor(context)
    peak = servers.peak_mb("processor")
    return [
        Row(
            name="drain of queued writes",
            unit="records/s",
            value=queued / seconds,
            floor=copied,
            aims=[
                pace.at_least("records per CPU second", per_cpu, 15_000),
                pace.at_least("records/s", queued / seconds, 8_000),
                at_most("processor MB", peak, MEMORY_MB),
            ],
            more={"records": queued, "per processor CPU s": per_cpu},
            cpu={name: used[name] / queued * 1e6 for name in ("processor", "postgres", "kafka")},
            peak_mb={"processor": peak},
        )
    ]


async def _queue(context: Context, what: str, made: Iterable[Made], count: int) -> None:
    """Records as the front door makes them, straight into Kafka: it is not what is measured."""
    producer = await open_producer(KafkaSettings(bootstrap=context.servers.kafka.bootstrap))
    iterator = iter(made)
    try:
        with progress(f"drain: {what}", count) as tick:
            while chunk := list(islice(iterator, CHUNK)):
                await fill(producer, chunk)
                tick(len(chunk))
    finally:
        await producer.stop()


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
