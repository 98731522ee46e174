"""What a workspace that floods costs another: the latency of an honest client, with and without the flood."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Load, for_seconds, post, run
from bench.openloop import OpenLoop, Record, opened, p99
from bench.report import Row, at_most
from headwater.cli.provision import Demo, make_node, make_source, make_workspace
from headwater.domain.configuration import CustomerPolicy

HONEST_RATE = 100
HONEST_CONNECTIONS = 16
FLOODING_CONNECTIONS = 64
SIZE = 100
"""Of a batch."""

WARM_UP_SECONDS = 3.0
BEGIN_SECONDS = 0.5
"""So long a flood runs before it counts."""


@dataclass(frozen=True, slots=True)
class _Flood:
    name: str
    requests: Sequence[bytes]


async def another_workspace(database_url: str) -> Demo:
    """A workspace beside the demo one."""
    workspace_id = await make_workspace(
        database_url, "Honest", uuid.uuid4().hex, 1, CustomerPolicy.MERGE
    )
    node_id = await make_node(
        database_url,
        workspace_id,
        "shop",
        unique=["externalId"],
        case_sensitive=False,
        mandatory=[],
    )
    _, token = await make_source(database_url, workspace_id, "honest", [node_id], untrusted=False)
    return Demo(workspace_id=workspace_id, node_id=node_id, token=token)


async def measure(context: Context) -> list[Row]:
    """An honest client of 100 events a second; beside it 64 connections that post as fast as they are answered."""
    servers = context.servers
    await servers.start_web()
    demo, honest = servers.demo, await another_workspace(servers.postgres.url)
    base = f"/hub/v1/workspaces/{honest.workspace_id}"
    paced = [
        post(f"{base}/events", orjson.dumps(order(honest, n)), honest.token) for n in range(1_000)
    ]
    singles = [
        post(f"{servers.base}/events", orjson.dumps(order(demo, n)), demo.token)
        for n in range(1_000)
    ]
    batches = [
        post(
            f"{servers.base}/events/batch",
            orjson.dumps({"events": [order(demo, n) for n in range(start, start + SIZE)]}),
            demo.token,
        )
        for start in range(0, 1_000, SIZE)
    ]
    port = servers.ports["web"]
    warm_up = min(WARM_UP_SECONDS, context.sizes.fairness_seconds)
    for requests in (paced, singles):
        await run(port, for_seconds(requests, warm_up), HONEST_CONNECTIONS)
    floods = (_Flood("single events", singles), _Flood(f"batches of {SIZE}", batches))
    rounds = context.sizes.rounds
    rows = []
    with progress("fairness beside a flood", 2 * rounds * len(floods)) as tick:
        async with opened(port, HONEST_CONNECTIONS) as client:
            for flood in floods:
                alone, beside, loads = [], [], []
                for _ in range(rounds):
                    alone.append(await _paced(context, client, paced))
                    tick()
                    load, record = await _beside(context, client, paced, flood)
                    beside.append(record)
                    loads.append(load)
                    tick()
                rows.append(_row(flood, alone, beside, loads))
    return rows


async def _paced(context: Context, client: OpenLoop, requests: Sequence[bytes]) -> Record:
    return await client.run(requests, HONEST_RATE, context.sizes.fairness_seconds)


async def _beside(
    context: Context, client: OpenLoop, requests: Sequence[bytes], flood: _Flood
) -> tuple[Load, Record]:
    ended = asyncio.Event()

    def endless() -> Iterator[bytes]:
        for request in itertools.cycle(flood.requests):
            if ended.is_set():
                return
            yield request

    flooding = asyncio.create_task(
        run(context.servers.ports["web"], endless(), FLOODING_CONNECTIONS)
    )
    try:
        await asyncio.sleep(BEGIN_SECONDS)
        record = await _paced(context, client, requests)
    finally:
        ended.set()
        with suppress(ConnectionError):
            load = await flooding
    return load, record


def _row(
    flood: _Flood, alone: Sequence[Record], beside: Sequence[Record], loads: Sequence[Load]
) -> Row:
    without = statistics.median(p99(record.latencies(202)) for record in alone)
    with_flood = statistics.median(p99(record.latencies(202)) for record in beside)
    refused = sum(record.count_but(202) + record.unsent for record in beside)
    return Row(
        name=f"fairness beside a flood of {flood.name}",
        unit="ms (p99 of an honest client; floor: alone)",
        value=with_flood,
        floor=without,
        aims=[at_most("ratio", with_flood / without, 2), at_most("refused", refused, 0)],
        more={
            "p50 ms": statistics.median(
                statistics.median(record.latencies(202)) for record in beside
            ),
            "p50 ms alone": statistics.median(
                statistics.median(record.latencies(202)) for record in alone
            ),
            "flood/s": statistics.median(load.rate for load in loads),
            "flood p99 ms": statistics.median(load.percentile(0.99) for load in loads),
        },
    )
