"""Serving an application until it is asked to stop, then without cutting anybody off."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import structlog
from aiohttp import http_parser, web

from headwater.errors import NotServing
from headwater.http.app import answer_to_expectation, envelope
from headwater.http.connection import LimitedServer
from headwater.http.head import Doorkeeper
from headwater.http.keys import AUTH, DRAINING, GATE
from headwater.http.routing import RouteIndex
from headwater.memory import keep_freed_memory
from headwater.settings import HttpSettings

log = structlog.get_logger()


async def serve(app: web.Application, settings: HttpSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`; then be unready, stop accepting, finish what runs (within a limit), and return.

    Several processes may serve one port: the kernel spreads the connections.

    Raises:
        NotServing: the port can't be had.
    """
    if _is_pure_python():
        log.warning("aiohttp runs without its C extensions, several times slower")
    runner = _Runner(
        app,
        settings,
        access_log=None,
        shutdown_timeout=settings.drain_seconds,
        handle_signals=False,
        # bodies are unpacked by `body.py`: here a gzip bomb would unfold before anybody looks
        auto_decompress=False,
        keepalive_timeout=settings.idle_seconds,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=True, backlog=1024)
        try:
            await site.start()
        except OSError as exc:
            raise NotServing(
                f"{settings.host}:{settings.port} can't be had: {exc.strerror or type(exc).__name__}"
            ) from exc
        # what is here now stays: looking at it again and again is 13 % of a bulk request
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        keep_freed_memory()
        log.info("serving", host=settings.host, port=settings.port)
        await stop.wait()
        app[DRAINING].set()
        # so long a load balancer may need to see it, and still finds an open door
        await asyncio.sleep(settings.unready_seconds)
    finally:
        await runner.cleanup()
        log.info("stopped serving")


class _Runner(web.AppRunner):
    """Runs an application behind connections that have limits."""

    __slots__ = ("_settings",)

    def __init__(self, app: web.Application, settings: HttpSettings, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._settings = settings

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        inner = made.request_handler
        routes = RouteIndex(self._app)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            found = routes.find(request)
            if found is not None:
                assert isinstance(request, web.Request)
                request._match_info = found  # noqa: SLF001  # aiohttp has no public way to dispatch
                return await envelope(request, found.handler)
            try:
                return await inner(request)
            except web.HTTPExpectationFailed:  # raised before any middleware
                assert isinstance(request, web.Request)
                return answer_to_expectation(request)

        made.request_handler = handle
        doorkeeper = Doorkeeper(self._app[GATE], self._app[AUTH])
        return LimitedServer(made, self._settings, doorkeeper, **self._kwargs)


def _is_pure_python() -> bool:
    return http_parser.HttpRequestParser is http_parser.HttpRequestParserPy
