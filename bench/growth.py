"""A hub's tables at a size that no run could post: what the processor wrote, multiplied with bulk COPY.

A few thousand customers and events are written by the processor itself; each row that is made here is one of
those with other ids, values and customers, so that its shape is the processor's.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg
import orjson

from bench.records import Load
from bench.servers import Servers
from headwater.domain.configuration import UniqueRule
from headwater.domain.ids import CustomerId
from headwater.domain.matching import match_key

CHUNK_EVENTS = 10_000
_RULE = UniqueRule(properties=("externalId",), case_sensitive=False)
"""That of the demo's node."""

Row = tuple[Any, ...]


class Multiplier:
    """Adds customers, sessions, events and their updates to the workspace of `load`."""

    def __init__(self, servers: Servers, load: Load) -> None:
        self._conn = servers.conn
        self._load = load
        self._random = random.Random(7)  # not for secrets
        self._customers: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._columns: dict[str, list[str]] = {}

    async def learn(self) -> None:
        """Take what the processor has written so far as the pattern."""
        workspace_id = self._load.workspace_id
        self._customers = await self._fetch(
            "SELECT c.*, c.document::text AS document, v.document AS text FROM customers c "
            "JOIN versions v ON (v.workspace_id, v.entity_id, v.version) = ($1, c.id, c.version) "
            "WHERE c.workspace_id = $1 AND c.version = 0 AND c.deleted = 0 LIMIT 2000",
            workspace_id,
        )
        self._events = await self._fetch(
            "SELECT * FROM events WHERE workspace_id = $1 AND version = 0 ORDER BY id LIMIT 5000",
            workspace_id,
        )
        for table in ("customers", "versions", "identities", "events", "updates"):
            columns = await self._conn.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass "
                "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                table,
            )
            self._columns[table] = [column["attname"] for column in columns]

    async def _fetch(self, query: str, *values: object) -> list[dict[str, Any]]:
        return [dict(record) for record in await self._conn.fetch(query, *values)]

    async def grow(self, events: int, customers: int, tick: Callable[[int], None]) -> None:
        """Until the workspace has so many; one transaction for each chunk."""
        have = await self._count("events")
        known = await self._count("customers")
        tick(have)
        while have < events or known < customers:
            more = min(CHUNK_EVENTS, events - have)
            # customers keep step with the events, so that the feed mixes them
            left = max(1, -(-(events - have) // CHUNK_EVENTS))
            new = -(-(customers - known) // left)
            async with self._conn.transaction():
                await self._add(max(more, 0), max(new, 0))
            have, known = have + max(more, 0), known + max(new, 0)
            tick(max(more, 0))

    async def settle(self) -> None:
        """As after a while in operation: statistics known, pages written."""
        await self._conn.execute("VACUUM (ANALYZE)")
        await self._conn.execute("CHECKPOINT")

    async def _count(self, table: str) -> int:
        found = await self._conn.fetchval(
            f"SELECT count(*) FROM {table} WHERE workspace_id = $1", self._load.workspace_id
        )
        return int(found)

    async def _add(self, events: int, customers: int) -> None:
        workspace_id = self._load.workspace_id
        rows: dict[str, list[Row]] = {name: [] for name in self._columns}
        first_int_id = await self._conn.fetchval(
            "UPDATE customer_numbers SET last_int_id = last_int_id + $2 WHERE workspace_id = $1 "
            "RETURNING last_int_id - $2",
            workspace_id,
            customers,
        )
        feed = await self._conn.fetchrow(
            "SELECT last_offset, last_changed_at FROM feeds WHERE workspace_id = $1 FOR UPDATE",
            workspace_id,
        )
        assert feed is not None
        entries = [self._customer(rows, first_int_id + n + 1) for n in range(customers)]
        entries += [self._event(rows) for _ in range(events)]
        self._random.shuffle(entries)
        changed_at = feed["last_changed_at"]
        for number, (kind, entity_id, node_id) in enumerate(entries, feed["last_offset"] + 1):
            rows["updates"].append(
                (workspace_id, number, "CREATE", kind, entity_id, node_id, 0, changed_at)
            )
        await self._copy_awaited(rows.pop("identities"))
        for table, each in rows.items():
            await self._copy(table, each)
        await self._conn.execute(
            "UPDATE feeds SET last_offset = last_offset + $2 WHERE workspace_id = $1",
            workspace_id,
            len(entries),
        )

    def _customer(self, rows: dict[str, list[Row]], int_id: int) -> tuple[str, Any, Any]:
        load, old = self._load, self._random.choice(self._customers)
        customer_id, external_id = CustomerId(load.new_id()), self._random.randbytes(8).hex()
        load.known.append((customer_id, external_id))
        document = orjson.loads(_replaced(old["document"], old["external_id"], external_id))
        text = orjson.loads(_replaced(old["text"], old["external_id"], external_id))
        text |= {"id": str(customer_id)} | ({"intId": int_id} if "intId" in text else {})
        row = old | {
            "id": customer_id,
            "int_id": int_id,
            "external_id": external_id,
            "document": orjson.dumps(document).decode(),
        }
        rows["customers"].append(tuple(row[name] for name in self._columns["customers"]))
        rows["versions"].append((load.workspace_id, customer_id, 0, orjson.dumps(text).decode()))
        key = match_key({"externalId": external_id}, _RULE)
        self._name(rows, "MATCH", key, customer_id, None)
        if len(load.known) % 3 == 0:
            self._name(rows, "SESSION", f"known-{len(load.known)}", customer_id, load.new_id())
        return "CUSTOMER", customer_id, load.node_id

    def _name(
        self, rows: dict[str, list[Row]], kind: str, value: str | None, customer_id: Any, key: Any
    ) -> None:
        load, now = self._load, self._customers[0]["registered_at"]
        awaited = customer_id is None
        rows["identities"].append(
            (load.workspace_id, load.node_id, kind, value, customer_id, key, awaited, now)
        )

    def _event(self, rows: dict[str, list[Row]]) -> tuple[str, Any, Any]:
        load, old = self._load, self._random.choice(self._events)
        event_id = load.new_id()
        text = _replaced(old["document"], str(old["id"]), str(event_id))
        row = old | {"id": event_id}
        if old["customer_id"] is not None:
            row["customer_id"], _ = self._random.choice(load.known)
            text = _replaced(text, str(old["customer_id"]), str(row["customer_id"]))
        else:
            value = f"free-{self._random.randrange(3, len(load.known), 3)}"
            text = _replaced(text, old["bring_back_value"], value)
            row["bring_back_value"] = value
            self._name(rows, "SESSION", value, None, None)
        row["document"] = text
        rows["events"].append(tuple(row[name] for name in self._columns["events"]))
        return "EVENT", event_id, load.node_id

    async def _copy(self, table: str, rows: list[Row]) -> None:
        await self._conn.copy_records_to_table(table, records=rows, columns=self._columns[table])

    async def _copy_awaited(self, rows: Iterable[Row]) -> None:
        """Several events wait for one value: only the first has its row made."""
        await self._conn.execute(
            "CREATE TEMP TABLE bench_identities (LIKE identities) ON COMMIT DROP"
        )
        columns = self._columns["identities"]
        await self._conn.copy_records_to_table(
            "bench_identities", records=list(rows), columns=columns
        )
        await self._conn.execute(
            "INSERT INTO identities SELECT * FROM bench_identities ON CONFLICT DO NOTHING"
        )


def _replaced(text: str, old: str, new: str) -> str:
    """`old` stands in the text as a JSON string."""
    return text.replace(json.dumps(old), json.dumps(new))


async def size_gb(conn: asyncpg.Connection[asyncpg.Record]) -> float:
    """Gigabytes that the database takes."""
    return float(await conn.fetchval("SELECT pg_database_size(current_database())")) / 1e9
