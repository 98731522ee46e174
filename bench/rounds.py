"""Hub and floor in turns, so that what slows this machine for a while slows both; the medians count."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.context import Context
from bench.load import Load, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The loads of the hub and of its floor, and CPU seconds a round by process."""

    hub: Sequence[Load]
    floor: Sequence[Load]
    cpu: dict[str, float]

    @property
    def cpu_ratio(self) -> float:
        return self.cpu["floor"] / self.cpu["web"]

    @property
    def latencies(self) -> list[float]:
        """Of the hub, in ms."""
        return [latency for load in self.hub for latency in load.latencies]

    def cpu_per_million(self, units: int) -> dict[str, float]:
        """CPU seconds for a million of what a round has `units` of."""
        return {name: seconds / units * 1e6 for name, seconds in self.cpu.items()}


def median_rate(loads: Sequence[Load]) -> float:
    return statistics.median(load.rate for load in loads)


def median_percentile(loads: Sequence[Load], share: float) -> float:
    return statistics.median(load.percentile(share) for load in loads)


def failed(loads: Sequence[Load]) -> int:
    return sum(load.failed(202) for load in loads)


async def measure_rounds(
    context: Context,
    hub: Sequence[bytes],
    bare: Sequence[bytes],
    connections: int,
    warm_up: int,
    tick: Callable[..., None],
) -> Rounds:
    """Post what is prepared for each, `warm_up` requests before that."""
    servers = context.servers
    loads: dict[str, list[Load]] = {"web": [], "floor": []}
    cpu: dict[str, list[float]] = {"web": [], "floor": [], "kafka": [], "load": []}
    for name, requests in (("floor", bare), ("web", hub)):
        await run(servers.ports[name], requests[:warm_up], connections)
    for _ in range(context.sizes.rounds):
        for name, requests in (("floor", bare), ("web", hub)):
            before = servers.usage()
            loads[name].append(await run(servers.ports[name], requests, connections, tick))
            used = servers.usage().minus(before)
            cpu[name].append(used[name])
            if name == "web":
                cpu["kafka"].append(used["kafka"])
                cpu["load"].append(used["load"])
    return Rounds(
        hub=loads["web"],
        floor=loads["floor"],
        cpu={name: statistics.median(seconds) for name, seconds in cpu.items()},
    )
