"""Putting commands into Kafka: 2xx only after the broker's acknowledgement. Source: invariant 1.

Each partition has a lane (`lane.py`), and at most one batch of a lane is at the producer: whatever arrives
meanwhile becomes the next batch. So the client library holds little, and the deadline is ours: aiokafka's
idempotent producer itself never gives a record up.

What happens to a write that Kafka can't take:

- it waits in its lane for `produce_seconds`, then it is answered 503 and forgotten: never sent;
- beyond `waiting_bytes`, and when Kafka has been away for longer than `produce_seconds`, it is answered 503 at
  once;
- if it was in the one batch under way it may arrive although its answer was 503. After `produce_seconds` the
  producer is abandoned with all that it holds, so that nothing is sent much later; bytes that are already on
  their way to a broker that sleeps can't be called back. An `Idempotency-Key` makes the client's
  retry safe.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    IllegalStateError,
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
)

from headwater import metrics, wire
from headwater.domain.commands import Command
from headwater.errors import NotSent, Unavailable
from headwater.kafka import abandon, open_producer
from headwater.log import describe
from headwater.settings import IngestSettings, KafkaSettings
from headwater.topics import CUSTOMERS, EVENTS, PENDING, partition_for
from ingest.lane import Lane, Parcel, Record, Ticket

log = structlog.get_logger()

FATAL = (
    OutOfOrderSequenceNumber,
    ProducerFenced,
    InvalidProducerEpoch,
    IllegalStateError,
    ProducerClosed,
)
"""After these a producer never works again; all else is about one record or one moment."""

SWEEP_SECONDS = 0.1
RETRY_SECONDS = 0.25

ASK_SECONDS = 2.0
ANSWER_KEPT_SECONDS = 1.0
"""How long Kafka may think before it is taken for away, and how old an answer may be."""


class Acceptor:
    """The producer of a process, made again when it can't go on, and what waits for it."""

    def __init__(self, kafka: KafkaSettings, settings: IngestSettings) -> None:
        self._kafka = kafka
        self._produce_seconds = settings.produce_seconds
        self._limit_bytes = settings.waiting_bytes
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._away_since: float | None = None
        self._partitions: dict[str, int] = {}
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._waiting_bytes = 0
        self._background: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time
        self._has_started = False
        self._asking: asyncio.Task[bool] | None = None
        self._answered_at = float("-inf")
        self._is_up = False

    @property
    def has_started(self) -> bool:
        """Whether writes are accepted."""
        return self._has_started

    async def start(self) -> None:
        """Connect; before that nothing is accepted.

        Raises:
            Unavailable: Kafka is away.
        """
        await self._connect()
        metrics.WAITING_BYTES.read_by(lambda: self._waiting_bytes)
        metrics.WAITING_SENDS.read_by(lambda: sum(map(len, self._lanes.values())))
        self._sweeper = asyncio.create_task(self._sweep())
        self._has_started = True

    async def is_up(self) -> bool:
        """Whether Kafka answers, asked over the producer's connection and at most once a second."""
        if self._clock() - self._answered_at < ANSWER_KEPT_SECONDS:
            return self._is_up
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        producer = self._producer
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._is_up = (
                    self._has_started
                    and producer is not None
                    and await producer.client.force_metadata_update()
                )
        except (TimeoutError, KafkaError):
            self._is_up = False
        self._answered_at = self._clock()
        self._asking = None
        return self._is_up

    async def close(self) -> None:
        """Send what waits (within its deadlines), then close."""
        pumps = [lane.pump for lane in self._lanes.values() if lane.pump is not None]
        if pumps:
            await asyncio.wait(pumps, timeout=self._produce_seconds)
        if self._sweeper is not None:
            self._sweeper.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            if any(lane.handed_at is not None for lane in self._lanes.values()):
                await abandon(producer)
            else:
                await producer.stop()
        for task in [*self._background, *pumps]:
            task.cancel()

    async def accept(self, command: Command, topic: str, key: bytes) -> None:
        """Return once Kafka has the command; a client that goes away meanwhile changes nothing.

        Raises:
            Unavailable: Kafka can't take it in time. If it was under way it may get there all the same.
        """
        accepted_at = self._clock()
        party = command.envelope.workspace_id
        await self._put(party, topic, key, wire.encode(command), accepted_at)
        metrics.acknowledged(topic, 1, self._clock() - accepted_at)

    async def announce(self, raw: bytes) -> None:
        """Tell the other processes of a pending write."""
        announced_at = self._clock()
        await self._put(None, PENDING, b"", ([], raw), announced_at)
        metrics.acknowledged(PENDING, 1, self._clock() - announced_at)

    def _put(
        self, party: Hashable, topic: str, key: bytes, record: Record, now: float
    ) -> asyncio.Future[None]:
        """Put a record into its lane; done once Kafka has it."""
        self._check_started()
        ticket = Ticket(1)
        parcel = Parcel((record,), ticket, now + self._produce_seconds)
        self._reserve(parcel.size)
        self._enqueue(party, topic, partition_for(key, self._partitions[topic]), parcel)
        return ticket.done

    async def accept_many(self, commands: Sequence[tuple[Command, bytes]], topic: str) -> None:
        """As `accept`, for (command, key) pairs of one workspace that belong together."""
        self._check_started()
        count = self._partitions[topic]
        shares: dict[int, list[Record]] = defaultdict(list)
        for command, key in commands:
            shares[partition_for(key, count)].append(wire.encode(command))
        ticket = Ticket(len(shares))
        deadline = self._clock() + self._produce_seconds
        parcels = [(place, Parcel(share, ticket, deadline)) for place, share in shares.items()]
        self._reserve(sum(parcel.size for _, parcel in parcels))
        for partition, parcel in parcels:
            self._enqueue(commands[0][0].envelope.workspace_id, topic, partition, parcel)
        if parcels:
            with metrics.BULK_IN_FLIGHT.held():
                await ticket.done
            metrics.acknowledged(
                topic, len(commands), self._clock() + self._produce_seconds - deadline
            )

    def _check_started(self) -> None:
        if not self._has_started:
            raise NotSent("the front door still waits for Kafka")

    def _reserve(self, size_bytes: int) -> None:
        if self._waiting_bytes and self._waiting_bytes + size_bytes > self._limit_bytes:
            raise NotSent(f"{self._waiting_bytes} bytes wait for Kafka already")
        away = self._away_since
        if away is not None and self._clock() - away > self._produce_seconds:
            raise NotSent("Kafka is away")
        self._waiting_bytes += size_bytes

    def _enqueue(self, party: Hashable, topic: str, partition: int, parcel: Parcel) -> None:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(topic, partition)
        lane.rows.push(party, parcel)
        if lane.pump is None:
            lane.pump = asyncio.create_task(self._pump(lane))
            lane.pump.add_done_callback(_report)

    async def _pump(self, lane: Lane) -> None:
        """Hand the lane's parcels to the producer, one batch at a time, until none is left."""
        try:
            while lane.rows:
                await self._connected.wait()
                if self._producer is not None:
                    await self._send(lane, self._producer)
        finally:
            lane.pump = None

    async def _send(self, lane: Lane, producer: AIOKafkaProducer) -> None:
        batch = producer.create_batch()
        self._waiting_bytes -= lane.fill(batch, time.time_ns() // 1_000_000)
        if not batch.record_count():
            return
        lane.handed_at = self._clock()
        try:
            sent = await producer.send_batch(batch, lane.topic, partition=lane.partition)
            await sent
        except KafkaError as exc:
            self._waiting_bytes -= lane.crash(f"Kafka: {exc!r}")
            if isinstance(exc, FATAL):
                # an idempotent producer whose sequence broke never recovers
                self._drop(producer, repr(exc))
        else:
            self._waiting_bytes -= lane.land()
        finally:
            lane.handed_at = None
            if lane.flying:  # cancelled, or a bug: nobody may wait for ever
                self._waiting_bytes -= lane.crash("the front door is closing")

    async def _sweep(self) -> None:
        """Keep the deadlines. One ticker for all, as a timer for each write costs as much as its ids."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if not self._waiting_bytes:
                continue
            now = self._clock()
            overdue = False
            for lane in self._lanes.values():
                self._waiting_bytes -= lane.expire(now)
                overdue |= (
                    lane.handed_at is not None and lane.handed_at + self._produce_seconds <= now
                )
            if overdue and self._producer is not None:
                self._drop(self._producer, f"no acknowledgement for {self._produce_seconds} s")

    def _drop(self, producer: AIOKafkaProducer, reason: str) -> None:
        """Give a producer up with all that it holds, and make another."""
        if self._producer is not producer:
            return
        log.warning("the producer can't go on, making another", reason=reason)
        metrics.PRODUCERS_DROPPED.inc()
        self._producer = None
        self._connected.clear()
        self._away_since = self._clock()
        for work in (abandon(producer), self._reconnect()):
            task = asyncio.create_task(work)
            self._background.add(task)
            task.add_done_callback(self._background.discard)
            task.add_done_callback(_report)

    async def _reconnect(self) -> None:
        while True:
            try:
                await self._connect()
            except Unavailable as exc:
                log.warning("kafka is away", error=str(exc))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                log.info("kafka is back")
                return

    async def _connect(self) -> None:
        made = await open_producer(self._kafka)
        try:
            for topic in (CUSTOMERS, EVENTS, PENDING):
                self._partitions[topic] = len(await made.partitions_for(topic))
        except KafkaError as exc:
            await abandon(made)
            raise Unavailable(f"Kafka: {exc!r}") from exc
        self._producer = made
        self._away_since = None
        self._connected.set()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("a task of the front door failed", error=describe(exc))
