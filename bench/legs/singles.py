"""Single POSTs of 1 kB events over 64 connections, one web process and two, beside as many bare handlers."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Load, curve, post, run
from bench.report import MEMORY_MB, Row, at_least, at_most

CONNECTIONS = 64
WARM_UP = 1_000


async def measure(context: Context) -> list[Row]:
    """Hub and floor take turns; the medians of the rounds count."""
    servers, sizes = context.servers, context.sizes
    demo = servers.demo
    bodies = [orjson.dumps(order(demo, n)) for n in range(sizes.singles)]
    hub = [post(f"{servers.base}/events", body, demo.token) for body in bodies]
    bare = [post("/events", body, demo.token) for body in bodies]
    rows = []
    for processes in (1, 2):
        await servers.start_web(processes)
        await servers.start_floor(processes)
        with progress(f"singles, {_told(processes)}", 2 * sizes.rounds * sizes.singles) as tick:
            rows.append(await _measure(context, processes, hub, bare, tick))
    servers.stop("floor")
    await servers.start_web()
    return rows


def _told(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


async def _measure(
    context: Context,
    processes: int,
    hub: list[bytes],
    bare: list[bytes],
    tick: Callable[..., None],
) -> Row:
    servers, sizes = context.servers, context.sizes
    rounds: dict[str, list[Load]] = {"web": [], "floor": []}
    cpu: dict[str, list[float]] = {"web": [], "floor": [], "kafka": [], "load": []}
    for name, requests in (("floor", bare), ("web", hub)):
        await run(servers.ports[name], requests[:WARM_UP], CONNECTIONS)
    for _ in range(sizes.rounds):
        for name, requests in (("floor", bare), ("web", hub)):
            before = servers.usage()
            rounds[name].append(await run(servers.ports[name], requests, CONNECTIONS, tick))
            used = servers.usage().minus(before)
            cpu[name].append(used[name])
            if name == "web":
                cpu["kafka"].append(used["kafka"])
                cpu["load"].append(used["load"])
    rate = statistics.median(load.rate for load in rounds["web"])
    floor = statistics.median(load.rate for load in rounds["floor"])
    p99 = statistics.median(load.percentile(0.99) for load in rounds["web"])
    failed = sum(load.failed(202) for load in rounds["web"])
    per_million = {n: statistics.median(v) / sizes.singles * 1e6 for n, v in cpu.items()}
    peak = servers.peak_mb("web")
    return Row(
        name=f"singles, {_told(processes)}",
        unit="requests/s",
        value=rate,
        floor=floor,
        aims=[
            at_least("ratio", rate / floor, 0.8),
            context.pace.at_most("p99 ms", p99, 25),
            at_most("failed", failed, 0),
            at_most("web MB", peak, MEMORY_MB),
        ],
        more={
            "p50 ms": statistics.median(load.percentile(0.5) for load in rounds["web"]),
            "p99 ms": p99,
            "floor p99 ms": statistics.median(load.percentile(0.99) for load in rounds["floor"]),
            "failed": failed,
        },
        cpu=per_million,
        cpu_ratio=per_million["floor"] / per_million["web"],
        peak_mb={"web": peak},
        curve=curve([ms for load in rounds["web"] for ms in load.latencies]),
    )
