"""The plan of a campaign: waves of faults, drawn from the seed alone.

The kinds come in turn from a shuffled deck, so that each has struck before one strikes twice. A wave has
one to four faults that overlap; the hub may recover before the next.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from tests.chaos.faults import Fault, Shape, makers

SIZES, WEIGHTS = (1, 2, 3, 4), (5, 3, 2, 1)
SPREAD_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault, and how many seconds after the beginning of its wave it strikes."""

    after_seconds: float
    fault: Fault


@dataclass(frozen=True, slots=True)
class Wave:
    number: int
    calm_seconds: float
    strikes: tuple[Strike, ...]

    @property
    def kinds(self) -> str:
        return ", ".join(strike.fault.kind for strike in self.strikes)


def plan(
    seed: int, faults: int, shape: Shape, kinds: Collection[str] = (), *, most: int = 4
) -> list[Wave]:
    """The waves of a campaign of so many faults; only of `kinds` (parts of names) if any are given.

    Raises:
        ValueError: no kind of fault has such a name.
    """
    random = Random(f"{seed} plan")
    known = {
        kind: make
        for kind, make in makers(shape).items()
        if not kinds or any(part in kind for part in kinds)
    }
    if not known:
        raise ValueError(f"no kind of fault is called {', '.join(kinds)}")
    deck: list[str] = []
    waves: list[Wave] = []
    left = faults
    while left > 0:
        size = min(left, most, random.choices(SIZES, WEIGHTS)[0])
        strikes: list[Strike] = []
        targets: set[str] = set()
        for _ in range(size):
            if not deck:
                deck = sorted(known)
                random.shuffle(deck)
            kind = deck.pop()
            fault = known[kind](random)
            if (
                fault.target in targets
                or "rolling" in targets
                or (fault.target == "rolling" and strikes)
            ):
                deck.insert(0, kind)  # its turn comes in a later wave
                continue
            targets.add(fault.target)
            strikes.append(Strike(random.uniform(0, SPREAD_SECONDS), fault))
        if not strikes:
            continue
        left -= len(strikes)
        strikes.sort(key=lambda strike: strike.after_seconds)
        waves.append(Wave(len(waves), random.uniform(0.3, 1.5), tuple(strikes)))
    return waves
