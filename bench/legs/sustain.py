"""What the whole chain takes for minutes: singles and batches, from the POST until they are applied.

The rate is steered so that the oldest event which is not applied is about half a second old: what then goes
through is what the chain sustains. `--sustain-seconds 600` for ten minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Paced, curve, post
from bench.report import MEMORY_MB, Row, at_most
from bench.servers import Servers

CONNECTIONS = 128
BATCH, SINGLES = 100, 25
"""In turns: a batch of so many events, then so many single ones."""
_WRITES = 1 + SINGLES
_EVENTS = BATCH + SINGLES
_DIFFERENT = 200
"""Turns that are prepared; then they come again, as what is measured is the hub."""

WARM_UP_SHARE = 0.1
LAG_SECONDS = 0.5
_STEER_SECONDS = 0.25
_SLOWER, _FASTER = 0.85, 1.01
"""Each time that it is steered. Up gently: what is too much shows in the lag only later."""


@dataclass(slots=True, kw_only=True)
class _Steering:
    """Follows what is applied, and sets the rate. `samples` are (time, events applied, lag in s)."""

    servers: Servers
    paced: Paced
    before: int
    samples: list[tuple[float, int, float]] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_STEER_SECONDS)
            applied = await self.servers.applied() - self.before
            now = time.perf_counter()
            lag = self.lag(applied, now)
            self.samples.append((now, applied, lag))
            for name in ("web", "processor"):
                self.memory.setdefault(name, []).append(self.servers.resident_mb(name))
            if lag > LAG_SECONDS:
                self.paced.rate *= _SLOWER
            elif lag < LAG_SECONDS / 2:
                self.paced.rate *= _FASTER

    def lag(self, applied: int, now: float) -> float:
        """The age of the oldest event that is not applied, since it was due."""
        turns, rest = divmod(applied, _EVENTS)
        number = turns * _WRITES + max(0, rest - BATCH + 1)
        dues = self.paced.dues
        return now - dues[number] if number < len(dues) else 0.0


async def measure(context: Context) -> list[Row]:
    """Sets what the other legs take half of."""
    servers, pace = context.servers, context.pace
    seconds = context.sizes.sustain_seconds
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    # half of the goal: it finds its rate from there
    rate = pace.rate(5_000) / 2 * _WRITES / _EVENTS
    paced = Paced(servers.ports["web"], CONNECTIONS, rate)
    steering = _Steering(servers=servers, paced=paced, before=await servers.applied())
    usage = servers.usage()
    with progress("sustain", None) as tick:
        task = asyncio.create_task(steering.run())
        load = await paced.run(_writes(context, seconds), tick)
        task.cancel()
        await asyncio.wait([task])
    used = servers.usage().minus(usage)
    await servers.drained()
    warm = int(len(steering.samples) * WARM_UP_SHARE)
    samples = steering.samples[warm:]
    (started, first, _), (ended, last, _) = samples[0], samples[-1]
    sustained = context.sustained = (last - first) / (ended - started)
    lags = [lag for _, _, lag in samples]
    growth = {name: _growth(sizes[warm:]) for name, sizes in steering.memory.items()}
    peaks = {name: servers.peak_mb(name) for name in ("web", "processor")}
    failed = load.failed(202)
    return [
        Row(
            name=f"sustain, {seconds} s",
            unit="events/s",
            value=sustained,
            aims=[
                pace.at_least("events/s", sustained, 5_000),
                at_most("lag s", max(lags), 2),
                at_most("failed", failed, 0),
                *(at_most(f"{name} grows %", each, 5) for name, each in growth.items()),
                *(at_most(f"{name} MB", peak, MEMORY_MB) for name, peak in peaks.items()),
            ],
            more={
                "lag s, median": statistics.median(lags),
                "lag s, greatest": max(lags),
                "POST p99 ms": load.percentile(0.99),
                **{f"{name} grows %": each for name, each in growth.items()},
            },
            cpu={name: each / steering.samples[-1][1] * 1e6 for name, each in used.items()},
            peak_mb=peaks,
            curve=curve(load.latencies),
        )
    ]


def _growth(sizes: list[float]) -> float:
    """How much larger the last quarter is than the second one, in percent."""
    quarter = max(1, len(sizes) // 4)
    second, last = sizes[quarter : 2 * quarter] or sizes, sizes[-quarter:]
    return (statistics.median(last) / statistics.median(second) - 1) * 100


def _writes(context: Context, seconds: float) -> Iterator[bytes]:
    servers = context.servers
    token = servers.demo.token
    numbers = itertools.count()

    def turn() -> Iterator[bytes]:
        events = [order(servers.demo, next(numbers)) for _ in range(_EVENTS)]
        body = orjson.dumps({"events": events[:BATCH]})
        yield post(f"{servers.base}/events/batch", body, token)
        for event in events[BATCH:]:
            yield post(f"{servers.base}/events", orjson.dumps(event), token)

    turns = [list(turn()) for _ in range(_DIFFERENT)]
    until = time.perf_counter() + seconds
    for writes in itertools.cycle(turns):
        if time.perf_counter() > until:
            return
        yield from writes
