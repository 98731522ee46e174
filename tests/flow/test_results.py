"""Outcomes reach the request that asked, and no other."""

from __future__ import annotations

import uuid

import pytest

from headwater.domain.ids import WorkspaceId
from headwater.errors import Refused
from headwater.settings import IngestSettings, KafkaSettings
from ingest.results import Identifiers, Results

SOME, OTHER = WorkspaceId(uuid.uuid4()), WorkspaceId(uuid.uuid4())


async def test_a_process_that_starts_again_under_its_name_takes_no_earlier_answers() -> None:
    """In a container every process has the same id: its name alone doesn't tell it from the one before."""
    settings = IngestSettings(instance="host-1")
    before, after = (Results(KafkaSettings(), settings) for _ in range(2))
    with before.expect(SOME) as (earlier, _), after.expect(SOME) as (later, _):
        assert earlier.correlation != later.correlation


async def test_outcomes_that_are_waited_for_are_bounded_and_shared_out() -> None:
    results = Results(KafkaSettings(), IngestSettings(waiting_answers=4))
    with results.expect(SOME), results.expect(SOME):
        with pytest.raises(Refused) as refused, results.expect(SOME):
            pass
        assert refused.value.refusal.status == 503
        with results.expect(OTHER):
            pass
    with results.expect(SOME):
        pass


async def test_of_pending_writes_the_oldest_is_forgotten_first() -> None:
    results = Results(KafkaSettings(), IngestSettings(pending_writes=2))
    ids = Identifiers(
        operation_id=uuid.uuid4(),
        entity_id=uuid.uuid4(),
        session_id=uuid.uuid4(),
        repeatable=True,
        keyed=False,
    )
    for fingerprint in ("a", "b", "a", "c"):
        results.remember_pending("till", fingerprint, ids)
    known = {mark for mark in "abc" if results.find_pending("till", mark) is not None}
    assert known == {"a", "c"}
