"""The Kafka side: which partitions are ours, from where they are read, and what becomes of the answers.

Offsets live in Postgres only. On assignment the consumer seeks to what is stored there; on revocation
what was fetched is finished first (drain), then the partitions go; a process that was paused through
all this is stopped by the compare-and-set in its transaction (fence).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import zip_longest

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from headwater import metrics, wire
from headwater.clock import monotonic
from headwater.domain.ids import KafkaOffset
from headwater.domain.outcome import Applied, Rejected
from headwater.errors import HubError, StaleConsumer, Unavailable
from headwater.kafka import build_consumer, fetch_all_together, stop_consumer, translated
from headwater.postgres.offsets import Offsets, Partition, read_offsets, start_offsets
from headwater.settings import KafkaSettings, ProcessorSettings
from headwater.topics import CUSTOMERS, EVENTS, GROUP, RESULTS
from processor.alarm import RejectionAlarm
from processor.batch import Ahead, Answer, Parts, judge_ahead
from processor.crash import Step
from processor.isolate import apply_whatever_comes
from processor.record import Batch, Record, next_offsets_of

log = structlog.get_logger()


FETCHED_BATCHES = 4
"""Batches that one fetch may bring: each but the first is judged while Postgres works on the one before."""

TOGETHER_SECONDS = 1.0
"""Longer than all batches take but those of a large backlog, which fill every busy partition's prefetch anyway."""


class RecordsLost(HubError):
    """Kafka doesn't hold what Postgres says comes next: it was wiped, or retention was faster."""


class Consumer:
    """One member of the group. `run` until `stop`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: ProcessorSettings,
        parts: Parts,
        producer: AIOKafkaProducer,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._producer = producer
        self._positions: dict[Partition, KafkaOffset] = {}
        self._applying = asyncio.Lock()  # never held around getmany: the listener waits for it
        self._progress_at = monotonic()
        self._failure: Exception | None = None
        """What the listener ran into: aiokafka only logs it, and goes on without positions."""
        self._seen_of_others: Offsets | None = None
        self._stop = asyncio.Event()
        self._alarm = RejectionAlarm(settings, monotonic)
        metrics.LAG.read_all_by(self._lag)
        self._sending: asyncio.Future[None] = _nothing()
        self._consumer: AIOKafkaConsumer = build_consumer(
            kafka,
            group_id=GROUP,
            # a static member keeps its partitions over a short restart
            group_instance_id=settings.instance,
            auto_offset_reset="earliest",
            # how long writes may be held up by a question for quiet partitions only (see TOGETHER_SECONDS)
            fetch_max_wait_ms=100,
            session_timeout_ms=int(settings.session_seconds * 1000),
            heartbeat_interval_ms=int(settings.session_seconds * 1000 / 4),
            rebalance_timeout_ms=int(settings.rebalance_seconds * 1000),
            max_poll_interval_ms=300_000,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Apply what comes until `stop`; then finish the batch in flight and leave.

        Raises:
            RecordsLost: somebody has to look at this; nothing was skipped.
            Unavailable: Kafka could not be reached at the start.
        """
        self._stop = stop
        with translated():
            await self._consumer.start()
        fetch_all_together(self._consumer, TOGETHER_SECONDS)
        try:
            self._consumer.subscribe([CUSTOMERS, EVENTS], listener=_Listener(self))
            while not stop.is_set():
                await self._step()
        finally:
            await self._sending
            await stop_consumer(self._consumer)

    async def _step(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            # cancelling getmany can end its fetch task, so it is only ever given a time limit
            fetched = await self._consumer.getmany(
                timeout_ms=int(self._settings.poll_seconds * 1000),
                max_records=FETCHED_BATCHES * self._settings.batch_records,
            )
        except KafkaError as exc:
            log.warning("kafka is away, waiting for it", error=repr(exc))
            await asyncio.sleep(self._settings.retry_seconds)
            return
        if not fetched:
            self._alarm.look()
            await self._watch()
            return
        sending = self._sending
        async with self._applying:
            await self._check_in_place(fetched)
            batch = self._batch(fetched)
            if not batch.records:
                return
            self._parts.crash.after(Step.FETCH)
            try:
                await self._apply(batch)
            except StaleConsumer as exc:
                log.warning("partitions moved, seeking again", detail=str(exc))
                metrics.RETRIES.inc("stale")
                is_stale = True
            except Unavailable:
                return  # only when stopping: the batch stays in Kafka
            else:
                is_stale = False
        # ours are on their way while the next are applied; those of the fetch before must be gone, so that
        # nothing piles up
        await sending
        if is_stale:
            await self.take(self._consumer.assignment())

    async def _apply(self, fetched: Batch) -> None:
        """Apply what was fetched, a transaction for each part of it, in order.

        Each part is decoded and judged while Postgres works on the one before. If one fails, those after it
        are thrown away.

        Raises:
            StaleConsumer: the partitions belong to somebody else now.
            Unavailable: only when stopping.
        """
        batches = fetched.split(self._settings.batch_records)
        ahead: Ahead | None = None
        for batch, following in zip_longest(batches, batches[1:]):
            judging = asyncio.ensure_future(judge_ahead(following, self._parts))
            started = monotonic()
            try:
                answers = await apply_whatever_comes(
                    batch, self._parts, self._settings, self._stop, ahead=ahead
                )
                self._positions.update(batch.next_offsets)
                self._progress_at = monotonic()
                log.debug(
                    "batch applied",
                    records=len(batch.records),
                    duration_ms=round((monotonic() - started) * 1000, 1),
                )
                self._alarm.count([answer.outcome for answer in answers])
                self._sending = asyncio.ensure_future(self._send_after(self._sending, answers))
                if self._stop.is_set():
                    return
                ahead = await judging
            finally:
                judging.cancel()

    async def _check_in_place(self, fetched: dict[TopicPartition, list[object]]) -> None:
        """Notice that the library went on elsewhere, as it does when Kafka doesn't hold what comes next.

        What was fetched before a seek is elsewhere too, and no loss.

        Raises:
            RecordsLost: Kafka doesn't hold what comes next.
            Unavailable: Kafka doesn't say. The records are not applied: end, starting again is harmless.
        """
        elsewhere = [
            topic_partition
            for topic_partition, messages in fetched.items()
            if (expected := self._positions.get((topic_partition.topic, topic_partition.partition)))
            is not None
            and messages[0].offset != expected  # type: ignore[attr-defined]  # untyped library
        ]
        if not elsewhere:
            return
        with translated():
            beginnings = await self._consumer.beginning_offsets(elsewhere)
            ends = await self._consumer.end_offsets(elsewhere)
        for topic_partition in elsewhere:
            partition = (topic_partition.topic, topic_partition.partition)
            begin, end = beginnings[topic_partition], ends[topic_partition]
            _check_held(partition, self._positions[partition], begin, end)

    def _batch(self, fetched: dict[TopicPartition, list[object]]) -> Batch:
        """The fetched records that are ours and come next, customers before events."""
        records: list[Record] = []
        for topic_partition in sorted(fetched, key=lambda tp: (tp.topic, tp.partition)):
            partition = (topic_partition.topic, topic_partition.partition)
            expected = self._positions.get(partition)
            if expected is None:
                continue  # revoked while the fetch was under way
            for message in fetched[topic_partition]:
                if message.offset < expected:  # type: ignore[attr-defined]  # untyped library
                    continue
                records.append(_record(message))
        next_offsets = next_offsets_of(records)
        return Batch(
            records=tuple(records),
            expected={partition: self._positions[partition] for partition in next_offsets},
            next_offsets=next_offsets,
        )

    def _lag(self) -> dict[tuple[str, ...], float]:
        behind: dict[tuple[str, ...], float] = {}
        for (topic, partition), next_offset in self._positions.items():
            end = self._consumer.highwater(TopicPartition(topic, partition)) or next_offset
            behind[topic,] = behind.get((topic,), 0) + max(0, end - next_offset)
        return behind

    async def drain(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what was fetched, then forget the partitions."""
        async with self._applying:
            for topic_partition in revoked:
                self._positions.pop((topic_partition.topic, topic_partition.partition), None)

    async def take(self, assigned: Iterable[TopicPartition]) -> None:
        """Seek the new partitions to what Postgres holds; waits until Postgres can tell."""
        partitions = [(tp.topic, tp.partition) for tp in assigned]
        pause = self._settings.retry_seconds
        while partitions and not self._stop.is_set():
            try:
                async with self._applying:
                    await self._seek(partitions)
            except Unavailable as exc:
                log.warning("offsets can't be read now, waiting", error=str(exc))
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._settings.retry_max_seconds)
            else:
                log.info("partitions assigned", partitions=len(partitions))
                return

    def fail(self, failure: Exception) -> None:
        """End `run` with this failure."""
        self._failure = failure

    async def _seek(self, wanted: list[Partition]) -> None:
        """Seek those of `wanted` that are still ours."""
        topic_partitions = [
            topic_partition
            for topic_partition in self._consumer.assignment()
            if (topic_partition.topic, topic_partition.partition) in wanted
        ]
        partitions = [(tp.topic, tp.partition) for tp in topic_partitions]
        if not partitions:
            return
        with translated():
            beginnings = await self._consumer.beginning_offsets(topic_partitions)
            ends = await self._consumer.end_offsets(topic_partitions)
        async with self._parts.pool.connection() as conn:
            stored = await read_offsets(conn, partitions)
            first = {
                partition: KafkaOffset(beginnings[TopicPartition(*partition)])
                for partition in partitions
                if partition not in stored
            }
            if first:  # only then: it waits for whoever moves one of them just now
                await start_offsets(conn, first)
                stored = await read_offsets(conn, partitions)
        for partition in partitions:
            topic_partition = TopicPartition(*partition)
            next_offset = stored[partition]
            begin, end = beginnings[topic_partition], ends[topic_partition]
            _check_held(partition, next_offset, begin, end)
            try:
                self._consumer.seek(topic_partition, next_offset)
            except IllegalStateError:
                # lost while we asked, as by a process that wakes from a long pause: not ours any more
                self._positions.pop(partition, None)
            else:
                self._positions[partition] = next_offset
        self._progress_at = monotonic()

    async def _watch(self) -> None:
        """End the process if there is something to read and nothing comes (aiokafka can fall silent)."""
        if monotonic() - self._progress_at < self._settings.watchdog_seconds:
            return
        self._progress_at = monotonic()
        if not self._positions:
            await self._watch_others()
            return
        topic_partitions = [TopicPartition(*partition) for partition in self._positions]
        try:
            ends = await self._consumer.end_offsets(topic_partitions)
        except KafkaError as exc:
            log.warning("kafka is away, waiting for it", error=repr(exc))
            return
        behind = sum(ends[tp] - self._positions[tp.topic, tp.partition] for tp in topic_partitions)
        if behind > 0:
            raise Unavailable(f"{behind} records wait and none comes: restarting is harmless")

    async def _watch_others(self) -> None:
        """End the process if it has no partitions and nobody applies what waits: it may be theirs to take.

        A spare, one of more processes than there are partitions, sees the others move.
        """
        topic_partitions = [
            TopicPartition(topic, number)
            for topic in (CUSTOMERS, EVENTS)
            for number in self._consumer.partitions_for_topic(topic) or ()
        ]
        partitions = [(tp.topic, tp.partition) for tp in topic_partitions]
        try:
            ends = await self._consumer.end_offsets(topic_partitions)
            async with self._parts.pool.connection() as conn:
                stored = await read_offsets(conn, partitions)
        except (KafkaError, Unavailable) as exc:
            log.warning("can't see how far others are", error=repr(exc))
            return
        before, self._seen_of_others = self._seen_of_others, stored
        behind = sum(ends[TopicPartition(*p)] - stored.get(p, KafkaOffset(0)) for p in partitions)
        if behind > 0 and stored == before:
            raise Unavailable(
                f"{behind} records wait and no partition comes: restarting is harmless"
            )

    async def _send_after(self, before: asyncio.Future[None], answers: list[Answer]) -> None:
        await before
        await self._send(answers)

    async def _send(self, answers: list[Answer]) -> None:
        """Send the outcomes to whoever waits. One that is lost costs its client a repetition."""
        committed = monotonic()
        shares: dict[int, list[bytes]] = {}
        for answer in answers:
            command = answer.command
            if command is None or command.envelope.reply_to is None:
                continue
            result = _result(answer, command.envelope.reply_to.correlation)
            if result is not None:
                share = shares.setdefault(command.envelope.reply_to.partition, [])
                share.append(wire.encode_result(result))
        try:
            acknowledged = [
                sent
                for partition, values in shares.items()
                for sent in await self._send_share(partition, values)
            ]
            outcomes = await asyncio.gather(*acknowledged, return_exceptions=True)
            failed = next((o for o in outcomes if isinstance(o, BaseException)), None)
        except KafkaError as exc:
            failed = exc
        if failed is not None:
            log.warning("results can't be sent", error=repr(failed))
        metrics.STEP_SECONDS.lap(committed, "answer")
        self._parts.crash.after(Step.SEND_RESULTS)

    async def _send_share(
        self, partition: int, values: list[bytes]
    ) -> list[asyncio.Future[object]]:
        """Send to one partition in as few Kafka batches as they fill: a future each costs the most."""
        acknowledged: list[asyncio.Future[object]] = []
        written_ms = time.time_ns() // 1_000_000
        builder = self._producer.create_batch()
        for value in values:
            if builder.append(key=None, value=value, timestamp=written_ms) is None:
                acknowledged.append(
                    await self._producer.send_batch(builder, RESULTS, partition=partition)
                )
                builder = self._producer.create_batch()
                builder.append(key=None, value=value, timestamp=written_ms)
        acknowledged.append(await self._producer.send_batch(builder, RESULTS, partition=partition))
        return acknowledged


def _nothing() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library ships no types
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._consumer.drain(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            await self._consumer.take(assigned)
        except Exception as exc:  # noqa: BLE001  # handed to `run`, which ends with it
            self._consumer.fail(exc)


def _check_held(partition: Partition, next_offset: int, begin: int, end: int) -> None:
    if not begin <= next_offset <= end:
        raise RecordsLost(
            f"{partition[0]}/{partition[1]}: Postgres expects record {next_offset} next, "
            f"Kafka holds {begin} to {end}"
        )


def _record(message: object) -> Record:
    return Record(
        topic=message.topic,  # type: ignore[attr-defined]  # the library ships no types
        partition=message.partition,  # type: ignore[attr-defined]
        kafka_offset=KafkaOffset(message.offset),  # type: ignore[attr-defined]
        headers=message.headers,  # type: ignore[attr-defined]
        value=message.value or b"",  # type: ignore[attr-defined]
        written_ms=message.timestamp,  # type: ignore[attr-defined]
    )


def _result(answer: Answer, correlation: str) -> wire.Result | None:
    match answer.outcome:
        case Applied() as applied:
            return wire.Result(
                correlation=correlation,
                status=applied.status,
                entity_type=applied.entity_type,
                entity_id=str(applied.entity_id),
                version=applied.version,
                body=None if answer.document is None else answer.document.encode(),
            )
        case Rejected(refusal=refusal):
            return wire.Result(correlation=correlation, status=refusal.status, refusal=refusal)
        case _:
            return None
