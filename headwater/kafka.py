"""Building Kafka producers, consumers and topics; nothing about meaning.

Driver exceptions are translated here: whatever may be tried again is `Unavailable`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError

from headwater.errors import Unavailable
from headwater.settings import KafkaSettings
from headwater.topics import CUSTOMERS, EVENTS, PENDING, RESULTS

ABANDON_SECONDS = 2.0
"""How long a producer that is given up may take to end its requests."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what aiokafka raises for a broker that is away into `Unavailable`."""
    try:
        yield
    except (KafkaError, OSError) as exc:
        raise Unavailable(f"Kafka: {exc!r}") from exc


def _connection(settings: KafkaSettings) -> dict[str, Any]:
    """What every client needs to reach the brokers."""
    security = settings.security
    return {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": security.protocol,
        "ssl_context": security.context,
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password,
    }


async def open_producer(settings: KafkaSettings, *, idempotent: bool = True) -> AIOKafkaProducer:
    """A started producer that is acknowledged by all replicas and, if `idempotent`, never doubles a record.

    Without `idempotent` a record may come twice, or not at all when Kafka is away for too long; but such
    a producer always goes on, while an idempotent one whose sequence broke never works again.

    Raises:
        Unavailable: no broker answers.
    """
    producer = AIOKafkaProducer(
        **_connection(settings),
        enable_idempotence=idempotent,
        acks="all",
        linger_ms=0,
        # with 16 KiB every waiter wakes for each full batch, and throughput collapses
        max_batch_size=128 * 1024,
        max_request_size=2 * 1024 * 1024,
        request_timeout_ms=10_000,
    )
    with translated():
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
    return producer


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer at once, with all that it holds: `stop` would try to deliver it for ever.

    Who waits for its batches gets a `KafkaError`. What was written to the broker's connection may arrive.
    """
    # aiokafka has no public way: an idempotent producer retries until it succeeds
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    producer._closed = True  # noqa: SLF001
    accumulator._closed = True  # noqa: SLF001
    held = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    # one that was sent and put back has left the pending ones, and trips over that when it fails
    accumulator._pending_batches.update(held)  # noqa: SLF001
    accumulator.fail_all(KafkaTimeoutError())
    for batch in held:
        # failed too, and awaited by nobody: each would be logged as an error
        batch._drain_waiter.exception()  # noqa: SLF001
    accumulator._batches.clear()  # noqa: SLF001
    running = sender.sender_task
    if running is not None:
        running.remove_done_callback(sender._fail_all)  # noqa: SLF001
        running.cancel()
    for connection in list(producer.client._conns.values()):  # noqa: SLF001
        _cut(connection)
    await producer.client.close()
    if running is not None:
        done, _ = await asyncio.wait([running], timeout=ABANDON_SECONDS)
        for task in done:
            if not task.cancelled():
                # a request that was cut puts its batch back, where it is no longer known
                task.exception()
        # a connection that was being opened meanwhile
        await producer.client.close()


def _cut(connection: Any) -> None:
    """Drop what is not sent yet: closing would first flush it to a broker that may sleep."""
    writer = connection._writer  # noqa: SLF001
    if writer is None:
        return
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


def build_consumer(settings: KafkaSettings, **options: object) -> AIOKafkaConsumer:
    """A consumer that never commits to Kafka and holds little ahead; not started."""
    return AIOKafkaConsumer(
        **_connection(settings),
        enable_auto_commit=False,
        # prefetch is per partition: the default of 1 MiB each is memory for nothing
        max_partition_fetch_bytes=512 * 1024,
        **options,
    )


def fetch_all_together(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """Ask Kafka for all partitions at once, and for none while records of one wait here; so long at most.

    Of a broker one thing is asked at a time. By default aiokafka asks after 0.1 s for those partitions of
    which nothing waits here, the quiet ones: as long as that question is open, what is written to the busy
    ones is not seen. Call it once the consumer has started.
    """
    fetcher = consumer._fetcher  # noqa: SLF001  # aiokafka has no setting for it
    if not hasattr(fetcher, "_prefetch_backoff"):
        raise AttributeError(
            "this aiokafka has no _prefetch_backoff: see what has come in its place"
        )
    fetcher._prefetch_backoff = seconds  # noqa: SLF001


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, also while no broker answers.

    aiokafka cancels its fetches and awaits each: one that pauses before it tries again lets the cancellation
    out, which then looks as if we were cancelled, and leaves the connections open.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        await consumer._client.close()  # noqa: SLF001  # where `stop` did not get to


async def ensure_topics(settings: KafkaSettings) -> None:
    """Make the topics that are missing. Existing ones stay as they are.

    Raises:
        Unavailable: no broker answers.
    """
    retention = {"retention.ms": str(settings.retention_hours * 3_600_000)}
    short = {"retention.ms": str(3_600_000)}
    topics = [
        NewTopic(
            CUSTOMERS,
            settings.customers_partitions,
            settings.replication_factor,
            topic_configs=retention,
        ),
        NewTopic(
            EVENTS, settings.events_partitions, settings.replication_factor, topic_configs=retention
        ),
        NewTopic(
            RESULTS, settings.results_partitions, settings.replication_factor, topic_configs=short
        ),
        NewTopic(PENDING, 1, settings.replication_factor, topic_configs=short),
    ]
    with translated():
        admin = AIOKafkaAdminClient(**_connection(settings))
        try:
            await admin.start()
            existing = set(await admin.list_topics())
            missing = [topic for topic in topics if topic.name not in existing]
            if missing:
                with suppress(TopicAlreadyExistsError):  # another process was faster
                    await admin.create_topics(missing)
        finally:
            await admin.close()


async def answers(bootstrap: str) -> None:
    """Return once if the broker does its work now.

    Raises:
        Unavailable: it doesn't.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    with translated():
        try:
            await admin.start()
            await admin.list_topics()
        finally:
            await admin.close()
