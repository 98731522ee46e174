"""What waits to be sent to one partition: parcels of records, each with its deadline.

Only the waiting is here; who hands it to Kafka is `accept.py`. A parcel leaves the lane either into a batch
of the producer or, at its deadline, for good: what was not handed over in time is never sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from headwater.errors import Unavailable
from headwater.roundrobin import RoundRobin

Record: TypeAlias = tuple[list[tuple[str, bytes]], bytes]
"""Headers and value, as `wire.encode` gives them."""

OVERHEAD_BYTES = 200
"""What a waiting record holds beside its value: envelope, tuples, its share of the parcel."""


class Batch(Protocol):
    """The part of aiokafka's batch builder that is needed here."""

    def append(
        self, *, timestamp: int, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> object | None:
        """None if the batch is full."""


class Ticket:
    """The acknowledgement that one request waits for: of all its parcels, or the first failure."""

    __slots__ = ("_open", "done")

    def __init__(self, parcels: int) -> None:
        self._open = parcels
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def parcel_done(self) -> None:
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(Unavailable(reason))


class Parcel:
    """Records of one request for one partition. `deadline` and all times are the loop's, in seconds."""

    __slots__ = ("deadline", "handed", "records", "size", "ticket")

    def __init__(self, records: Sequence[Record], ticket: Ticket, deadline: float) -> None:
        self.records = records
        self.ticket = ticket
        self.deadline = deadline
        self.size = sum([len(value) for _, value in records]) + OVERHEAD_BYTES * len(records)
        self.handed = 0
        """How many of the records are in a batch of the producer."""


class Lane:
    """What waits for one partition, and the parcels of the one batch that is under way.

    Workspaces take turns, a parcel each: else who floods would have its row stand before everybody. Of one
    workspace all stays in order.
    """

    __slots__ = ("flying", "handed_at", "partition", "pump", "rows", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.rows: RoundRobin[Parcel] = RoundRobin()
        """By workspace."""
        self.flying: list[Parcel] = []
        self.handed_at: float | None = None
        self.pump: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many parcels are here, those under way too."""
        return len(self.rows) + len(self.flying)

    def fill(self, batch: Batch, timestamp: int) -> int:
        """Move what fits from the rows into `batch` and `flying`; the bytes that were given up instead.

        A parcel whose request has failed or gone away is dropped. One that doesn't fit whole stays the
        first with its rest.
        """
        dropped = 0
        rows, flying = self.rows, self.flying
        while rows:
            parcel = rows.first
            if parcel.ticket.done.done():
                rows.pop()
                dropped += parcel.size
                continue
            records = parcel.records
            if parcel.handed:
                records = records[parcel.handed :]
            for headers, value in records:
                if (
                    batch.append(timestamp=timestamp, key=None, value=value, headers=headers)
                    is None
                ):
                    return dropped
                parcel.handed += 1
            rows.pop()
            flying.append(parcel)
        return dropped

    def expire(self, now: float) -> int:
        """Give up what waits beyond its deadline; returns its bytes.

        What is under way gets its answer too, but may still arrive.
        """
        dropped = 0
        for parcel in self.rows.pop_while(lambda parcel: parcel.deadline <= now):
            parcel.ticket.fail("Kafka did not take the write in time")
            dropped += parcel.size
        for parcel in self.flying:
            if parcel.deadline <= now:
                parcel.ticket.fail("Kafka does not acknowledge in time")
        return dropped

    def land(self) -> int:
        """The batch under way is acknowledged; returns its bytes."""
        size = 0
        for parcel in self.flying:
            parcel.ticket.parcel_done()
            size += parcel.size
        self.flying.clear()
        return size

    def crash(self, reason: str) -> int:
        """The batch under way failed: so did each request that has a record in it."""
        size = 0
        for parcel in self.flying:
            parcel.ticket.fail(reason)
            size += parcel.size
        self.flying.clear()
        if self.rows and self.rows.first.handed:
            # its other part was in that batch
            self.rows.first.ticket.fail(reason)
        return size
