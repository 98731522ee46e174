"""Builds the parts of the front door by hand, and closes them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiohttp import web

from headwater.clock import sleep_until
from headwater.errors import Unavailable
from headwater.http.shared import SharedParts
from headwater.kafka import ensure_topics
from headwater.settings import Settings
from headwater.validation import Validator, load_schemas
from ingest.accept import Acceptor
from ingest.keys import Claims
from ingest.results import Results
from ingest.write import DOOR, Door

log = structlog.get_logger()


RETRY_SECONDS = 1.0


@asynccontextmanager
async def open_parts(
    settings: Settings, _: SharedParts
) -> AsyncIterator[Mapping[web.AppKey[Any], Any]]:
    """The front door's state by key.

    It doesn't wait for Kafka: until that is there the process is alive, not ready, and refuses writes.
    """
    acceptor = Acceptor(settings.kafka, settings.ingest)
    results = Results(settings.kafka, settings.ingest)
    stop = asyncio.Event()
    reader = asyncio.create_task(_connect_and_read(settings, acceptor, results, stop))
    try:
        yield {
            DOOR: Door(
                acceptor=acceptor,
                results=results,
                claims=Claims(),
                validator=Validator(load_schemas()),
                settings=settings.ingest,
            )
        }
    finally:
        await acceptor.close()
        stop.set()
        if not acceptor.has_started:  # it may wait for a broker that does not answer
            reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
        await results.close()


async def _connect_and_read(
    settings: Settings, acceptor: Acceptor, results: Results, stop: asyncio.Event
) -> None:
    """Connect once Kafka is there, then hand out results until `stop`."""
    while not stop.is_set():
        try:
            await ensure_topics(settings.kafka)
            await results.start()
            await acceptor.start()  # the last, as it opens the door
        except Unavailable as exc:
            log.warning("kafka is away, waiting for it", error=str(exc))
            await results.close()
            await sleep_until(stop, RETRY_SECONDS)
        else:
            await results.run(stop)
