"""How fast this machine is, and what that makes of goals in absolute numbers.

Goals hold where the bare handler of `bench.floor` answers 15,000 single posts a second. Elsewhere they
follow what it answers here, with one process or two, whichever is more: rates shrink with it, times grow.
A faster machine gets no harder goals. Ratios and memory are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from bench.documents import order
from bench.load import for_seconds, post, run
from bench.report import Aim, at_least, at_most
from bench.servers import Servers

REFERENCE = 15_000
"""Single posts a second of the bare handler where the goals hold as they stand."""

_CONNECTIONS = 64
_WARM_UP = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`singles` is what the bare handler answers here in a second."""

    singles: float

    @property
    def share(self) -> float:
        return min(1.0, self.singles / REFERENCE)

    def rate(self, wanted: float) -> float:
        """What a rate for the reference machine comes to here."""
        return wanted * self.share

    def at_least(self, name: str, value: float, wanted: float) -> Aim:
        """A rate."""
        return at_least(name, value, self.rate(wanted), of=wanted)

    def at_most(self, name: str, value: float, wanted: float) -> Aim:
        """A time."""
        return at_most(name, value, wanted / self.share, of=wanted)


async def measure_pace(servers: Servers, seconds: float) -> Pace:
    """The better of one process of the bare handler and two."""
    best = 0.0
    demo = servers.demo
    for processes in (1, 2):
        await servers.start_floor(processes)
        requests = [
            post("/events", orjson.dumps(order(demo, n)), demo.token) for n in range(_WARM_UP)
        ]
        port = servers.ports["floor"]
        await run(port, requests, _CONNECTIONS)
        load = await run(port, for_seconds(requests, seconds), _CONNECTIONS)
        best = max(best, load.rate)
    servers.stop("floor")
    return Pace(singles=best)
