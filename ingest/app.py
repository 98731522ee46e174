"""Builds the parts of the front door by hand, and closes them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import web

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


@asynccontextmanager
async def open_parts(
    settings: Settings, _: SharedParts
) -> AsyncIterator[Mapping[web.AppKey[Any], Any]]:
    """The front door's state by key. Waits for Kafka: without it there is nothing to do."""
    acceptor = Acceptor(settings.kafka, settings.ingest)
    results = Results(settings.kafka, settings.ingest.instance)
    stop = asyncio.Event()
    while True:
        try:
            await ensure_topics(settings.kafka)
            await acceptor.start()
            await results.start()
        except Unavailable as exc:
            log.warning("kafka is away, waiting for it", error=str(exc))
            await asyncio.sleep(1)
        else:
            break
    reader = asyncio.create_task(results.run(stop))
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
        await reader
        await results.close()
