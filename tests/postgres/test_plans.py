"""What the hot statements cost on a database that has grown: by index, and no more than they return."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import pytest

from headwater.domain.configuration import Node
from headwater.domain.ids import CustomerId, EventId, NodeId, OperationId, WorkspaceId
from headwater.postgres import customers as customer_rows
from headwater.postgres import events, feed, outcomes, search
from headwater.postgres.config import write_node
from headwater.postgres.feed import FeedFilter, Form
from headwater.postgres.pool import Connection, Pool, open_pool
from headwater.postgres.search import EventFilter, Kind, SortKey
from headwater.settings import PostgresSettings
from tests.postgres.writer import Writer, make_writer

EVENTS = 120_000
CUSTOMERS = 60_000
NODES = [NodeId(uuid.UUID(int=n)) for n in range(1, 21)]
DAY = datetime(2026, 1, 1, tzinfo=UTC)
NEWEST = SortKey(kind=Kind.COLUMN, path=("updated_at",), descending=True)
BIG = {"events", "customers", "versions", "updates", "operations", "identities"}


def _fill(workspace_id: uuid.UUID) -> str:
    """A script: rows as the processor leaves them, of all nodes by turns."""
    workspace = f"'{workspace_id}'::uuid"
    nodes = ", ".join(f"'{node_id}'" for node_id in NODES)
    node = f"(ARRAY[{nodes}]::uuid[])[1 + n % {len(NODES)}]"
    day = f"'{DAY.isoformat()}'::timestamptz"
    return f"""
        INSERT INTO customers (workspace_id, id, node_id, int_id, external_id, version,
            registered_at, updated_at, registered_by, updated_by, document)
        SELECT {workspace}, md5('c' || n)::uuid, {node}, n, 'x' || n, 0, {day},
            {day} + n * interval '1 ms', '', '', '{{}}'
        FROM generate_series(1, {CUSTOMERS}) n;
        INSERT INTO versions SELECT workspace_id, id, 0, '{{"id":"' || id || '"}}' FROM customers;
        INSERT INTO events (workspace_id, id, node_id, customer_id, type, context, date,
            registered_at, bring_back_type, bring_back_value, document)
        SELECT {workspace}, md5('e' || n)::uuid, {node},
            CASE WHEN n % 3 > 0 THEN md5('c' || 1 + n % 5000)::uuid END, 'viewedPage', 'WEB',
            {day} + n * interval '1 minute', {day}, 'SESSION_ID', 's' || n % 20000,
            '{{"id":"' || n || '"}}'
        FROM generate_series(1, {EVENTS}) n;
        INSERT INTO updates
        SELECT {workspace}, row_number() OVER (ORDER BY kind), 'CREATE', kind, id, node_id, 0, {day}
        FROM (
            SELECT 'CUSTOMER' AS kind, id, node_id FROM customers
            UNION ALL SELECT 'EVENT', id, node_id FROM events
        ) AS entities;
        INSERT INTO operations (workspace_id, id, fingerprint, state, http_status, expires_at)
        SELECT {workspace}, md5('o' || n)::uuid, '', 'APPLIED', 201, {day} + interval '1000 days'
        FROM generate_series(1, 50000) n;
        UPDATE feeds SET last_offset = {EVENTS + CUSTOMERS} WHERE workspace_id = {workspace};
    """


def _id(kind: str, number: int) -> uuid.UUID:
    return uuid.UUID(hashlib.md5(f"{kind}{number}".encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Grown:
    """A database with many rows, and the plans of what runs on it."""

    writer: Writer

    async def plans(self, run: Callable[[Connection], Awaitable[Any]], mode: str) -> list[Any]:
        """The plan of each statement that `run` sends, with what it did."""
        async with self.writer.pool.transaction() as conn:
            await conn.execute(f"SET LOCAL plan_cache_mode = {mode}")
            plans = []
            for query, args in await _sent(conn, run):
                await conn.execute(f"PREPARE hot AS {query}")
                plans.append(await _explain(conn, args))
                await conn.execute("DEALLOCATE hot")
        assert plans
        return plans


async def _sent(
    conn: Connection, run: Callable[[Connection], Awaitable[Any]]
) -> list[tuple[str, tuple[Any, ...]]]:
    """The statements that `run` sends, with their parameters."""
    sent: list[tuple[str, tuple[Any, ...]]] = []
    with conn.query_logger(lambda record: sent.append((record.query, record.args))):
        found = await run(conn)
        await asyncio.sleep(0)  # asyncpg tells its loggers in the next round of the loop
    assert found, "the statement found nothing: its plan says nothing"
    return sent


async def _explain(conn: Connection, args: tuple[Any, ...]) -> Any:
    """What the statement `hot` does with `args`: only one that is prepared can have a generic plan."""
    given = f"({', '.join(_literal(arg) for arg in args)})" if args else ""
    explained = await conn.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE hot{given}")
    return orjson.loads(explained)[0]["Plan"]


def _literal(value: Any) -> str:
    """Postgres takes its type from where it is used."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join(f'"{item}"' for item in value) + "}'"
    return f"'{value}'"


def _steps(plan: Any) -> Iterator[Any]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _steps(below)


def _page(
    workspace_id: WorkspaceId, scan_rows: int, after: int, wanted: FeedFilter
) -> Callable[[Connection], Awaitable[Any]]:
    return lambda conn: feed.read_page(
        conn,
        workspace_id,
        after,
        form=Form.PAGE,
        limit=250,
        limit_bytes=2**20,
        scan_rows=scan_rows,
        wanted=wanted,
    )


@pytest.fixture
async def grown(pool: Pool) -> Grown:
    writer = await make_writer(pool)
    async with pool.connection() as conn:
        await conn.execute(_fill(writer.workspace_id))
        await conn.execute("VACUUM ANALYZE")
    return Grown(writer)


async def test_hot_statements_use_their_indexes(grown: Grown) -> None:
    workspace_id = grown.writer.workspace_id
    customer_id, event_id = CustomerId(_id("c", 7)), EventId(_id("e", 7))

    page = partial(_page, workspace_id, 2_000)

    def customers(**options: Any) -> Callable[[Connection], Awaitable[Any]]:
        asked = {"external_id": None, "order": [NEWEST], "limit": 50, "skip": 200, **options}
        return lambda conn: search.search_customers(conn, workspace_id, NODES[0], **asked)

    def found(wanted: EventFilter) -> Callable[[Connection], Awaitable[Any]]:
        return lambda conn: search.search_events(
            conn, workspace_id, wanted, order=[("date", True)], limit=10, skip=10
        )

    later = DAY + timedelta(days=1)
    new_node = Node(id=NodeId(uuid.uuid4()), name="new")
    async with grown.writer.pool.transaction() as conn:
        await write_node(conn, workspace_id, new_node, later)

    async def has_nothing(conn: Connection) -> bool:
        wanted = FeedFilter(nodes=frozenset({new_node.id}))
        return await feed.read_last_offset(conn, workspace_id, wanted) == 0

    one, both = frozenset(NODES[:1]), frozenset(NODES[:2])
    some_days = EventFilter(
        nodes=one, date_from=DAY + timedelta(days=20), date_to=DAY + timedelta(days=25)
    )
    # name -> what runs, most rows that a Sort may get, most pages that may be touched
    hot: dict[str, tuple[Callable[[Connection], Awaitable[Any]], int, int]] = {
        "feed page": (page(90_000, FeedFilter()), 250, 1_500),
        "feed page of customers": (page(1_000, FeedFilter()), 250, 1_500),
        "feed by node": (page(90_000, FeedFilter(nodes=one)), 250, 1_500),
        "feed by type": (page(1_000, FeedFilter(entity_type="EVENT")), 0, 500),
        "last offset": (
            lambda conn: feed.read_last_offset(conn, workspace_id, FeedFilter(nodes=one)),
            0,
            20,
        ),
        "last offset of a new node": (has_nothing, 20, 500),
        "position": (lambda conn: feed.find_position(conn, workspace_id, later), 20, 120),
        "customer": (lambda c: search.find_customer(c, workspace_id, customer_id), 0, 12),
        "event": (lambda c: search.find_event(c, workspace_id, event_id), 0, 8),
        "customers, newest first": (customers(), 100, 2_500),
        "customers by externalId": (customers(external_id="x20", skip=0), 10, 2_000),
        "events of a customer": (
            found(EventFilter(nodes=frozenset(NODES), customer_id=customer_id)),
            200,
            500,
        ),
        "events of a node by date": (found(some_days), 300, 20_000),
        "events of two nodes": (found(EventFilter(nodes=both)), 300, 30_000),
        "neighbours": (
            lambda c: search.find_neighbours(c, workspace_id, customer_id, DAY, event_id),
            50,
            100,
        ),
        "bring-back": (
            lambda c: events.lock_anonymous_events(
                c, workspace_id, [(NODES[3], "SESSION_ID", "s3")]
            ),
            20,
            120,
        ),
        "bring-back by externalId": (
            lambda c: customer_rows.find_by_external_ids(c, workspace_id, [(NODES[7], "x7")]),
            5,
            20,
        ),
        "operation": (
            lambda c: outcomes.read_operations(c, workspace_id, [OperationId(_id("o", 7))], DAY),
            0,
            12,
        ),
    }
    faults = []
    for name, (run, most_sorted, most_pages) in hot.items():
        for mode in ("force_custom_plan", "force_generic_plan"):
            for plan in await grown.plans(run, mode):
                for step in _steps(plan):
                    if step["Node Type"] == "Seq Scan" and step["Relation Name"] in BIG:
                        faults.append(f"{name}, {mode}: reads all of {step['Relation Name']}")
                    if (
                        step["Node Type"] == "Sort"
                        and step["Plans"][0]["Actual Rows"] > most_sorted
                    ):
                        faults.append(f"{name}, {mode}: sorts {step['Plans'][0]['Actual Rows']}")
                pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
                if pages > most_pages:
                    faults.append(f"{name}, {mode}: touches {pages} pages")
    assert not faults, "\n".join(faults)


async def test_a_page_needs_no_statistics(database_url: str, pool: Pool) -> None:
    """Its connection has planned it when the tables were empty, and they have grown ever since."""
    writer = await make_writer(pool)
    some = FeedFilter(nodes=frozenset(NODES[:10]))

    page = partial(_page, writer.workspace_id, 20_000)
    feed_pool = await open_pool(
        PostgresSettings(database_url=database_url), max_size=1, session=feed.PINNED_PLAN
    )
    try:
        async with feed_pool.connection() as reader:
            *_, (query, _) = await _sent(reader, page(0, some))  # asyncpg asks about types before
            await reader.execute(f"PREPARE hot AS {query}")
            async with pool.connection() as conn:
                for table in sorted(BIG):
                    await conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
                await conn.execute(_fill(writer.workspace_id))
            faults = []
            for after in (1_000, CUSTOMERS + 30_000):
                for wanted in (FeedFilter(), some):
                    *_, (_, args) = await _sent(reader, page(after, wanted))
                    plan = await _explain(reader, args)
                    assert plan["Actual Rows"] == 251
                    for step in _steps(plan):
                        rows = step["Actual Rows"] * step["Actual Loops"]
                        rows += step.get("Rows Removed by Filter", 0)
                        rows += step.get("Rows Removed by Join Filter", 0)
                        if rows > 1_000:
                            faults.append(f"{after}, {wanted}: {step['Node Type']} of {rows} rows")
            assert not faults, "\n".join(faults)
    finally:
        await feed_pool.close()
