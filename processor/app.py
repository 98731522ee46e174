"""Builds the parts of a processor by hand, top to bottom, and closes them in reverse."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog

from headwater import clock, metrics
from headwater.errors import Contended, Unavailable
from headwater.kafka import ensure_topics, open_producer
from headwater.postgres.outcomes import delete_expired_operations, delete_old_rejections
from headwater.postgres.pool import BY_INDEX, Pool, open_pool
from headwater.postgres.stalled import Sessions, end_sessions, read_stalled
from headwater.settings import Settings
from headwater.validation import Validator, load_schemas
from processor.batch import Parts
from processor.consumer import Consumer
from processor.crash import CrashPoint

log = structlog.get_logger()

APPLICATION = "headwater processor"
"""How Postgres calls its sessions in `pg_stat_activity`."""

REJECTIONS_KEPT = timedelta(days=30)
SWEEP_SECONDS = 300.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Apply writes until `stop`, then finish the batch in flight.

    Raises:
        RecordsLost: Kafka and Postgres don't belong together.
        Unavailable: the watchdog gave up; start again.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(metrics.served(settings.metrics))
        crash = CrashPoint.from_setting(settings.processor.crash_at)
        await _wait_for_kafka(settings, stop)
        if stop.is_set():
            return
        pool = await open_pool(
            settings.postgres,
            min_size=2,
            max_size=settings.postgres.processor_connections,
            session={**BY_INDEX, "application_name": APPLICATION},
        )
        stack.push_async_callback(pool.close)
        # a lost or doubled result is harmless; an idempotent producer whose sequence broke never recovers
        producer = await open_producer(settings.kafka, idempotent=False)
        stack.push_async_callback(producer.stop)
        validator = Validator(load_schemas())
        parts = Parts(pool=pool, validator=validator, clock=clock.now, crash=crash)
        consumer = Consumer(settings.kafka, settings.processor, parts, producer)
        # what is here now stays: the collector need not look at it again and again
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        for work in (_sweep(pool, stop), _end_stalled(pool, settings, stop)):
            task = asyncio.create_task(work)
            stack.callback(task.cancel)
        log.info("processor started", instance=settings.processor.instance)
        await consumer.run(stop)
        log.info("processor stopped")


async def _wait_for_kafka(settings: Settings, stop: asyncio.Event) -> None:
    pause = settings.processor.retry_seconds
    while not stop.is_set():
        try:
            await ensure_topics(settings.kafka)
        except Unavailable as exc:
            log.warning("kafka is away, waiting for it", error=str(exc))
            await asyncio.sleep(pause)
            pause = min(pause * 2, settings.processor.retry_max_seconds)
        else:
            return


async def _sweep(pool: Pool, stop: asyncio.Event) -> None:
    """Forget outcomes and rejections whose time is over, now and then."""
    while not stop.is_set():
        try:
            async with pool.connection() as conn:
                await delete_expired_operations(conn, clock.now())
                await delete_old_rejections(conn, clock.now() - REJECTIONS_KEPT)
        except (Unavailable, Contended) as exc:  # also two that sweep at once can be in the way
            log.warning("sweeping is put off", error=str(exc))
        await asyncio.sleep(SWEEP_SECONDS)


async def _end_stalled(pool: Pool, settings: Settings, stop: asyncio.Event) -> None:
    """End what processors that stand still have begun: this one may wait for their locks."""
    pause = settings.postgres.idle_in_transaction_seconds / 2
    seen: Sessions = frozenset()
    while not stop.is_set():
        await asyncio.sleep(pause)
        try:
            async with pool.connection() as conn:
                stalled = await read_stalled(conn, APPLICATION)
                ended = await end_sessions(conn, stalled & seen) if stalled & seen else set()
        except (Unavailable, Contended) as exc:
            log.debug("stalled sessions can't be read now", error=str(exc))
            continue
        seen = stalled
        if ended:
            log.warning(
                "ended the transactions of a processor that stands still", pids=sorted(ended)
            )
