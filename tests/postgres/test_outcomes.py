from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from headwater.cli.provision import Demo
from headwater.domain.ids import OperationId, RejectionId, WorkspaceId
from headwater.errors import Contended
from headwater.postgres.outcomes import (
    Operation,
    Rejection,
    close_rejections,
    delete_expired_operations,
    delete_old_rejections,
    lock_config_version,
    lock_open_rejections,
    read_operations,
    write_operations,
    write_rejections,
)
from headwater.postgres.pool import Pool

HOUR = timedelta(hours=1)


def _operation(now: datetime, number: int = 1) -> Operation:
    return Operation(
        id=OperationId(uuid.UUID(int=number)),
        fingerprint="f",
        state="APPLIED",
        http_status=201,
        entity_type="CUSTOMER",
        entity_id=uuid.UUID(int=9),
        entity_version=0,
        outcome={"a": 1},
        expires_at=now + HOUR,
    )


def _rejection(now: datetime, number: int = 1) -> Rejection:
    return Rejection(
        id=RejectionId(uuid.UUID(int=number)),
        entity_type="EVENT",
        type="viewedPage",
        node_id=None,
        reason="not_found",
        status=404,
        message="first",
        errors=[],
        caller="c",
        received_at=now,
        envelope=b"{}",
        payload=b"\xff",
    )


async def test_operations_are_read_until_they_expire(pool: Pool, demo: Demo, now: datetime) -> None:
    operation = _operation(now)
    ids = [operation.id, OperationId(uuid.uuid4())]
    async with pool.connection() as conn:
        await write_operations(conn, demo.workspace_id, [operation], replayed=(), now=now)
        await write_operations(conn, demo.workspace_id, [], replayed=(), now=now)
        found = await read_operations(conn, demo.workspace_id, ids, now)
        assert found == {operation.id: replace(operation, expires_at=now)}
        assert await read_operations(conn, demo.workspace_id, ids, now + HOUR) == {}
        assert await read_operations(conn, demo.workspace_id, [], now) == {}
        await delete_expired_operations(conn, now + HOUR)
        assert await conn.fetchval("SELECT count(*) FROM operations") == 1
        await delete_expired_operations(conn, now + 2 * HOUR)
        assert await conn.fetchval("SELECT count(*) FROM operations") == 0


async def test_an_operation_is_decided_once_but_by_a_replay(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    operation = _operation(now)
    again = replace(operation, http_status=200)
    workspace = demo.workspace_id
    async with pool.connection() as conn:
        await write_operations(conn, workspace, [operation], replayed=(), now=now)
        with pytest.raises(Contended):
            await write_operations(conn, workspace, [again], replayed=(), now=now)
        await write_operations(conn, workspace, [again], replayed=[again.id], now=now)
        found = await read_operations(conn, workspace, [again.id], now)
        assert found[again.id].http_status == 200
        expired = operation.expires_at
        await write_operations(conn, workspace, [operation], replayed=(), now=expired)


async def test_a_rejection_is_open_until_it_is_closed(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    one, other = _rejection(now), _rejection(now, 2)
    workspace = demo.workspace_id
    async with pool.transaction() as conn:
        await write_rejections(conn, workspace, [one, other], now)
        await write_rejections(conn, workspace, [], now)
        await write_rejections(conn, workspace, [replace(one, message="second")], now)
        await close_rejections(conn, workspace, [other.id])
        await close_rejections(conn, workspace, [])
        assert await lock_open_rejections(conn, workspace, [one.id, other.id]) == {one.id}
        assert await lock_open_rejections(conn, workspace, []) == set()
        assert await lock_open_rejections(conn, WorkspaceId(uuid.uuid4()), [one.id]) == set()
        # what is closed keeps its reasons
        await write_rejections(conn, workspace, [replace(other, message="second")], now)
        rows = await conn.fetch("SELECT id, state, message, payload FROM rejections ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (one.id, "OPEN", "second", b"\xff"),
        (other.id, "REPLAYED", "first", b"\xff"),
    ]


async def test_old_rejections_are_forgotten(pool: Pool, demo: Demo, now: datetime) -> None:
    old, new = _rejection(now), replace(_rejection(now, 2), received_at=now + HOUR)
    async with pool.connection() as conn:
        await write_rejections(conn, demo.workspace_id, [old, new], now)
        await delete_old_rejections(conn, now + HOUR)
        assert await conn.fetchval("SELECT array_agg(id) FROM rejections") == [new.id]


async def test_the_configuration_stands_still_while_its_version_is_locked(
    pool: Pool, demo: Demo
) -> None:
    async with pool.transaction() as conn:
        version = await lock_config_version(conn, demo.workspace_id)
        assert version is not None
        assert await lock_config_version(conn, WorkspaceId(uuid.uuid4())) is None

        async def change() -> None:
            async with pool.connection() as other:
                await other.execute("UPDATE workspaces SET config_version = config_version + 1")

        task = asyncio.create_task(change())
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
    await task
    async with pool.connection() as conn:
        assert await lock_config_version(conn, demo.workspace_id) == version + 1
