from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from headwater.cli.provision import Demo
from headwater.domain.customer import StoredCustomer
from headwater.domain.ids import CustomerId, WorkspaceId
from headwater.postgres.customers import (
    find_by_external_ids,
    hold_customers,
    lock_customers,
    read_nodes_of_customers,
    read_versions,
    take_int_ids,
    write_customers,
    write_versions,
)
from headwater.postgres.pool import Connection, Pool


def _customer(demo: Demo, now: datetime, number: int, external_id: str = "x") -> StoredCustomer:
    return StoredCustomer(
        id=CustomerId(uuid.UUID(int=number)),
        node_id=demo.node_id,
        int_id=number,
        version=0,
        deleted=0,
        registered_at=now,
        updated_at=now,
        registered_by="a",
        updated_by="b",
        document={"externalId": external_id, "base": {"firstName": "Änn"}},
    )


async def test_customers_are_read_as_they_were_written(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    customer = _customer(demo, now, 1)
    changed = replace(
        customer,
        version=1,
        deleted=1,
        updated_at=now + timedelta(seconds=1),
        updated_by="c",
        document={"externalId": "y"},
    )
    unknown = CustomerId(uuid.uuid4())
    async with pool.transaction() as conn:
        for state in (customer, changed):
            await write_customers(conn, demo.workspace_id, [state])
            found = await lock_customers(conn, demo.workspace_id, [customer.id, unknown])
            assert found == {customer.id: state}
        await write_customers(conn, demo.workspace_id, [])
        assert await lock_customers(conn, WorkspaceId(uuid.uuid4()), [customer.id]) == {}
        nodes = await read_nodes_of_customers(conn, demo.workspace_id, [customer.id, unknown])
        assert nodes == {customer.id: demo.node_id}
        assert await hold_customers(conn, demo.workspace_id, [customer.id]) == {}  # it is deleted


Locking = Callable[[Connection, WorkspaceId, list[CustomerId]], Awaitable[Any]]


async def _lock_to_delete(
    conn: Connection, workspace_id: WorkspaceId, ids: list[CustomerId]
) -> Any:
    return await lock_customers(conn, workspace_id, (), ids)


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (hold_customers, hold_customers, False),
        (hold_customers, lock_customers, False),  # a merge and an event go together
        (lock_customers, lock_customers, True),
        (hold_customers, _lock_to_delete, True),
        (_lock_to_delete, hold_customers, True),
    ],
)
async def test_who_waits_for_whom(
    pool: Pool, demo: Demo, now: datetime, first: Locking, second: Locking, waits: bool
) -> None:
    customer = _customer(demo, now, 1)
    async with pool.transaction() as conn:
        await write_customers(conn, demo.workspace_id, [customer])
    async with pool.transaction() as conn:
        await first(conn, demo.workspace_id, [customer.id])

        async def other() -> None:
            async with pool.transaction() as beside:
                await second(beside, demo.workspace_id, [customer.id])

        task = asyncio.create_task(other())
        await asyncio.wait([task], timeout=0.3 if waits else 10)
        assert task.done() is not waits
    await task


async def test_find_by_external_ids_takes_the_most_recent_live_one(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    old, new, gone = (_customer(demo, now, number) for number in (1, 2, 3))
    later = now + timedelta(seconds=1)
    new, gone = replace(new, updated_at=later), replace(gone, updated_at=later, deleted=1)
    key = (demo.node_id, "x")
    async with pool.transaction() as conn:
        await write_customers(conn, demo.workspace_id, [old, new, gone])
        wanted = [key, (demo.node_id, "nobody's")]
        found = await find_by_external_ids(conn, demo.workspace_id, wanted)
        assert found == {key: (new.id, later)}
        found = await find_by_external_ids(conn, demo.workspace_id, wanted, excluding=[new.id])
        assert found == {key: (old.id, now)}


async def test_take_int_ids_goes_on(pool: Pool, demo: Demo) -> None:
    async with pool.connection() as conn:
        assert list(await take_int_ids(conn, demo.workspace_id, 3)) == [1, 2, 3]
        assert list(await take_int_ids(conn, demo.workspace_id, 1)) == [4]


async def test_versions_are_kept_as_text(pool: Pool, demo: Demo) -> None:
    entity = uuid.uuid4()
    async with pool.connection() as conn:
        await write_versions(conn, demo.workspace_id, [(entity, 0, '{"a": 1}'), (entity, 1, "{}")])
        await write_versions(conn, demo.workspace_id, [])
        wanted = [(entity, 0), (entity, 2)]
        assert await read_versions(conn, demo.workspace_id, wanted) == {(entity, 0): '{"a": 1}'}
        assert await read_versions(conn, demo.workspace_id, []) == {}
