"""A customer POST answered 201 with what became of it, through Kafka and back. 32 in flight, open loop."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from bench.context import Context, progress
from bench.documents import person
from bench.load import Paced, curve, post, run
from bench.report import MEMORY_MB, Row, at_most

IN_FLIGHT = 32
RATE = 500
"""Posts a second on the reference machine."""
WARM_UP = 200


async def measure(context: Context) -> list[Row]:
    """Every second post makes a customer, every other one changes it."""
    servers, pace = context.servers, context.pace
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    rate = pace.rate(RATE)
    count = int(rate * context.sizes.answers_seconds)
    warm_up = await run(servers.ports["web"], _posts(context, "warm", WARM_UP), IN_FLIGHT)
    assert not warm_up.failed(201), warm_up.statuses
    before = servers.usage()
    with progress(f"answers, {rate:,.0f}/s", count) as tick:
        paced = Paced(servers.ports["web"], IN_FLIGHT, rate)
        load = await paced.run(_posts(context, "paced", count), tick)
    used = servers.usage().minus(before)
    p50, p99 = load.percentile(0.5), load.percentile(0.99)
    failed = load.failed(201)
    peaks = {name: servers.peak_mb(name) for name in ("web", "processor")}
    return [
        Row(
            name=f"answers to customer posts, {rate:,.0f}/s",
            unit="ms (p50)",
            value=p50,
            aims=[
                pace.at_most("p50 ms", p50, 25),
                pace.at_most("p99 ms", p99, 100),
                at_most("failed", failed, 0),
                *(at_most(f"{name} MB", peak, MEMORY_MB) for name, peak in peaks.items()),
            ],
            more={"p99 ms": p99, "posts/s": load.rate, "failed": failed},
            cpu={name: seconds / count * 1e6 for name, seconds in used.items()},
            peak_mb=peaks,
            curve=curve(load.latencies),
        )
    ]


def _posts(context: Context, prefix: str, count: int) -> Iterator[bytes]:
    servers = context.servers
    for number in range(count):
        body = person(servers.demo, number // 2, step=number % 2)
        body["externalId"] = f"{prefix}-{number // 2}"
        yield post(f"{servers.base}/customers", orjson.dumps(body), servers.demo.token)
