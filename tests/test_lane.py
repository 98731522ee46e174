"""Workspaces take turns in the lane of a partition, and each workspace's own records stay in order."""

from __future__ import annotations

import asyncio

import pytest

from headwater.errors import Unavailable
from ingest.lane import Lane, Parcel, Record, Ticket


class Bounded:
    """A batch that holds so many records, as Kafka's holds bytes."""

    def __init__(self, most: int) -> None:
        self.values: list[bytes] = []
        self._most = most

    def append(
        self, *, timestamp: int, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> object | None:
        assert (timestamp, key, headers) == (7, None, [])
        if len(self.values) == self._most:
            return None
        self.values.append(value)
        return self


def _parcel(*values: str, deadline: float = 10) -> Parcel:
    records: list[Record] = [([], value.encode()) for value in values]
    return Parcel(records, Ticket(1), deadline)


def _filled(lane: Lane, most: int) -> str:
    batch = Bounded(most)
    assert lane.fill(batch, 7) == 0
    return b" ".join(batch.values).decode()


async def test_who_floods_doesnt_stand_before_others() -> None:
    lane = Lane("topic", 0)
    for number in range(3):
        lane.rows.push("flood", _parcel(f"f{number}a", f"f{number}b"))
    lane.rows.push("honest", _parcel("h0"))
    lane.rows.push("honest", _parcel("h1"))
    assert (_filled(lane, 100), len(lane)) == ("f0a f0b h0 f1a f1b h1 f2a f2b", 5)
    lane.land()
    assert (len(lane), bool(lane.rows)) == (0, False)


async def test_a_parcel_that_doesnt_fit_goes_on_in_the_next_batch() -> None:
    lane = Lane("topic", 0)
    whole, long = _parcel("a"), _parcel("b", "c", "d")
    lane.rows.push("first", whole)
    lane.rows.push("first", long)
    assert _filled(lane, 3) == "a b c"
    lane.rows.push("second", _parcel("x"))
    lane.land()
    assert (whole.ticket.done.done(), long.ticket.done.done()) == (True, False)
    assert _filled(lane, 3) == "d x"
    lane.land()
    assert long.ticket.done.done()


async def test_a_batch_that_fails_fails_all_that_have_a_part_in_it() -> None:
    lane = Lane("topic", 0)
    parcels = [_parcel("a"), _parcel("b", "c"), _parcel("d")]
    for parcel in parcels:
        lane.rows.push("first", parcel)
    assert _filled(lane, 2) == "a b"
    lane.crash("gone")
    assert [parcel.ticket.done.done() for parcel in parcels] == [True, True, False]
    for parcel in parcels[:2]:
        with pytest.raises(Unavailable):
            await parcel.ticket.done
    # the rest of what failed is never sent
    batch = Bounded(9)
    assert lane.fill(batch, 7) == parcels[1].size
    assert batch.values == [b"d"]


async def test_what_waits_too_long_is_given_up_in_every_row() -> None:
    lane = Lane("topic", 0)
    late = [_parcel("a", deadline=1), _parcel("x", deadline=1)]
    for party, parcel in zip(("first", "second"), late, strict=True):
        lane.rows.push(party, parcel)
    lane.rows.push("first", _parcel("b", deadline=5))
    assert lane.expire(2) == sum(parcel.size for parcel in late)
    for parcel in late:
        with pytest.raises(Unavailable):
            async with asyncio.timeout(1):
                await parcel.ticket.done
    assert _filled(lane, 9) == "b"
