"""Who may be at work in this process at once: a bound on requests and their bytes, shared out fairly.

A workspace may hold no more than what is free at that moment, in requests and in bytes. So one alone gets half,
two that flood get a third each, and there is always room for a newcomer; nobody has to know who is active.
Beyond it a request is refused: quickly, while memory is flat. Within it, when there is more to do than can be done
now, workspaces take turns (`Turns`), so that the queue of one is not the delay of another.

`connection.py` asks before it parses, `caller.py` once it knows who calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias
from uuid import UUID

from headwater import metrics
from headwater.clock import monotonic
from headwater.domain import refusal as refusals
from headwater.errors import Refused
from headwater.roundrobin import RoundRobin

Party: TypeAlias = UUID | str
"""Who is held to a share: a workspace, or the one below."""

OPERATOR = "operator"
"""The platform's operators, who belong to no workspace."""

CALM_SHARE = 0.25
"""With so much of its places taken a process is far from refusing: no look at bytes before they are parsed."""

MIXED_SECONDS = 1.0
"""So long after the last of another party a process counts as shared by several."""

HELD_SECONDS = 0.001
"""A unit of work is begun so often at least, whatever else there is to do."""

UNIT_BYTES = 2048
"""A request is one unit of work, and one more for each of these."""


class Share:
    """What a party holds now."""

    __slots__ = ("party", "places", "size_bytes")

    def __init__(self, party: Party) -> None:
        self.party = party
        self.places = 0
        self.size_bytes = 0


class Place:
    """The place of one request. `leave` may be called again.

    `is_in`: it is at work. A place may be taken before anybody has read the request.
    """

    __slots__ = ("_gate", "_is_held", "_share", "_size_bytes", "is_in")

    def __init__(self, gate: Gate, share: Share) -> None:
        self._gate = gate
        self._share = share
        self._size_bytes = 0
        self._is_held = True
        self.is_in = False

    @property
    def party(self) -> Party:
        return self._share.party

    def take_bytes(self, size_bytes: int) -> None:
        """Hold so many bytes more.

        Raises:
            Refused: 503, the party holds its share of them.
        """
        if not self._is_held:
            return
        gate, share = self._gate, self._share
        # one request passes whatever its size: its own limit is elsewhere
        others = gate.size_bytes - self._size_bytes
        if others and share.size_bytes + size_bytes > gate.most_bytes - gate.size_bytes:
            raise Refused(refusals.too_busy())
        self._size_bytes += size_bytes
        share.size_bytes += size_bytes
        gate.size_bytes += size_bytes

    def leave(self) -> None:
        if self._is_held:
            self._is_held = False
            self._gate.give_back(self._share, self._size_bytes)


class Seat:
    """A client's connection, which holds the place of the request that it is at."""

    __slots__ = ()
    place: Place | None


class Gate:
    """The places of a process."""

    def __init__(self, *, places: int, size_bytes: int) -> None:
        self.most_places = places
        self.most_bytes = size_bytes
        self.places = 0
        self.size_bytes = 0
        self.shares: dict[Party, Share] = {}
        self.turns = Turns()
        self._asking = 0
        self._mixed_until = 0.0

    @property
    def is_calm(self) -> bool:
        return self.places <= self.most_places * CALM_SHARE

    def find_place(self, party: Party) -> Place | None:
        """A place, unless the party holds its share of them."""
        share = self.shares.get(party)
        if share is None:
            if self.places >= self.most_places:
                return None
            share = self.shares[party] = Share(party)
        elif share.places >= self.most_places - self.places:
            return None
        share.places += 1
        self.places += 1
        return Place(self, share)

    def enter(self, party: Party) -> Place:
        """As `find_place`.

        Raises:
            Refused: 503.
        """
        place = self.find_place(party)
        if place is None:
            raise Refused(refusals.too_busy())
        return place

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Postgres is asked who calls: nobody knows yet whose share that is, so all have one together.

        Raises:
            Refused: 503.
        """
        if self._asking > self.most_places // 4:
            raise Refused(refusals.too_busy())
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def give_back(self, share: Share, size_bytes: int) -> None:
        share.places -= 1
        share.size_bytes -= size_bytes
        self.places -= 1
        self.size_bytes -= size_bytes
        if not share.places:
            del self.shares[share.party]

    async def turn(self, party: Party, size_bytes: int) -> None:
        """Wait until it is the party's turn to work on a request of this size, or on a part of it.

        Turns are needed while the process `is_mixed` only.
        """
        await self.turns.take(party, units_of(size_bytes))

    async def pause(self, party: Party) -> None:
        """Let others go first, in the middle of long work: it is a turn of its own."""
        await self.turns.take(party, 1.0, goes_on=True)

    @property
    def is_mixed(self) -> bool:
        """Whether more than one party has been at work lately."""
        if len(self.shares) > 1:
            self._mixed_until = monotonic() + MIXED_SECONDS
            return True
        return monotonic() < self._mixed_until


def units_of(size_bytes: int) -> float:
    return 1 + size_bytes / UNIT_BYTES


class Turns:
    """Parties take turns, one request each.

    What has begun goes first: as long as anything else is ready to run in this process, no new work is begun, but
    for a little each millisecond. So a request waits for what is begun before it, not for what has come before it.
    A party that is alone disturbs nobody, and needs no turns: they would cost it a third of its rate.
    """

    def __init__(self) -> None:
        self._waiting: RoundRobin[tuple[float, asyncio.Future[None]]] = RoundRobin()
        self._is_ticking = False
        self._begun_at = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self, party: Party, units: float, *, goes_on: bool = False) -> None:
        """Return when it is this request's turn.

        Of one party, who `goes_on` is before those that have not begun: if its batches went on side by side they
        would all be done at once, and others would find their records behind all of them.
        """
        loop = asyncio.get_running_loop()
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_soon(self._tick, loop)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.push(party, (units, future), first=goes_on)
        await future

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting
        if not waiting:
            self._is_ticking = False
            return
        now = monotonic()
        # what stands here was ready before us, or has been made ready by the network just now
        is_idle = not loop._ready  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio has no hook for it
        budget = 1.0 if is_idle or now - self._begun_at >= HELD_SECONDS else 0.0
        while waiting and budget > 0:
            units, future = waiting.pop()
            if not future.done():
                budget -= units
                self._begun_at = now
                future.set_result(None)
        loop.call_soon(self._tick, loop)


def watch(gate: Gate) -> None:
    """Show the gate's numbers in the metrics of this process."""
    metrics.IN_FLIGHT.read_by(lambda: gate.places)
    metrics.IN_FLIGHT_BYTES.read_by(lambda: gate.size_bytes)
    metrics.IN_FLIGHT_WORKSPACES.read_by(lambda: len(gate.shares))
    metrics.WAITING_TURNS.read_by(lambda: gate.turns.waiting)
