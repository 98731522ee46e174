"""The campaign can fail: it finds each defect that is planted, and nothing of the kind without it.

Slow (about two minutes each): `pytest -m chaos`.
"""

from __future__ import annotations

import pytest

from tests.chaos.campaign import Campaign, run
from tests.chaos.defects import HUNTS


def _quietly(_text: str, _done: int, _total: int) -> None:
    """Nobody looks on."""


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("defect", sorted(HUNTS))
def test_a_planted_defect_is_found(defect: str) -> None:
    hunt = HUNTS[defect]
    for seed in (1, 2, 3):  # some defects show in a race only
        found = run(
            Campaign(
                seed=seed,
                faults=hunt.faults,
                events=hunt.events,
                seconds=hunt.seconds,
                kinds=hunt.kinds,
                defect=defect,
            ),
            _quietly,
        ).violations
        if any(violation.startswith(hunt.found_as) for violation in found):
            return
    pytest.fail(f"{defect} was not found; other violations: {found[:3]}")
