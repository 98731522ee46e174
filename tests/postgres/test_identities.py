from __future__ import annotations

import asyncio
import uuid
from datetime import datetime

from headwater.cli.provision import Demo
from headwater.domain.ids import CustomerId
from headwater.postgres.identities import (
    EXTERNAL,
    MATCH,
    SESSION,
    Identity,
    IdentityKey,
    claim_identities,
    delete_external_identities,
    delete_identities,
    delete_identities_of_customers,
    read_identities,
    set_identities,
)
from headwater.postgres.pool import Connection, Pool

OWNER = CustomerId(uuid.UUID(int=7))


async def _rows(conn: Connection) -> dict[tuple[str, str], tuple[CustomerId | None, bool]]:
    rows = await conn.fetch("SELECT kind, value, customer_id, awaited FROM identities")
    return {(row["kind"], row["value"]): (row["customer_id"], row["awaited"]) for row in rows}


async def test_a_claim_remembers_that_somebody_waits(pool: Pool, demo: Demo, now: datetime) -> None:
    key: IdentityKey = (demo.node_id, SESSION, "s1")
    async with pool.transaction() as conn:
        for awaited, remembered in ((False, False), (True, True), (False, True)):
            found = await claim_identities(conn, demo.workspace_id, {key: awaited}, now)
            assert found == {key: Identity(awaited=remembered)}
        assert await claim_identities(conn, demo.workspace_id, {}, now) == {}


async def test_the_second_claim_waits_for_the_first_and_sees_its_work(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    key: IdentityKey = (demo.node_id, MATCH, "m1")
    async with pool.transaction() as conn:
        await claim_identities(conn, demo.workspace_id, {key: False}, now)

        async def second() -> dict[IdentityKey, Identity]:
            async with pool.transaction() as other:
                return await claim_identities(other, demo.workspace_id, {key: False}, now)

        task = asyncio.create_task(second())
        await asyncio.wait([task], timeout=0.2)
        assert not task.done()
        owned = {key: Identity(customer_id=OWNER)}
        await set_identities(conn, demo.workspace_id, owned, now)
    assert await task == owned


async def test_set_identities_names_and_ends_the_waiting(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    key: IdentityKey = (demo.node_id, SESSION, "s1")
    other: IdentityKey = (demo.node_id, SESSION, "s2")
    named = Identity(customer_id=OWNER, id=uuid.UUID(int=9))
    async with pool.transaction() as conn:
        await claim_identities(conn, demo.workspace_id, {key: True}, now)
        await set_identities(conn, demo.workspace_id, {key: named, other: named}, now)
        await set_identities(conn, demo.workspace_id, {}, now)
        found = await read_identities(conn, demo.workspace_id, [key, other])
        assert found == {key: named, other: named}
        assert await read_identities(conn, demo.workspace_id, []) == {}
        assert set((await _rows(conn)).values()) == {(OWNER, False)}


async def test_delete_identities_leaves_what_is_awaited(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    keys: list[IdentityKey] = [(demo.node_id, SESSION, "s1"), (demo.node_id, SESSION, "s2")]
    async with pool.transaction() as conn:
        claims = {keys[0]: True, keys[1]: False}
        await claim_identities(conn, demo.workspace_id, claims, now)
        await delete_identities(conn, demo.workspace_id, keys)
        assert await _rows(conn) == {(SESSION, "s1"): (None, True)}


async def test_what_names_a_customer_goes_with_it(pool: Pool, demo: Demo, now: datetime) -> None:
    mine: IdentityKey = (demo.node_id, MATCH, "mine")
    theirs: IdentityKey = (demo.node_id, MATCH, "theirs")
    stranger = CustomerId(uuid.uuid4())
    owned = {mine: Identity(customer_id=OWNER), theirs: Identity(customer_id=stranger)}
    async with pool.transaction() as conn:
        await set_identities(conn, demo.workspace_id, owned, now)
        await delete_identities_of_customers(conn, demo.workspace_id, [OWNER])
        assert await _rows(conn) == {(MATCH, "theirs"): (stranger, False)}


async def test_external_ids_stay_while_a_customer_or_an_event_needs_them(
    pool: Pool, demo: Demo, now: datetime
) -> None:
    keys: dict[IdentityKey, bool] = {
        (demo.node_id, EXTERNAL, "carried"): False,
        (demo.node_id, EXTERNAL, "awaited"): True,
        (demo.node_id, EXTERNAL, "free"): False,
    }
    async with pool.transaction() as conn:
        await claim_identities(conn, demo.workspace_id, keys, now)
        await conn.execute(
            "INSERT INTO customers (workspace_id, id, node_id, int_id, external_id, version, "
            "registered_at, updated_at, registered_by, updated_by, document) "
            "VALUES ($1, $2, $3, 1, 'carried', 0, $4, $4, 'c', 'c', '{}')",
            demo.workspace_id,
            OWNER,
            demo.node_id,
            now,
        )
        values = [(demo.node_id, value) for value in ("carried", "awaited", "free")]
        await delete_external_identities(conn, demo.workspace_id, values)
        assert set(await _rows(conn)) == {(EXTERNAL, "carried"), (EXTERNAL, "awaited")}
