"""Outcomes reach the request that asked, and no other."""

from __future__ import annotations

from headwater.settings import KafkaSettings
from ingest.results import Results


async def test_a_process_that_starts_again_under_its_name_takes_no_earlier_answers() -> None:
    """In a container every process has the same id: its name alone doesn't tell it from the one before."""
    before, after = (Results(KafkaSettings(), "host-1") for _ in range(2))
    with before.expect() as (earlier, _), after.expect() as (later, _):
        assert earlier.correlation != later.correlation
