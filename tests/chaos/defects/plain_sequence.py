"""Feed offsets come from a sequence: they commit out of order, and a rollback leaves a hole."""

from __future__ import annotations

import os
from typing import Any

import asyncpg

import processor.batch
from headwater.postgres.updates import Update


def plant() -> None:
    known: set[str] = set()

    async def append_updates(conn: Any, workspace_id: Any, updates: Any) -> None:
        if not updates:
            return
        name = f"chaos_feed_{workspace_id.hex}"
        if name not in known:
            await _make(name)
            known.add(name)
        rows = await conn.fetch(
            "select nextval($1::text::regclass) as n from generate_series(1, $2)",
            name,
            len(updates),
        )
        offsets = [row["n"] for row in rows]
        await conn.copy_records_to_table(
            "updates",
            columns=("workspace_id", "feed_offset", *Update._fields),
            records=[
                (workspace_id, offset, *update)
                for offset, update in zip(offsets, updates, strict=True)
            ],
        )
        await conn.execute(
            "update feeds set last_offset = greatest(last_offset, $2) where workspace_id = $1",
            workspace_id,
            offsets[-1],
        )

    processor.batch.append_updates = append_updates  # type: ignore[attr-defined]


async def _make(name: str) -> None:
    connection = await asyncpg.connect(os.environ["HEADWATER_DATABASE_URL"])
    try:
        await connection.execute(f"create sequence if not exists {name}")
    except asyncpg.UniqueViolationError:
        return  # the other processor made it at the same moment
    finally:
        await connection.close()
