from __future__ import annotations

import pytest

from headwater.errors import Contended, Unavailable
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import PostgresSettings


async def test_nobody_there_is_unavailable_and_not_an_error_at_the_start() -> None:
    settings = PostgresSettings(database_url="postgresql://u@127.0.0.1:1/x", acquire_seconds=1)
    pool = await open_pool(settings)
    assert not await pool.is_up()
    await pool.close()


async def test_an_exception_rolls_the_transaction_back(pool: Pool) -> None:
    async with pool.connection() as conn:
        await conn.execute("CREATE TABLE t (n integer)")

    async def undone() -> None:
        async with pool.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await undone()
    async with pool.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM t") == 0


async def test_a_connection_that_is_cut_is_replaced(pool: Pool) -> None:
    """What is cut in a transaction is dropped; the next one is whole."""

    async def cut() -> None:
        async with pool.transaction() as conn:
            pid = await conn.fetchval("SELECT pg_backend_pid()")
            async with pool.connection() as other:
                await other.execute("SELECT pg_terminate_backend($1)", pid)
            await conn.execute("SELECT 1")

    for _ in range(6):  # more often than the pool has connections
        with pytest.raises(Unavailable):
            await cut()
    assert await pool.is_up()


async def test_a_pool_that_is_used_up_is_unavailable_in_time(database_url: str) -> None:
    settings = PostgresSettings(database_url=database_url, acquire_seconds=0.2)
    pool = await open_pool(settings, max_size=1)

    async def second() -> None:
        async with pool.connection(), pool.connection():
            raise AssertionError("there is only one")

    with pytest.raises(Unavailable):
        await second()
    await pool.close()


async def test_a_lost_race_is_contended(pool: Pool) -> None:
    async with pool.connection() as conn:
        await conn.execute("CREATE TABLE t (n integer)")

    async def race() -> None:
        async with pool.transaction() as conn, pool.transaction() as other:
            await conn.execute("LOCK TABLE t")
            await other.execute("LOCK TABLE t NOWAIT")

    with pytest.raises(Contended):
        await race()
