"""`headwater feed prune`: drop the past of a feed."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from uuid import UUID

import click

from headwater import clock
from headwater.domain.ids import WorkspaceId
from headwater.errors import HubError
from headwater.postgres.feed import find_prune_target, prune_feed
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Age(click.ParamType[timedelta]):
    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        found = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no age, expected e.g. 30d, 12h, 90m", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group()
def feed() -> None:
    """Look after the update feed."""


@feed.command()
@click.option("--workspace", type=click.UUID, required=True, help="The workspace's id.")
@click.option("--before-offset", type=click.IntRange(1, 2**62), help="Keep this offset and later.")
@click.option("--older-than", type=_Age(), help="Drop what is older, e.g. 30d.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=5_000, show_default=True)
def prune(
    workspace: UUID, before_offset: int | None, older_than: timedelta | None, batch: int
) -> None:
    """Drop updates from the feed's past, and documents that nothing else needs.

    Readers that are behind get 410 with the earliest offset. Customers and events stay. Given both
    bounds, only what lies behind both is dropped. Safe to interrupt and to repeat.
    """
    if before_offset is None and older_than is None:
        raise click.UsageError("say how far: --before-offset or --older-than")
    try:
        asyncio.run(_prune(WorkspaceId(workspace), before_offset, older_than, batch))
    except HubError as exc:
        raise click.ClickException(str(exc)) from exc


async def _prune(
    workspace_id: WorkspaceId, before_offset: int | None, older_than: timedelta | None, batch: int
) -> None:
    pool = await open_pool(PostgresSettings.from_env(), max_size=1)
    try:
        async with pool.connection() as conn:
            bounds = await find_prune_target(
                conn,
                workspace_id,
                before_offset=before_offset,
                older_than=None if older_than is None else clock.now() - older_than,
            )
        if bounds is None:
            raise click.ClickException(f"no workspace {workspace_id}")
        earliest, target = int(bounds[0]), int(bounds[1])
        updates = documents = 0
        while earliest < target:
            earliest = min(earliest + batch, target)
            pruned = await prune_feed(pool, workspace_id, earliest)
            updates += pruned.updates
            documents += pruned.documents
            click.echo(
                f"dropped {updates:,} updates and {documents:,} documents, "
                f"earliest offset is {earliest:,}"
            )
        if not updates:
            click.echo(f"nothing to drop, earliest offset is {earliest:,}")
    finally:
        await pool.close()
