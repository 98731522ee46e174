"""Ending sessions whose process stands still in the middle of a statement.

A processor that is paused, or whose machine is cut off, keeps the locks of its transaction. Between two
statements `idle_in_transaction_session_timeout` ends it. In the middle of one (a COPY that waits for its
data, an answer that nobody reads) Postgres counts it as at work, for as long as it takes: so those who
took over its partitions, and wait for its locks, end it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("stalled")

Sessions: TypeAlias = frozenset[tuple[int, datetime]]
"""Process ids of Postgres' backends, each with the time at which its statement began."""


async def read_stalled(conn: Connection, application: str) -> Sessions:
    """Which other sessions of an application of ours wait for their client now, in the middle of a statement.

    One that does so in two looks, at the same statement, stands still.
    """
    rows = await conn.fetch(SQL["stalled_sessions"], application)
    return frozenset((row["pid"], row["query_start"]) for row in rows)


async def end_sessions(conn: Connection, sessions: Sessions) -> set[int]:
    """Cut those that are still at the same statement, whose transactions roll back; returns their pids."""
    pids, began = zip(*sorted(sessions), strict=True)
    rows = await conn.fetch(SQL["end_sessions"], pids, began)
    return {row["pid"] for row in rows}
