"""Three times as many requests as the hub can take (open loop), for minutes: what it accepts, how fast it
refuses the rest, and when it is well again.
"""

from __future__ import annotations

import math

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Load, for_seconds, post, run
from bench.openloop import Record, opened, p99
from bench.report import MEMORY_MB, Row, at_least, at_most

TIMES = 3
CONNECTIONS = 64
"""Over which the capacity is found, closed loop."""

FLOODING_CONNECTIONS = 1_500
CALM_SHARE = 0.1
"""Of the capacity, for latencies before and after."""

CALM_SECONDS = 5
RECOVERY_SECONDS = 10


async def measure(context: Context) -> list[Row]:
    """Capacity, calm, overload, calm."""
    servers, seconds = context.servers, context.sizes.overload_seconds
    calm_seconds = min(CALM_SECONDS, seconds)
    await servers.start_web()
    await servers.start_processor()
    port, demo = servers.ports["web"], servers.demo
    requests = [
        post(f"{servers.base}/events", orjson.dumps(order(demo, n)), demo.token)
        for n in range(2_000)
    ]
    with progress("overload three times the capacity", 4) as tick:
        await run(port, for_seconds(requests, calm_seconds), CONNECTIONS)  # warm up
        capacity = await run(port, for_seconds(requests, calm_seconds), CONNECTIONS)
        tick()
        async with opened(port, CONNECTIONS) as calm:
            before = await calm.run(requests, capacity.rate * CALM_SHARE, calm_seconds)
            tick()
        async with opened(port, FLOODING_CONNECTIONS) as flood:
            overload = await flood.run(requests, capacity.rate * TIMES, seconds)
            tick()
            # new connections: those of before have been idle for so long that the hub has let go of them
            async with opened(port, CONNECTIONS) as calm:
                after = await calm.run(
                    requests,
                    capacity.rate * CALM_SHARE,
                    min(RECOVERY_SECONDS, seconds) + calm_seconds,
                )
            tick()
    return [_row(capacity, before, overload, after, servers.peak_mb("web"))]


def recovered_after(before: Record, after: Record) -> float:
    """Seconds until a second's p99 is at most twice the worst second's of before, and stays so."""
    bound = 2 * max(_p99_by_second(before))
    too_slow = [
        n for n, value in enumerate(_p99_by_second(after), 1) if not value <= bound < math.inf
    ]
    return float(max(too_slow, default=0))


def _p99_by_second(record: Record) -> list[float]:
    """Of a second in which nothing was accepted it is infinite."""
    found = [record.latencies(202, second, second + 1) for second in range(int(record.seconds))]
    return [p99(latencies) if len(latencies) >= 2 else math.inf for latencies in found]


def _row(capacity: Load, before: Record, overload: Record, after: Record, peak_mb: float) -> Row:
    refusal_p99 = p99(overload.latencies(503))
    recovered = recovered_after(before, after)
    accepted = overload.rate(202)
    return Row(
        name=f"overload {TIMES} times the capacity, {overload.seconds:.0f} s",
        unit="accepted/s (floor: capacity, closed loop)",
        value=accepted,
        floor=capacity.rate,
        aims=[
            at_most("refusal p99 ms", refusal_p99, 50),
            at_most("well again after s", recovered, RECOVERY_SECONDS),
            at_least("ratio", accepted / capacity.rate, 0.4),
            at_most("other answers", overload.count_but(202, 503) + after.count_but(202, 503), 0),
            at_most("web MB", peak_mb, MEMORY_MB),
        ],
        more={
            "sent/s": overload.sent / overload.seconds,
            "refused/s": overload.rate(503),
            "refusal p99 ms": refusal_p99,
            "accepted p99 ms": p99(overload.latencies(202)),
            "unsent": overload.unsent,
            "p99 ms before": p99(before.latencies(202)),
            "p99 ms after": p99(after.latencies(202, recovered)),
            "well again after s": recovered,
        },
        peak_mb={"web": peak_mb},
    )
