"""What all HTTP services of a process share: the pool, the configuration, the tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from headwater import clock, metrics
from headwater.auth import Authenticator
from headwater.configuration import ConfigCache
from headwater.errors import Contended, Unavailable
from headwater.http.gate import Gate, watch
from headwater.http.keys import AUTH, CONFIGS, GATE, POOL, SETTINGS, THROTTLE
from headwater.http.throttle import Throttle
from headwater.postgres.config import ensure_operator
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import Settings

log = structlog.get_logger()

RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedParts:
    settings: Settings
    pool: Pool
    configs: ConfigCache
    auth: Authenticator
    gate: Gate
    throttle: Throttle

    def state(self) -> Mapping[web.AppKey[Any], Any]:
        """These parts by the keys under which handlers find them."""
        return {
            SETTINGS: self.settings,
            POOL: self.pool,
            CONFIGS: self.configs,
            AUTH: self.auth,
            GATE: self.gate,
            THROTTLE: self.throttle,
        }


@asynccontextmanager
async def open_shared(settings: Settings) -> AsyncIterator[SharedParts]:
    """Open them, keep the configuration fresh, and close them again. Postgres may be away."""
    pool = await open_pool(
        settings.postgres,
        min_size=1,
        max_size=settings.postgres.web_connections,
        # of a processor no statement may fail for its length: it would be repeated for ever
        statement_seconds=settings.postgres.statement_seconds,
    )
    configs = ConfigCache(pool)
    stop = asyncio.Event()
    throttle = Throttle(pool)
    tickers = [asyncio.create_task(ticker.run(stop)) for ticker in (configs, throttle)]
    later: asyncio.Task[None] | None = None
    try:
        if settings.operator_token is not None and not await _set_operator(
            pool, settings.operator_token
        ):
            # the front door serves without Postgres; the token is set when it is back
            later = asyncio.create_task(_set_operator_later(pool, settings.operator_token))
        gate = Gate(places=settings.http.requests, size_bytes=settings.http.request_bytes)
        watch(gate)
        auth = Authenticator(pool, configs)
        metrics.CONNECTIONS_IN_USE.read_by(lambda: pool.in_use)
        metrics.CONNECTIONS_AWAITED.read_by(lambda: pool.waiting)
        metrics.KNOWN_TOKENS.read_by(lambda: auth.known)
        metrics.KNOWN_CONFIGURATIONS.read_by(lambda: configs.known)
        yield SharedParts(
            settings=settings,
            pool=pool,
            configs=configs,
            auth=auth,
            gate=gate,
            throttle=throttle,
        )
    finally:
        stop.set()
        if later is not None:
            later.cancel()
        for ticker in tickers:
            await ticker
        await pool.close()


async def _set_operator(pool: Pool, token: str) -> bool:
    try:
        async with pool.transaction() as conn:
            await ensure_operator(conn, token, clock.now())
    except (Unavailable, Contended) as exc:
        log.warning("the operator's token can't be set now", error=str(exc))
        return False
    return True


async def _set_operator_later(pool: Pool, token: str) -> None:
    while not await _set_operator(pool, token):  # noqa: ASYNC110  # nothing tells when Postgres is back
        await asyncio.sleep(RETRY_SECONDS)
