"""Apply a batch for as long as it takes, and set aside the one record that can't be applied.

An outage is waited out, a lost race is repeated, a bug is traced to its record by halving the batch.
None of them blocks the partition. Source: design.md, invariant 2.
"""

from __future__ import annotations

import asyncio

import structlog

from headwater import metrics
from headwater.clock import monotonic, sleep_until
from headwater.domain import refusal as refusals
from headwater.errors import ConfigMoved, Contended, StaleConsumer, Unavailable
from headwater.log import describe
from headwater.settings import ProcessorSettings
from processor.batch import Ahead, Answer, Parts, apply_batch
from processor.record import Batch

log = structlog.get_logger()

CONTENDED_TRIES = 20
"""A batch that loses this often in a row is not unlucky: something is wrong with it."""


async def apply_whatever_comes(
    batch: Batch,
    parts: Parts,
    settings: ProcessorSettings,
    stop: asyncio.Event,
    *,
    ahead: Ahead | None = None,
) -> list[Answer]:
    """Apply `batch`; returns the answers of all its records.

    Raises:
        StaleConsumer: the partitions belong to somebody else now.
        Unavailable: only when `stop` was set meanwhile.
        Exception: what fails even for a single record that is only to be rejected; the process ends.
    """
    try:
        return await _apply_patiently(batch, parts, settings, stop, ahead=ahead)
    except (StaleConsumer, Unavailable):
        raise
    except Exception as exc:
        if len(batch.records) > 1:
            log.warning("batch failed, halving it", records=len(batch.records), error=describe(exc))
            metrics.RETRIES.inc("halved")
            first, second = batch.split((len(batch.records) + 1) // 2)
            answers = await apply_whatever_comes(first, parts, settings, stop)
            return answers + await apply_whatever_comes(second, parts, settings, stop)
        record = batch.records[0]
        log.exception(
            "record can't be applied, rejecting it",
            topic=record.topic,
            partition=record.partition,
            kafka_offset=record.kafka_offset,
        )
        reason = refusals.internal_error()
        return await _apply_patiently(batch, parts, settings, stop, give_up=reason)


async def _apply_patiently(
    batch: Batch,
    parts: Parts,
    settings: ProcessorSettings,
    stop: asyncio.Event,
    *,
    ahead: Ahead | None = None,
    give_up: refusals.Refusal | None = None,
) -> list[Answer]:
    pause = settings.retry_seconds
    contended = 0
    away_since: float | None = None
    while True:
        try:
            answers = await apply_batch(batch, parts, ahead=ahead, give_up=give_up)
        except ConfigMoved as exc:
            log.info("configuration moved, repeating the batch", detail=str(exc))
            metrics.RETRIES.inc("configuration_moved")
        except Contended as exc:
            contended += 1
            metrics.RETRIES.inc("contended")
            if contended > CONTENDED_TRIES:
                raise
            log.info("batch lost a race, repeating it", detail=str(exc))
        except Unavailable as exc:
            if away_since is None:
                away_since = monotonic()
                log.warning("postgres is away, waiting for it", error=str(exc))
            if stop.is_set():
                raise
            metrics.RETRIES.inc("unavailable")
            metrics.OUTAGE_SECONDS.inc(by=pause)
            await sleep_until(stop, pause)
            pause = min(pause * 2, settings.retry_max_seconds)
        else:
            if away_since is not None:
                log.info("postgres is back", seconds=round(monotonic() - away_since, 1))
            return answers
