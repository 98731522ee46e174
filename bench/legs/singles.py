"""(a) Single POSTs of 1 kB events over 64 connections, one web process, beside a bare handler."""

from __future__ import annotations

import statistics

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Load, post, run
from bench.report import Row, at_least, at_most

CONNECTIONS = 64
WARM_UP = 1_000


async def measure(context: Context) -> list[Row]:
    """Hub and floor take turns; the medians of the rounds count."""
    servers, sizes = context.servers, context.sizes
    await servers.start_web()
    await servers.start_floor()
    demo = servers.demo
    bodies = [orjson.dumps(order(demo, n)) for n in range(sizes.singles)]
    hub = [post(f"{servers.base}/events", body, demo.token) for body in bodies]
    bare = [post("/events", body, demo.token) for body in bodies]
    rounds: dict[str, list[Load]] = {"web": [], "floor": []}
    cpu: dict[str, list[float]] = {"web": [], "floor": [], "kafka": [], "load": []}
    with progress("a single posts", 2 * sizes.rounds * sizes.singles) as tick:
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
    servers.stop("floor")
    rate = statistics.median(load.rate for load in rounds["web"])
    floor = statistics.median(load.rate for load in rounds["floor"])
    p99 = statistics.median(load.percentile(0.99) for load in rounds["web"])
    failed = sum(load.failed(202) for load in rounds["web"])
    context.singles_rate = rate
    per_million = {n: statistics.median(v) / sizes.singles * 1e6 for n, v in cpu.items()}
    cpu_ratio = per_million["floor"] / per_million["web"]
    return [
        Row(
            name="a single posts, 64 connections",
            unit="requests/s",
            value=rate,
            floor=floor,
            aims=[
                at_least("ratio", rate / floor, 0.7),
                at_most("p99 ms", p99, 30),
                at_most("failed", failed, 0),
            ],
            more={
                "p50 ms": statistics.median(load.percentile(0.5) for load in rounds["web"]),
                "p99 ms": p99,
                "floor p99 ms": statistics.median(
                    load.percentile(0.99) for load in rounds["floor"]
                ),
                "failed": failed,
            },
            cpu=per_million,
            cpu_ratio=cpu_ratio,
            peak_mb={"web": servers.peak_mb("web")},
        )
    ]
