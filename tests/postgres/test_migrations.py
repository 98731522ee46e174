"""The migrations and the whole schema give the same database."""

from __future__ import annotations

from importlib.resources import files

from headwater.embedded.postgres import EmbeddedPostgres
from headwater.postgres.migrate import create_database, migrate
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import PostgresSettings

_COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'migrations'
ORDER BY 1, 2
"""
_INDEXES = """
SELECT tablename, indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'migrations' ORDER BY 1, 2
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'migrations' ORDER BY 1, 2
"""


async def _shape(pool: Pool) -> list[list[tuple[object, ...]]]:
    async with pool.connection() as conn:
        return [
            [tuple(row) for row in await conn.fetch(query)]
            for query in (_COLUMNS, _INDEXES, _CONSTRAINTS)
        ]


async def test_migrations_give_the_schema(pool: Pool, postgres_server: EmbeddedPostgres) -> None:
    await create_database(postgres_server.url_of("postgres"), "from_schema")
    url = postgres_server.url_of("from_schema")
    other = await open_pool(PostgresSettings(database_url=url))
    try:
        schema = files("headwater.postgres").joinpath("schema.sql").read_text(encoding="utf-8")
        async with other.connection() as conn:
            await conn.execute(schema)
        assert await _shape(pool) == await _shape(other)
    finally:
        await other.close()


async def test_migrating_twice_does_nothing(database_url: str) -> None:
    assert await migrate(database_url) == []
