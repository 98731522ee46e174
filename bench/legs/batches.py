"""Batches of 100 events over 16 and 64 connections, one web process and two, beside bare batch handlers."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import curve, post
from bench.report import MEMORY_MB, Row, at_least, at_most
from bench.rounds import failed, measure_rounds, median_percentile, median_rate

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
    servers, pace = context.servers, context.pace
    rounds = await measure_rounds(context, hub, bare, connections, WARM_UP, tick)
    rate, floor = median_rate(rounds.hub) * SIZE, median_rate(rounds.floor) * SIZE
    p99 = median_percentile(rounds.hub, 0.99)
    lost = failed(rounds.hub)
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
            at_most("failed", lost, 0),
            at_most("web MB", peak, MEMORY_MB),
        ],
        more={
            "p50 ms": median_percentile(rounds.hub, 0.5),
            "p99 ms": p99,
            "failed": lost,
            "floor failed": failed(rounds.floor),
        },
        cpu=rounds.cpu_per_million(len(hub) * SIZE),
        cpu_ratio=rounds.cpu_ratio,
        peak_mb={"web": peak},
        # with 64 it is the same curve, four times as high
        curve=curve(rounds.latencies) if connections == 16 else (),
    )
