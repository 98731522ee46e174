from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from headwater.errors import Contended, Unavailable
from headwater.postgres.pool import ON_BEHALF_OF, Pool, Slots, open_pool
from headwater.settings import PostgresSettings
from tests.hub import eventually
from tests.servers import running_postgres, temporary_folder


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


async def test_giving_a_connection_back_costs_no_statement(database_url: str) -> None:
    pool = await open_pool(PostgresSettings(database_url=database_url), max_size=2)
    async with pool.connection() as watching:
        async with pool.connection() as conn:
            pid = await conn.fetchval("SELECT pg_backend_pid() AS the_last")
        last = await watching.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
    await pool.close()
    assert last == "SELECT pg_backend_pid() AS the_last"


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


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE feeds RENAME TO fields",
        "ALTER TABLE feeds RENAME COLUMN last_offset TO latest_offset",
        "CREATE ROLE stranger; SET SESSION AUTHORIZATION stranger",
    ],
)
async def test_tables_that_are_not_ours_are_unavailable(pool: Pool, change: str) -> None:
    """As in a deploy that migrates too late: no write is to blame, so none may be refused for it."""

    async def read() -> None:
        async with pool.transaction() as conn:
            await conn.execute(change)
            await conn.fetch("SELECT last_offset FROM feeds")

    with pytest.raises(Unavailable, match="migrate"):
        await read()


async def test_a_failing_disk_is_unavailable(pool: Pool) -> None:
    raising = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'io_error', MESSAGE = 'no'; END $$"
    with pytest.raises(Unavailable):
        async with pool.transaction() as conn:
            await conn.execute(raising)


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_server_that_falls_silent_is_unavailable_in_time(in_transaction: bool) -> None:
    """Its connections stay open, and nothing comes."""
    with temporary_folder() as folder, running_postgres(folder) as server:
        settings = PostgresSettings(database_url=server.url, acquire_seconds=1)
        pool = await open_pool(settings, max_size=1, statement_seconds=0.5)
        taken = pool.transaction if in_transaction else pool.connection

        async def ask() -> int:
            async with taken() as conn:
                answer: int = await conn.fetchval("SELECT 1")
                return answer

        assert await ask() == 1
        processes = _family(folder)
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                for _ in range(2):
                    with pytest.raises(Unavailable):
                        await ask()
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
        assert await ask() == 1
        await pool.close()


def _family(folder: Path) -> list[int]:
    """The postmaster and its children."""
    postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


async def test_those_who_wait_for_a_connection_take_turns(database_url: str) -> None:
    pool = await open_pool(PostgresSettings(database_url=database_url), max_size=1)
    order: list[str] = []

    async def ask(party: str) -> None:
        ON_BEHALF_OF.set(party)
        async with pool.connection() as conn:
            await conn.execute("SELECT 1")
            order.append(party)

    async with asyncio.TaskGroup() as group, pool.connection():
        for party in ("a", "a", "a", "a", "b", "c"):
            group.create_task(ask(party))
        while pool.waiting < 6:  # noqa: ASYNC110  # until all of them wait
            await asyncio.sleep(0)
        assert pool.in_use == 1
    assert order == ["a", "b", "c", "a", "a", "a"]

    async def all_are_back() -> bool:
        return (pool.in_use, pool.waiting) == (0, 0)

    await eventually(all_are_back)
    await pool.close()


async def test_who_gives_up_waiting_takes_no_connection_with_it() -> None:
    slots = Slots(1)
    await slots.take("a")
    gone, granted, last = (asyncio.ensure_future(slots.take("b")) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    slots.give()  # to the second one, which gives up before it runs
    granted.cancel()
    async with asyncio.timeout(5):
        await last
    slots.give()
    assert (slots.free, slots.waiting) == (1, 0)
