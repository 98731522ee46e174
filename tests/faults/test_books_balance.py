"""Processes and servers die in the middle of the work; afterwards the books balance (`books.py`)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from processor.app import APPLICATION
from tests.faults.books import Books
from tests.hub import Client, Hub, eventually, freeze, wait_for

AWAY_SECONDS = 20.0
"""How long Postgres is stopped: longer than a customer write waits for its answer."""

# asyncpg leaves a future behind when the connection of a COPY is cut
FROM_ASYNCPG = "ConnectionDoesNotExistError"


async def _more(books: Books, count: int) -> None:
    """Return once this many more events are accepted."""
    wanted = books.accepted + count

    async def reached() -> bool:
        return books.accepted >= wanted

    await eventually(reached, 60, f"{count} more events to be accepted")


async def test_the_processor_is_killed_again_and_again(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        for _ in range(4):
            await _more(books, 200)
            await asyncio.to_thread(hub.kill_processor)
            hub.start_processor()
    await books.balance()


async def test_the_front_door_is_killed_again_and_again(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        for _ in range(2):
            await _more(books, 200)
            await asyncio.to_thread(hub.kill_web)
            await asyncio.to_thread(hub.start_web)
    await books.balance()


@pytest.mark.provokes(FROM_ASYNCPG)
async def test_postgres_is_killed_again_and_again(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        for _ in range(3):
            await _more(books, 200)
            await asyncio.to_thread(hub.postgres.kill)
            await asyncio.to_thread(hub.postgres.start)
    await books.balance()


@pytest.mark.provokes(FROM_ASYNCPG)
async def test_backends_of_postgres_are_killed_under_load(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        for _ in range(5):
            await _more(books, 100)
            await asyncio.to_thread(hub.terminate_backends)
    await books.balance()


@pytest.mark.provokes(FROM_ASYNCPG)
async def test_events_are_accepted_while_postgres_is_stopped(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        await _more(books, 200)
        await asyncio.to_thread(hub.postgres.stop)
        try:
            async with asyncio.timeout(AWAY_SECONDS + 10):
                away = asyncio.create_task(asyncio.sleep(AWAY_SECONDS))
                await _more(books, 300)
                read = await client.call("GET", "/updates")
                ready = await client.http.get("/health/ready")
                healthy = await client.http.get("/health")
                await away
        finally:
            await asyncio.to_thread(hub.postgres.start)
        await _more(books, 100)
    assert (read.status, read.body["message"]) == (503, "try again later")
    assert (ready.status, healthy.status) == (200, 503)
    await books.balance()


async def test_kafka_is_killed(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        await _more(books, 200)
        await asyncio.to_thread(hub.kafka.kill)
        event, headers = client.event(), {"Idempotency-Key": "while kafka is away"}
        refused = await client.call("POST", "/events", event, headers=headers)
        await asyncio.to_thread(hub.kafka.launch)
        await _more(books, 200)
    assert (refused.status, refused.body["message"]) == (503, "try again later")
    assert refused.headers["Retry-After"]
    taken = await books.accepted_events("/events", event, headers["Idempotency-Key"])
    books.session_of[taken["id"]] = "s1"
    await books.balance()


async def test_two_processors_share_the_work(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        for _ in range(2):  # each start and each stop moves partitions
            hub.start_processor(1)
            await _assigned(hub, 1)
            await _more(books, 300)
            await asyncio.to_thread(hub.stop_processor, 1)
            await _more(books, 100)
    await books.balance()


@pytest.mark.provokes(FROM_ASYNCPG)
async def test_a_paused_processor_wakes_after_its_partitions_moved(
    hub: Hub, client: Client
) -> None:
    books = Books(client)
    zombie = hub.processors[0]
    async with books.under_load():
        await _more(books, 200)
        freeze(zombie)
        try:
            hub.start_processor(1)
            await _assigned(hub, 1, 8)  # the second took over everything
            await _more(books, 200)
        finally:
            os.killpg(zombie.pid, signal.SIGCONT)
        await _more(books, 200)
    await books.balance()
    wait_for(lambda: zombie.poll() is None, 1, "the first to live on")
    await asyncio.to_thread(hub.stop_processor, 1)
    async with books.under_load("again"):
        await _more(books, 200)
    await books.balance()


async def test_a_processor_that_stands_still_in_the_middle_of_a_copy_holds_nobody_up(
    hub: Hub, client: Client
) -> None:
    """It holds locks that the living need, and Postgres takes it for one at work."""
    books = Books(client)
    stalled = await asyncpg.connect(
        hub.postgres.url, server_settings={"application_name": APPLICATION}
    )
    waiting = asyncio.Event()

    async def data() -> AsyncIterator[bytes]:
        waiting.set()
        await asyncio.Event().wait()
        yield b""

    async def copy() -> None:
        async with stalled.transaction():
            await stalled.execute("UPDATE consumer_offsets SET next_offset = next_offset")
            await stalled.copy_to_table("updates", source=data())

    async with books.under_load():
        await _more(books, 200)
        copying = asyncio.create_task(copy())
        await waiting.wait()
        await _more(books, 200)
    await books.balance()
    assert stalled.is_closed()
    copying.cancel()
    await asyncio.wait([copying])


async def _assigned(hub: Hub, number: int, partitions: int = 1) -> None:
    """Return once the last assignment of a processor is of this many partitions or more."""

    async def taken() -> bool:
        lines: list[Any] = [
            line
            for line in hub.log_of(f"processor-{number}")
            if line.get("event") in {"partitions assigned", "processor started"}
        ]
        return bool(lines) and bool(lines[-1].get("partitions", 0) >= partitions)

    await eventually(taken, 60, f"{partitions} partitions to be assigned")


async def test_processes_end_in_order_while_kafka_is_away(hub: Hub, client: Client) -> None:
    books = Books(client)
    async with books.under_load():
        await _more(books, 100)
    processor, web = hub.processors[0], hub.web
    assert web is not None
    await asyncio.to_thread(hub.kafka.kill)
    refused = await client.call("POST", "/events", client.event())
    assert refused.status == 503  # by now both have noticed
    try:
        await asyncio.to_thread(hub.stop_processor)
        await asyncio.to_thread(hub.stop_web)
    finally:
        await asyncio.to_thread(hub.kafka.start)
        hub.start_processor()
        await asyncio.to_thread(hub.start_web)
    assert (processor.returncode, web.returncode) == (0, 0)
    await books.balance()
