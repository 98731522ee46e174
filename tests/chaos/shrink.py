"""From a campaign that failed to a shorter one that still does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.chaos.campaign import Campaign, Result

WAVE_SECONDS = 20.0

Run = Callable[[Campaign], Result]


def shrink(failed: Result, run: Run, tries: int) -> Campaign:
    """The shortest that was found in so many runs: half of the waves, then half of the load.

    What fails by a race may not fail again: then the campaign before stays the shortest.
    """
    best = failed.campaign
    waves = sorted(best.waves) if best.waves is not None else list(range(failed.waves))
    while tries > 0:
        middle = len(waves) // 2
        halves = [half for half in (waves[middle:], waves[:middle]) if half and half != waves]
        shorter = [_with(best, half, best.events) for half in halves]
        if best.events > 500:
            shorter.append(_with(best, waves, best.events // 2))
        for campaign in shorter:
            if tries <= 0:
                return best
            tries -= 1
            if run(campaign).violations:
                best = campaign
                waves = sorted(campaign.waves or ())
                break
        else:
            return best
    return best


def _with(campaign: Campaign, waves: list[int], events: int) -> Campaign:
    seconds = min(campaign.seconds, 15 + WAVE_SECONDS * max(len(waves), 1))
    return replace(campaign, waves=frozenset(waves), events=events, seconds=seconds)
