"""Serving an application until it is asked to stop, then without cutting anybody off."""

from __future__ import annotations

import asyncio
import gc

import structlog
from aiohttp import http_parser, web

from headwater.http.keys import DRAINING
from headwater.settings import HttpSettings

log = structlog.get_logger()


async def serve(app: web.Application, settings: HttpSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`; then be unready, stop accepting, finish what runs (within a limit), and return.

    Several processes may serve one port: the kernel spreads the connections.
    """
    if _is_pure_python():
        log.warning("aiohttp runs without its C extensions, several times slower")
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=settings.drain_seconds,
        handle_signals=False,
        # bodies are unpacked by `body.py`: here a gzip bomb would unfold before anybody looks
        auto_decompress=False,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=True, backlog=1024)
        await site.start()
        # what is here now stays: looking at it again and again is 13 % of a bulk request
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        log.info("serving", host=settings.host, port=settings.port)
        await stop.wait()
        app[DRAINING].set()
        # so long a load balancer may need to see it, and still finds an open door
        await asyncio.sleep(settings.unready_seconds)
    finally:
        await runner.cleanup()
        log.info("stopped serving")


def _is_pure_python() -> bool:
    return http_parser.HttpRequestParser is http_parser.HttpRequestParserPy
