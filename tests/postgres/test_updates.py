from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest

from headwater.cli.provision import Demo
from headwater.domain.ids import WorkspaceId
from headwater.postgres.pool import Pool
from headwater.postgres.updates import Update, append_updates


def _update(demo: Demo, changed_at: datetime) -> Update:
    return Update("CREATE", "EVENT", uuid.uuid4(), demo.node_id, 0, changed_at)


async def test_append_updates_is_dense_and_never_goes_back_in_time(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    later, much_later = now + timedelta(seconds=1), now + timedelta(seconds=9)
    first = [_update(demo, later), _update(demo, now)]
    second = [_update(demo, now), _update(demo, much_later)]
    async with pool.transaction() as conn:
        await append_updates(conn, demo.workspace_id, first)
        await append_updates(conn, demo.workspace_id, [])
        await append_updates(conn, demo.workspace_id, second)
        rows = await conn.fetch("SELECT * FROM updates ORDER BY feed_offset")
        feed = await conn.fetchrow("SELECT last_offset, last_changed_at FROM feeds")
    times = [later, later, later, much_later]
    wanted = [
        (demo.workspace_id, place, *update[:-1], changed_at)
        for place, (update, changed_at) in enumerate(zip(first + second, times, strict=True), 1)
    ]
    assert [tuple(row) for row in rows] == wanted
    assert feed is not None
    assert tuple(feed) == (4, much_later)


async def test_a_rollback_leaves_no_hole(pool: Pool, demo: Demo, now: datetime) -> None:
    async def undone() -> None:
        async with pool.transaction() as conn:
            await append_updates(conn, demo.workspace_id, [_update(demo, now)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await undone()
    async with pool.transaction() as conn:
        await append_updates(conn, demo.workspace_id, [_update(demo, now)])
        assert await conn.fetchval("SELECT max(feed_offset) FROM updates") == 1


async def test_a_workspace_without_a_feed_is_told(pool: Pool, demo: Demo, now: datetime) -> None:
    async with pool.connection() as conn:
        with pytest.raises(LookupError):
            await append_updates(conn, WorkspaceId(uuid.uuid4()), [_update(demo, now)])
