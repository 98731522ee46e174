"""(b) Batches of 100 events over 16 and 64 connections, one web process, beside a bare batch handler."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Load, post, run
from bench.report import MEMORY_MB, Row, at_least, at_most

SIZE = 100
WARM_UP = 20


async def measure(context: Context) -> list[Row]:
    """As leg a, for both numbers of connections."""
    servers, sizes = context.servers, context.sizes
    await servers.start_web()
    await servers.start_floor()
    demo = servers.demo
    bodies = [
        orjson.dumps({"events": [order(demo, n) for n in range(start, start + SIZE)]})
        for start in range(0, sizes.events, SIZE)
    ]
    hub = [post(f"{servers.base}/events/batch", body, demo.token) for body in bodies]
    bare = [post("/batch", body, demo.token) for body in bodies]
    rows = []
    for connections in (16, 64):
        with progress(f"b batches, {connections} connections", 2 * sizes.rounds * len(hub)) as tick:
            rows.append(await _measure(context, connections, hub, bare, tick))
    servers.stop("floor")
    return rows


async def _measure(
    context: Context,
    connections: int,
    hub: list[bytes],
    bare: list[bytes],
    tick: Callable[..., None],
) -> Row:
    servers, sizes = context.servers, context.sizes
    rounds: dict[str, list[Load]] = {"web": [], "floor": []}
    cpu: dict[str, list[float]] = {"web": [], "floor": [], "kafka": [], "load": []}
    for name, requests in (("floor", bare), ("web", hub)):
        await run(servers.ports[name], requests[:WARM_UP], connections)
    for _ in range(sizes.rounds):
        for name, requests in (("floor", bare), ("web", hub)):
            before = servers.usage()
            rounds[name].append(await run(servers.ports[name], requests, connections, tick))
            used = servers.usage().minus(before)
            cpu[name].append(used[name])
            if name == "web":
                cpu["kafka"].append(used["kafka"])
                cpu["load"].append(used["load"])
    rate = statistics.median(load.rate for load in rounds["web"]) * SIZE
    floor = statistics.median(load.rate for load in rounds["floor"]) * SIZE
    failed = sum(load.failed(202) for load in rounds["web"])
    per_million = {n: statistics.median(v) / (len(hub) * SIZE) * 1e6 for n, v in cpu.items()}
    peak = servers.peak_mb("web")
    return Row(
        name=f"b batches of {SIZE}, {connections} connections",
        unit="events/s",
        value=rate,
        floor=floor,
        aims=[
            at_least("events/s", rate, 15_000),
            at_most("failed", failed, 0),
            at_most("web MB", peak, MEMORY_MB),
        ],
        more={
            "p50 ms": statistics.median(load.percentile(0.5) for load in rounds["web"]),
            "p99 ms": statistics.median(load.percentile(0.99) for load in rounds["web"]),
            "failed": failed,
            "floor failed": sum(load.failed(202) for load in rounds["floor"]),
        },
        cpu=per_million,
        cpu_ratio=per_million["floor"] / per_million["web"],
        peak_mb={"web": peak},
    )
