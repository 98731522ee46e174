"""A short campaign, so that each change is tried under fire; the long one is `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.campaign import Campaign, Result, run

SMOKE = Campaign(
    seed=1,
    faults=5,
    events=600,
    seconds=10,
    kinds=("SIGKILL processor", "SIGKILL backend", "SIGKILL web", "cut:", "configuration"),
)


def _quietly(_text: str, _done: int, _total: int) -> None:
    """Nobody looks on."""


@pytest.mark.timeout(300)
def test_a_short_campaign_leaves_balanced_books() -> None:
    result: Result = run(SMOKE, _quietly)
    assert result.violations == []
    assert result.faults >= 1
    assert result.books is not None
    assert result.books.accepted > 100
    assert result.books.customers > 10


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_results_come_again_after_each_stop_of_kafka() -> None:
    """An idempotent producer of results stayed broken (OutOfOrderSequenceNumber) after one of these."""
    campaign = Campaign(
        seed=12,
        faults=8,
        events=12_000,
        seconds=240,
        kinds=("Kafka stopped", "Kafka restarted"),
    )
    assert run(campaign, _quietly).violations == []
