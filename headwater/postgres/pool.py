"""Connections to Postgres: a pool that opens lazily, so that a process starts while Postgres is away.

Every wait has a limit. Never take a second connection while holding one: two waiters would starve each
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TypeAlias

import asyncpg
import structlog

from headwater.errors import Unavailable
from headwater.postgres.errors import OUTAGE, translated
from headwater.roundrobin import RoundRobin
from headwater.settings import PostgresSettings

log = structlog.get_logger()

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
"""What functions over SQL take. Those that write get a connection, never the pool."""

Row: TypeAlias = asyncpg.Record


async def _leave_as_it_is(_: Connection) -> None:
    """Ours leave nothing in a session: no settings, locks, cursors or listeners.

    The statement that would clear them is a round trip for each use. A transaction that was left open is
    ended by asyncpg before.
    """


ON_BEHALF_OF: ContextVar[Hashable] = ContextVar("on_behalf_of", default=None)
"""Whose work is being done. Those who wait for a connection take turns: one that floods delays itself."""


class Slots:
    """So many at a time; of those who wait, each party in its turn."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self, party: Hashable) -> None:
        """Return when one is free; `give` it back."""
        if self.free:
            self.free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(party, future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it was given just now
                self.give()
            raise

    def give(self) -> None:
        while self._waiting:
            future = self._waiting.pop()
            if not future.done():
                future.set_result(None)
                return
        self.free += 1


class Pool:
    """A lazily opened pool; `connection()` waits a limited time and raises `Unavailable` after it."""

    def __init__(
        self,
        settings: PostgresSettings,
        *,
        min_size: int,
        max_size: int,
        statement_seconds: float | None,
        session: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._session = session
        self._statement_seconds = statement_seconds
        self._min_size = min_size
        self._max_size = max_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()
        self._slots = Slots(max_size)
        self._returning: set[asyncio.Task[None]] = set()
        """Connections on their way back, so that nobody forgets them."""

    @property
    def in_use(self) -> int:
        """Connections that are at work."""
        return self._max_size - self._slots.free

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return self._slots.waiting

    async def _opened(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._settings.database_url,
                    min_size=self._min_size,
                    max_size=self._max_size,
                    timeout=self._settings.acquire_seconds,
                    command_timeout=self._statement_seconds,
                    reset=_leave_as_it_is,
                    statement_cache_size=self._settings.statement_cache,
                    # a process that is paused in a transaction must not keep its locks: the one that
                    # took over its partitions waits for them
                    server_settings={
                        "idle_in_transaction_session_timeout": str(
                            int(self._settings.idle_in_transaction_seconds * 1000)
                        ),
                        **self._session,
                    },
                )
            return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a short while.

        Raises:
            Unavailable: Postgres can't be reached, or no connection came free in time.
            Contended: the transaction lost a race; repeat it.
        """
        with translated():
            async with asyncio.timeout(self._settings.acquire_seconds):
                pool = await self._opened()
                await self._slots.take(ON_BEHALF_OF.get())
                try:
                    connection = await pool.acquire()
                except BaseException:
                    self._slots.give()
                    raise
            try:
                yield connection
            except OUTAGE:
                # it may be half dead, in a transaction that nobody can end: drop it, don't reset it
                connection.terminate()
                raise
            finally:
                # nobody waits for it: it takes three turns of the event loop, of a busy process longer than
                # the statement
                task = asyncio.create_task(self._take_back(pool, connection))
                self._returning.add(task)
                task.add_done_callback(self._returning.discard)

    async def _take_back(
        self,
        pool: asyncpg.Pool[asyncpg.Record],
        connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record],
    ) -> None:
        try:
            await pool.release(connection, timeout=self._settings.acquire_seconds)
        except OUTAGE as exc:
            # it is gone, and the pool knows: who comes next is told, or gets another one
            log.debug("a connection was lost", error=str(exc))
        finally:
            self._slots.give()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a READ COMMITTED transaction; an exception rolls back."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def is_up(self) -> bool:
        """Whether Postgres answers now."""
        try:
            async with self.connection() as connection:
                await connection.execute("select")
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Close all connections; those that don't come back in time are cut."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._settings.acquire_seconds):
                await pool.close()
        except TimeoutError:
            pool.terminate()


BY_INDEX: Mapping[str, str] = MappingProxyType(
    {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
)
"""Settings for connections whose statements all have one sound plan, along indexes.

It is made once, and holds while the tables grow: one that was made when they were empty would read them whole.
"""

_AS_THE_SERVER_SAYS: Mapping[str, str] = MappingProxyType({})


async def open_pool(
    settings: PostgresSettings,
    *,
    min_size: int = 1,
    max_size: int = 8,
    statement_seconds: float | None = None,
    session: Mapping[str, str] = _AS_THE_SERVER_SAYS,
) -> Pool:
    """A pool that connects when it is first used.

    A statement that takes longer than `statement_seconds` is `Unavailable`: Postgres may have fallen silent.
    Without it a statement takes as long as it takes. `session` are settings of Postgres for its connections.
    """
    return Pool(
        settings,
        min_size=min_size,
        max_size=max_size,
        statement_seconds=statement_seconds,
        session=session,
    )
