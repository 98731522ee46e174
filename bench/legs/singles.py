"""Single POSTs of 1 kB events over 64 connections, one web process and two, beside as many bare handlers."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import curve, post
from bench.report import MEMORY_MB, Row, at_least, at_most
from bench.rounds import failed, measure_rounds, median_percentile, median_rate

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
    servers = context.servers
    rounds = await measure_rounds(context, hub, bare, CONNECTIONS, WARM_UP, tick)
    rate, floor = median_rate(rounds.hub), median_rate(rounds.floor)
    p99 = median_percentile(rounds.hub, 0.99)
    lost = failed(rounds.hub)
    peak = servers.peak_mb("web")
    return Row(
        name=f"singles, {_told(processes)}",
        unit="requests/s",
        value=rate,
        floor=floor,
        aims=[
            at_least("ratio", rate / floor, 0.8),
            context.pace.at_most("p99 ms", p99, 25),
            at_most("failed", lost, 0),
            at_most("web MB", peak, MEMORY_MB),
        ],
        more={
            "p50 ms": median_percentile(rounds.hub, 0.5),
            "p99 ms": p99,
            "floor p99 ms": median_percentile(rounds.floor, 0.99),
            "failed": lost,
        },
        cpu=rounds.cpu_per_million(len(hub)),
        cpu_ratio=rounds.cpu_ratio,
        peak_mb={"web": peak},
        curve=curve(rounds.latencies),
    )
