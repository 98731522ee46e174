"""Real servers for the tests: started once per run, in a folder of their own, on free ports."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from inspect import isawaitable
from pathlib import Path
from typing import TypeVar

import asyncpg

from headwater import clock
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.postgres.migrate import create_database, migrate

T = TypeVar("T")

TEMPLATE = "hub_template"


async def eventually(
    condition: Callable[[], T | Awaitable[T]], *, seconds: float = 20.0, what: str = ""
) -> T:
    """What `condition` gives once it is true; fails when it is not within the limit.

    A condition may be async. One that asserts is asked again until it holds; the last failure is shown.
    """
    limit = clock.monotonic() + seconds
    pause = 0.01
    while True:
        fault: AssertionError | None = None
        try:
            found = condition()
            if isawaitable(found):
                found = await asyncio.wait_for(found, max(0.1, limit - clock.monotonic()))
            if found:
                return found  # type: ignore[return-value]  # mypy doesn't narrow T | Awaitable[T]
        except AssertionError as exc:
            fault = exc
        if clock.monotonic() > limit:
            raise AssertionError(f"not within {seconds} s: {what or condition}") from fault
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.2)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that the servers' unprivileged user may pass through (pytest's own are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres whose database `headwater` is empty, and a migrated template."""
    ports = kept_ports(folder / "postgres-ports.json", ("postgres",))
    server = EmbeddedPostgres(folder / "postgres", ports["postgres"], fast_and_loose=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def running_kafka(folder: Path) -> Iterator[EmbeddedKafka]:
    """A Kafka without topics."""
    ports = kept_ports(folder / "kafka-ports.json", ("kafka", "controller"))
    server = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def make_template(server: EmbeddedPostgres) -> None:
    """A database with our schema, to be copied."""
    await create_database(server.url, TEMPLATE)
    await migrate(server.url_of(TEMPLATE))


async def copy_template(server: EmbeddedPostgres, name: str) -> str:
    """The URL of a new database with our schema."""
    await create_database(server.url, name, template=TEMPLATE)
    return server.url_of(name)


async def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop a database with whoever is still connected to it; a killed server has none to drop."""
    with suppress(OSError, asyncpg.PostgresError):
        connection = await asyncpg.connect(server.url, timeout=10)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close(timeout=10)
