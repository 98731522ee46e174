"""Bring a database to the present schema: numbered plain SQL files, each once, under one lock.

The smallest runner there can be (docs/adr/0003): the libraries for this bring a second driver.
"""

from __future__ import annotations

from importlib.resources import files

import asyncpg

from headwater.postgres import statements
from headwater.postgres.errors import translated

SQL = statements.load("migrate")


def migration_files() -> list[tuple[str, str]]:
    """Name and text of every migration, in order."""
    folder = files("headwater.postgres").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


async def migrate(database_url: str) -> list[str]:
    """Apply what is missing; returns the names applied. Two at once wait for each other.

    Raises:
        Unavailable: Postgres can't be reached.
    """
    applied: list[str] = []
    with translated():
        connection = await asyncpg.connect(database_url, timeout=10)
        try:
            await connection.execute(SQL["lock"])
            await connection.execute(SQL["create_table"])
            done = {row["name"] for row in await connection.fetch(SQL["read_applied"])}
            for name, text in migration_files():
                if name in done:
                    continue
                async with connection.transaction():
                    await connection.execute(text)
                    await connection.execute(SQL["remember"], name)
                applied.append(name)
        finally:
            await connection.close(timeout=10)
    return applied


async def create_database(server_url: str, name: str, template: str = "template1") -> None:
    """Make a database; `server_url` names another one of the same server."""
    with translated():
        connection = await asyncpg.connect(server_url, timeout=10)
        try:
            quoted = await connection.fetchval(SQL["quote"], name)
            await connection.execute(SQL["create_database"].format(name=quoted, template=template))
        finally:
            await connection.close(timeout=10)
