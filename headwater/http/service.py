"""Running HTTP services as a process: settings, log, signals, parts, serve."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import structlog
from aiohttp import web

from headwater import metrics
from headwater.errors import NotServing, SettingInvalid
from headwater.http.app import build_app
from headwater.http.server import serve
from headwater.http.shared import SharedParts, open_shared
from headwater.log import set_up
from headwater.settings import Settings

State: TypeAlias = Mapping[web.AppKey[Any], Any]
OpenParts: TypeAlias = Callable[[Settings, SharedParts], AbstractAsyncContextManager[State]]


@asynccontextmanager
async def no_parts(_: Settings, __: SharedParts) -> AsyncIterator[State]:
    """For a service that needs nothing but the shared parts."""
    yield {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as it is mounted: its routes, and how what they need is opened."""

    name: str
    routes: Sequence[web.RouteDef]
    open_parts: OpenParts = no_parts
    needs_kafka: bool = False
    on_shutdown: Sequence[Callable[[web.Application], Any]] = field(default=())


async def run(services: Sequence[Service], settings: Settings, stop: asyncio.Event) -> None:
    """Serve all of them on one port until `stop`; close in reverse."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(metrics.served(settings.metrics))
        shared = await stack.enter_async_context(open_shared(settings))
        state: dict[web.AppKey[Any], Any] = dict(shared.state())
        for service in services:
            state.update(await stack.enter_async_context(service.open_parts(settings, shared)))
        app = build_app([route for service in services for route in service.routes], state=state)
        for service in services:
            app.on_shutdown.extend(service.on_shutdown)
        await serve(app, settings.http, stop)


def main(services: Sequence[Service], name: str) -> int:
    """The `__main__` of a service: until SIGTERM or SIGINT.

    Exit status 0 when stopped, 1 when it can't serve, 2 when a setting is wrong.
    """
    try:
        settings = Settings.from_env()
        settings.check_servers(needs_kafka=any(service.needs_kafka for service in services))
    except SettingInvalid as exc:
        print(f"headwater: {exc}", file=sys.stderr)  # noqa: T201  # there is no log yet
        return 2
    set_up(settings.log, service=name)

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(services, settings, stop)

    try:
        asyncio.run(until_signal())
    except NotServing as exc:
        structlog.get_logger().error("the port can't be had", error=str(exc))
        return 1
    return 0
