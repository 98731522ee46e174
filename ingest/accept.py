"""Putting commands into Kafka: 2xx only after the broker's acknowledgement. Source: invariant 1."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

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

from headwater import wire
from headwater.domain.commands import Command
from headwater.errors import Unavailable
from headwater.kafka import open_producer
from headwater.settings import IngestSettings, KafkaSettings
from headwater.topics import CUSTOMERS, EVENTS, PENDING, partition_for

log = structlog.get_logger()

Returned = TypeVar("Returned")

FATAL = (
    OutOfOrderSequenceNumber,
    ProducerFenced,
    InvalidProducerEpoch,
    IllegalStateError,
    ProducerClosed,
)
"""After these a producer never works again; all else is about one record or one moment."""

MAX_SENDS = 480
"""Sends that may wait at once: beyond that every full batch wakes too many of them."""


class Acceptor:
    """The producer of a process, made again when it can't go on."""

    def __init__(self, kafka: KafkaSettings, settings: IngestSettings) -> None:
        self._kafka = kafka
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._locks: dict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._bulk = asyncio.Semaphore(settings.bulk_in_flight)
        self._sends = asyncio.Semaphore(MAX_SENDS)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._making = asyncio.Lock()

    async def start(self) -> None:
        """Connect.

        Raises:
            Unavailable: Kafka is away.
        """
        await self._made()

    async def close(self) -> None:
        """Flush what is under way, then close."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.produce_seconds)
        if self._producer is not None:
            await self._producer.stop()

    async def accept(self, command: Command, topic: str, key: bytes) -> None:
        """Return once Kafka has the command; a client that goes away meanwhile changes nothing.

        Raises:
            Unavailable: Kafka can't take it in time. It may get there all the same.
        """
        headers, value = wire.encode(command)
        await self._shielded(self._send(topic, key, headers, value))

    async def accept_many(self, commands: Sequence[tuple[Command, bytes]], topic: str) -> None:
        """As `accept`, for (command, key) pairs that belong together."""
        await self._shielded(self._send_many(commands, topic))

    async def announce(self, raw: bytes) -> None:
        """Tell the other processes of a pending write."""
        await self._shielded(self._send(PENDING, b"", [], raw))

    async def _shielded(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._settings.produce_seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable("Kafka does not acknowledge in time") from None

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a record was not acknowledged", error=repr(task.exception()))

    async def _send(
        self, topic: str, key: bytes, headers: list[tuple[str, bytes]], value: bytes
    ) -> None:
        async with self._sends:
            producer = await self._made()
            partition = partition_for(key, self._partitions[topic])
            try:
                acknowledged = await producer.send(
                    topic, value=value, headers=headers, partition=partition
                )
                await acknowledged
            except KafkaError as exc:
                await self._failed(producer, exc)
                raise Unavailable(f"Kafka: {exc!r}") from exc

    async def _send_many(self, commands: Sequence[tuple[Command, bytes]], topic: str) -> None:
        async with self._bulk:
            producer = await self._made()
            shares: dict[int, list[Command]] = defaultdict(list)
            for command, key in commands:
                shares[partition_for(key, self._partitions[topic])].append(command)
            try:
                waiting = [
                    acknowledged
                    for partition, share in shares.items()
                    for acknowledged in await self._send_share(producer, topic, partition, share)
                ]
                await asyncio.gather(*waiting)
            except KafkaError as exc:
                await self._failed(producer, exc)
                raise Unavailable(f"Kafka: {exc!r}") from exc

    async def _send_share(
        self, producer: AIOKafkaProducer, topic: str, partition: int, share: list[Command]
    ) -> list[asyncio.Future[Any]]:
        # one caller at a time per partition: in aiokafka 0.14 those that merely wait fail after 0.9 s
        async with self._locks[topic, partition]:
            acknowledged = []
            builder = producer.create_batch()
            written_at = int(time.time() * 1000)
            for command in share:
                headers, value = wire.encode(command)
                full = builder.append(key=None, value=value, timestamp=written_at, headers=headers)
                if full is None:
                    acknowledged.append(
                        await producer.send_batch(builder, topic, partition=partition)
                    )
                    builder = producer.create_batch()
                    builder.append(key=None, value=value, timestamp=written_at, headers=headers)
            acknowledged.append(await producer.send_batch(builder, topic, partition=partition))
            return acknowledged

    async def _made(self) -> AIOKafkaProducer:
        current = self._producer
        if current is not None:
            return current
        async with self._making:
            current = self._producer
            if current is not None:
                return current
            made = await open_producer(self._kafka)
            try:
                for topic in (CUSTOMERS, EVENTS, PENDING):
                    self._partitions[topic] = len(await made.partitions_for(topic))
            except KafkaError as exc:
                await made.stop()
                raise Unavailable(f"Kafka: {exc!r}") from exc
            self._producer = made
            return made

    async def _failed(self, producer: AIOKafkaProducer, exc: KafkaError) -> None:
        """An idempotent producer whose sequence broke never recovers: drop it and make another."""
        if self._producer != producer or not isinstance(exc, FATAL):
            return
        self._producer = None
        log.warning("the producer can't go on, making another", error=repr(exc))
        closing: asyncio.Task[None] = asyncio.create_task(producer.stop())
        self._tasks.add(closing)
        closing.add_done_callback(self._done)
