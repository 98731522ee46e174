"""The same seed makes the same campaign; every kind has its turn; nothing is broken twice at once."""

from __future__ import annotations

import pytest

from tests.chaos.faults import Shape, makers
from tests.chaos.load import places
from tests.chaos.plan import Wave, plan

SHAPE = Shape(workers=2, processors=2, places=places(), limited_disks=True, faketime=True)


def _told(waves: list[Wave]) -> list[str]:
    return [repr(wave) for wave in waves]


def test_a_plan_follows_from_its_seed() -> None:
    assert _told(plan(7, 60, SHAPE)) == _told(plan(7, 60, SHAPE))
    assert _told(plan(7, 60, SHAPE)) != _told(plan(8, 60, SHAPE))


def test_a_longer_plan_begins_like_a_shorter_one() -> None:
    shorter, longer = plan(7, 40, SHAPE), plan(7, 80, SHAPE)
    same = len(shorter) - 1  # the last wave is cut to the number of faults
    assert _told(longer)[:same] == _told(shorter)[:same]


def test_every_kind_strikes_before_one_strikes_often() -> None:
    kinds = makers(SHAPE)
    struck = [s.fault.kind for wave in plan(7, len(kinds) * 2, SHAPE) for s in wave.strikes]
    assert set(struck) == set(kinds)


def test_faults_of_one_wave_have_different_targets() -> None:
    for wave in plan(7, 500, SHAPE):
        targets = [strike.fault.target for strike in wave.strikes]
        assert len(set(targets)) == len(targets)


def test_kinds_limit_a_plan() -> None:
    struck = {s.fault.kind for wave in plan(7, 30, SHAPE, ["Kafka"]) for s in wave.strikes}
    assert struck == {kind for kind in makers(SHAPE) if "Kafka" in kind}
    with pytest.raises(ValueError, match="no kind of fault is called flood"):
        plan(7, 30, SHAPE, ["flood"])
