"""Outcomes for waiting requests, and which writes are still pending.

A process reads one partition of `headwater.results`, from its present end, and all of `headwater.pending` of
the last minute: a write that timed out anywhere can be joined everywhere.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from headwater import metrics, wire
from headwater.domain.commands import BatchKey, ReplyTo
from headwater.domain.ids import WorkspaceId
from headwater.http.gate import Gate
from headwater.kafka import build_consumer, stop_consumer, translated
from headwater.log import describe
from headwater.settings import IngestSettings, KafkaSettings
from headwater.topics import PENDING, RESULTS

log = structlog.get_logger()

JOINABLE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)  # not frozen: a quarter of the time, one for each event
class Identifiers:
    """The ids that a write carries; its repetition carries the same. `batch` is the key of the batch that
    the write is an item of.
    """

    operation_id: UUID
    entity_id: UUID
    session_id: UUID
    repeatable: bool
    keyed: bool
    batch: BatchKey | None = None


class Results:
    """Futures of waiting requests by correlation, and pending writes by caller and fingerprint."""

    def __init__(self, kafka: KafkaSettings, settings: IngestSettings) -> None:
        self._kafka = kafka
        self._instance = settings.instance
        # not the instance: a process that starts again under its name must not take the answers to the
        # one before for its own (in a container even the process id is the same)
        self._run = uuid4().hex
        self._waiting: dict[str, asyncio.Future[wire.Result]] = {}
        self._places = Gate(places=settings.waiting_answers, size_bytes=0)
        self._most_pending = settings.pending_writes
        self._pending: dict[tuple[str, str], tuple[float, Identifiers]] = {}
        self._count = 0
        self._partition = 0
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Take the position; what is sent from now on is read.

        Raises:
            Unavailable: Kafka is away.
        """
        consumer = build_consumer(self._kafka, fetch_max_wait_ms=200)
        with translated():
            await consumer.start()
            try:
                await consumer._client.force_metadata_update()  # noqa: SLF001  # assign needs it known
                known = consumer._client.cluster.partitions_for_topic(RESULTS)  # noqa: SLF001
                count = len(known or ()) or self._kafka.results_partitions
                self._partition = zlib.crc32(self._instance.encode()) % count
                mine = TopicPartition(RESULTS, self._partition)
                pending = TopicPartition(PENDING, 0)
                consumer.assign([mine, pending])
                await consumer.seek_to_end(mine)
                await consumer.position(mine)
                since = int((time.time() - JOINABLE_SECONDS) * 1000)
                found = (await consumer.offsets_for_times({pending: since}))[pending]
                if found is None:
                    await consumer.seek_to_end(pending)
                else:
                    consumer.seek(pending, found.offset)
            except BaseException:
                await stop_consumer(consumer)
                raise
        self._consumer = consumer
        metrics.WAITING_ANSWERS.read_by(lambda: len(self._waiting))
        metrics.PENDING_WRITES.read_by(lambda: len(self._pending))

    async def run(self, stop: asyncio.Event) -> None:
        """Hand out results until `stop`."""
        assert self._consumer is not None
        while not stop.is_set():
            try:
                fetched = await self._consumer.getmany(timeout_ms=500, max_records=2_000)
            except KafkaError as exc:
                log.warning("results can't be read now", error=repr(exc))
                await asyncio.sleep(0.5)
                continue
            for partition, messages in fetched.items():
                for message in messages:
                    if partition.topic == RESULTS:
                        self._hand_out(message.value)
                    else:
                        self._learn_pending(message.value)
            self._forget_old()

    async def close(self) -> None:
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    @contextmanager
    def expect(
        self, workspace_id: WorkspaceId
    ) -> Iterator[tuple[ReplyTo, asyncio.Future[wire.Result]]]:
        """Where to send a result, and the future that it will fulfil.

        Raises:
            Refused: 503, the workspace waits for its share of results already.
        """
        place = self._places.enter(workspace_id)
        self._count += 1
        correlation = f"{self._run}:{self._count}"
        future: asyncio.Future[wire.Result] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = future
        try:
            yield ReplyTo(partition=self._partition, correlation=correlation), future
        finally:
            del self._waiting[correlation]
            place.leave()

    def find_pending(self, caller: str, fingerprint: str) -> Identifiers | None:
        """The ids of the identical call that was answered `write still pending` a moment ago."""
        known = self._pending.get((caller, fingerprint))
        if known is None or known[0] < time.time():
            return None
        metrics.PENDING_JOINS.inc()
        return known[1]

    def remember_pending(self, caller: str, fingerprint: str, ids: Identifiers) -> bytes:
        """Remember it here; returns what tells the other processes."""
        until = time.time() + JOINABLE_SECONDS
        self._keep_pending((caller, fingerprint), until, ids)
        return orjson.dumps(
            [
                caller,
                fingerprint,
                until,
                str(ids.operation_id),
                str(ids.entity_id),
                str(ids.session_id),
                ids.keyed,
            ]
        )

    def forget_pending(self, caller: str, fingerprint: str) -> bytes | None:
        """The write has its outcome: the next identical call is a new write. Returns what tells others."""
        if self._pending.pop((caller, fingerprint), None) is None:
            return None
        return orjson.dumps([caller, fingerprint, 0, *[str(UUID(int=0))] * 3, False])

    def _hand_out(self, raw: bytes | None) -> None:
        try:
            result = wire.decode_result(raw)
        except wire.Undecodable as exc:
            log.warning("a result can't be read", error=describe(exc.__cause__ or exc))
            return
        future = self._waiting.get(result.correlation)
        if future is not None and not future.done():
            future.set_result(result)

    def _learn_pending(self, raw: bytes | None) -> None:
        try:
            caller, fingerprint, until, ids = decode_pending(raw)
        except wire.Undecodable as exc:
            log.warning("a pending write can't be read", error=describe(exc.__cause__ or exc))
            return
        if until:
            self._keep_pending((caller, fingerprint), until, ids)
        else:
            self._pending.pop((caller, fingerprint), None)

    def _keep_pending(self, key: tuple[str, str], until: float, ids: Identifiers) -> None:
        # the last one stands last, so that the first ones are those to be forgotten
        self._pending.pop(key, None)
        self._pending[key] = (until, ids)
        if len(self._pending) > self._most_pending:
            del self._pending[next(iter(self._pending))]
            metrics.PENDING_FORGOTTEN.inc()

    def _forget_old(self) -> None:
        now = time.time()
        while self._pending:
            key = next(iter(self._pending))
            if self._pending[key][0] >= now:
                return
            del self._pending[key]


def decode_pending(raw: bytes | None) -> tuple[str, str, float, Identifiers]:
    """Caller, fingerprint, until when it can be joined (0: no more), and ids of a pending write.

    Raises:
        Undecodable: the bytes tell of none.
    """
    try:
        caller, fingerprint, until, operation_id, entity_id, session_id, keyed = orjson.loads(
            raw or b""
        )
        if not (
            isinstance(caller, str) and isinstance(fingerprint, str) and keyed in {True, False}
        ):
            raise TypeError("expected texts, a time, ids, and a flag")
        ids = Identifiers(
            operation_id=UUID(operation_id),
            entity_id=UUID(entity_id),
            session_id=UUID(session_id),
            repeatable=True,
            keyed=bool(keyed),
        )
        return caller, fingerprint, float(until), ids
    except (ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise wire.Undecodable(f"the pending write can't be read: {exc!r}") from exc
