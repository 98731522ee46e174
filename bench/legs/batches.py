"""Batches of 100 events over 16 and 64 connections, one web process and two, beside bare batch handlers."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Load, curve, post, run
from bench.report import MEMORY_MB, Row, at_least, at_most

SIZE = 100
WARM_UP = 20
WANTED = {1: 15_000, 2: 25_000}
"""Events a second by number of processes."""


async def measure(context: Context) -> list[Row]:
    """As leg singles, for both numbers of connections."""
    servers, sizes = context.servers, context.sizes
    demo = servers.demo
    bodies = [
        orjson.dumps({"events": [order(demo, n) for n in range(start, start + SIZE)]})
        for start in range(0, sizes.events, SIZE)
    ]
    hub = [post(f"{servers.base}/events/batch", body, demo.token) for body in bodies]
    bare = [post("/batch", body, demo.token) for body in bodies]
    rows = []
    for processes in (1, 2):
        await servers.start_web(processes)
        await servers.start_floor(processes)
        for connections in (16, 64):
            told = f"batches, {connections} connections, {processes} processes"
            name = told if processes > 1 else told.removesuffix("es")
            with progress(name, 2 * sizes.rounds * len(hub)) as tick:
                rows.append(await _measure(context, name, processes, connections, hub, bare, tick))
    servers.stop("floor")
    await servers.start_web()
    return rows


async def _measure(
    context: Context,
    name: str,
    processes: int,
    connections: int,
    hub: list[bytes],
    bare: list[bytes],
    tick: Callable[..., None],
) -> Row:
    servers, sizes, pace = context.servers, context.sizes, context.pace
    rounds: dict[str, list[Load]] = {"web": [], "floor": []}
    cpu: dict[str, list[float]] = {"web": [], "floor": [], "kafka": [], "load": []}
    for kind, requests in (("floor", bare), ("web", hub)):
        await run(servers.ports[kind], requests[:WARM_UP], connections)
    for _ in range(sizes.rounds):
        for kind, requests in (("floor", bare), ("web", hub)):
            before = servers.usage()
            rounds[kind].append(await run(servers.ports[kind], requests, connections, tick))
            used = servers.usage().minus(before)
            cpu[kind].append(used[kind])
            if kind == "web":
                cpu["kafka"].append(used["kafka"])
                cpu["load"].append(used["load"])
    rate = statistics.median(load.rate for load in rounds["web"]) * SIZE
    floor = statistics.median(load.rate for load in rounds["floor"]) * SIZE
    p99 = statistics.median(load.percentile(0.99) for load in rounds["web"])
    failed = sum(load.failed(202) for load in rounds["web"])
    per_million = {n: statistics.median(v) / (len(hub) * SIZE) * 1e6 for n, v in cpu.items()}
    peak = servers.peak_mb("web")
    return Row(
        name=name,
        unit="events/s",
        value=rate,
        floor=floor,
        aims=[
            at_least("ratio", rate / floor, 0.8),
            pace.at_least("events/s", rate, WANTED[processes]),
            *([pace.at_most("p99 ms", p99, 150)] if connections == 16 else []),
            at_most("failed", failed, 0),
            at_most("web MB", peak, MEMORY_MB),
        ],
        more={
            "p50 ms": statistics.median(load.percentile(0.5) for load in rounds["web"]),
            "p99 ms": p99,
            "failed": failed,
            "floor failed": sum(load.failed(202) for load in rounds["floor"]),
        },
        cpu=per_million,
        cpu_ratio=per_million["floor"] / per_million["web"],
        peak_mb={"web": peak},
        # with 64 it is the same curve, four times as high
        curve=curve([ms for load in rounds["web"] for ms in load.latencies])
        if connections == 16
        else (),
    )
