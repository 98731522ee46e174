"""Defects to plant, one a module, so that the campaign can prove that it finds them.

`plant()` is called in a process of the hub under test before its code runs (`tests/chaos/process.py`), and
replaces functions there. Nothing of this is reachable from the hub itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """The short campaign that has to catch a defect: its faults, and what its violations begin with."""

    kinds: tuple[str, ...]
    faults: int
    events: int
    seconds: float
    found_as: tuple[str, ...]


HUNTS = {
    "offsets_first": Hunt(
        kinds=("SIGKILL processor",), faults=24, events=6000, seconds=75, found_as=("LOST",)
    ),
    "plain_sequence": Hunt(
        kinds=("SIGTERM backend", "feed row locked"),
        faults=8,
        events=4000,
        seconds=45,
        found_as=("FEED",),
    ),
    "no_compare_and_set": Hunt(
        kinds=("zombie processor", "delayed: processor-postgres"),
        faults=12,
        events=6000,
        seconds=90,
        found_as=("TWICE", "ENDED"),
    ),
    "early_acknowledgement": Hunt(
        kinds=("SIGKILL web", "SIGKILL Kafka"),
        faults=6,
        events=4000,
        seconds=60,
        found_as=("LOST",),
    ),
    "dropped_result": Hunt(
        kinds=("SIGTERM backend",),
        faults=1,
        events=500,
        seconds=10,
        found_as=("UNANSWERED",),
    ),
    "dropped_write": Hunt(
        kinds=("SIGTERM backend",), faults=1, events=1500, seconds=15, found_as=("LOST",)
    ),
}
"""By the name of the defect's module."""
