"""What the web processes have counted of the requests of throttled workspaces, for each other."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.domain.ids import WorkspaceId
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("request_counts")


async def exchange_counts(
    conn: Connection, instance: str, own: Mapping[WorkspaceId, int]
) -> dict[WorkspaceId, int]:
    """Keep what this process counts of each workspace; what all others count of them."""
    workspace_ids = list(own)
    await conn.execute(SQL["write_counts"], instance, workspace_ids, list(own.values()))
    rows = await conn.fetch(SQL["read_other_counts"], instance, workspace_ids)
    return {WorkspaceId(row["workspace_id"]): int(row["requests"]) for row in rows}


async def delete_old_counts(conn: Connection) -> None:
    """Delete what processes that are long gone have left."""
    await conn.execute(SQL["delete_old_counts"])
