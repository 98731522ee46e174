from __future__ import annotations

import asyncio
import uuid
from datetime import datetime

import pytest

from headwater.cli.provision import Demo
from headwater.domain.ids import CustomerId, EventId, WorkspaceId
from headwater.errors import Contended
from headwater.postgres.events import (
    Attached,
    NewEvent,
    attach_events,
    delete_events_of_customers,
    insert_events,
    lock_anonymous_events,
)
from headwater.postgres.pool import Pool


def _event(
    demo: Demo, now: datetime, number: int, value: str = "s1", owner: CustomerId | None = None
) -> NewEvent:
    event_id = EventId(uuid.UUID(int=number))
    kind = "SESSION_ID"
    return NewEvent(
        event_id,
        demo.node_id,
        owner,
        "viewedPage",
        "WEB",
        now,
        now,
        kind,
        value,
        f'{{"n":{number}}}',
    )


async def test_insert_events_tells_what_was_new(pool: Pool, demo: Demo, now: datetime) -> None:
    one, other = _event(demo, now, 1), _event(demo, now, 2)
    again = one._replace(document="{}")
    async with pool.connection() as conn:
        assert await insert_events(conn, demo.workspace_id, [one]) == {one.id}
        assert await insert_events(conn, demo.workspace_id, [again, other, other]) == {other.id}
        assert await insert_events(conn, demo.workspace_id, []) == set()
        columns = ", ".join(NewEvent._fields)
        rows = await conn.fetch(f"SELECT {columns} FROM events ORDER BY id")
    assert [tuple(row) for row in rows] == [one, other]


async def test_insert_events_is_overtaken(pool: Pool, demo: Demo, now: datetime) -> None:
    event = _event(demo, now, 1)
    async with pool.transaction() as conn:
        await insert_events(conn, demo.workspace_id, [event])

        async def overtaken() -> None:
            async with pool.transaction() as second:
                await insert_events(second, demo.workspace_id, [event])

        task = asyncio.create_task(overtaken())
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
    with pytest.raises(Contended):
        await task


async def test_lock_anonymous_events_finds_who_waits(pool: Pool, demo: Demo, now: datetime) -> None:
    owner = CustomerId(uuid.uuid4())
    events = [
        _event(demo, now, 1),
        _event(demo, now, 2, "s2"),
        _event(demo, now, 3, "s3"),
        _event(demo, now, 4, "s1", owner),
    ]
    wanted = [(demo.node_id, "SESSION_ID", "s1"), (demo.node_id, "SESSION_ID", "s2")]
    async with pool.transaction() as conn:
        await insert_events(conn, demo.workspace_id, events)
        found = await lock_anonymous_events(conn, demo.workspace_id, wanted)
        stranger = await lock_anonymous_events(conn, WorkspaceId(uuid.uuid4()), wanted)
        nobody = await lock_anonymous_events(conn, demo.workspace_id, [])
    assert [(event.id, event.version, event.document) for event in found] == [
        (events[0].id, 0, '{"n":1}'),
        (events[1].id, 0, '{"n":2}'),
    ]
    assert stranger == nobody == []


async def test_attached_events_belong_to_their_customer_and_go_with_it(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    owner = CustomerId(uuid.uuid4())
    event, other = _event(demo, now, 1), _event(demo, now, 2)
    async with pool.transaction() as conn:
        await insert_events(conn, demo.workspace_id, [event, other])
        attached = Attached(
            id=event.id, customer_id=owner, version=1, updated_at=now, document="{}"
        )
        await attach_events(conn, demo.workspace_id, [attached])
        await attach_events(conn, demo.workspace_id, [])
        rows = await conn.fetch(
            "SELECT customer_id, version, updated_at, document FROM events ORDER BY id"
        )
        assert [tuple(row) for row in rows] == [(owner, 1, now, "{}"), (None, 0, None, '{"n":2}')]
        gone = [(event.id, demo.node_id, 1)]
        assert await delete_events_of_customers(conn, demo.workspace_id, [owner]) == gone
        assert await delete_events_of_customers(conn, demo.workspace_id, [owner]) == []
        assert await delete_events_of_customers(conn, demo.workspace_id, []) == []
