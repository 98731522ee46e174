"""`headwater feed prune`: drop the past of a feed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click

from headwater import clock
from headwater.cli.hub import find_database_url
from headwater.domain.ids import WorkspaceId
from headwater.errors import HubError
from headwater.postgres.feed import find_prune_target, hide_past, prune_batch
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
@click.option("--batch", type=click.IntRange(1, 100_000), default=5_000, show_default=True,
              help="How many updates a transaction drops.")  # fmt: skip
def prune(
    workspace: UUID, before_offset: int | None, older_than: timedelta | None, batch: int
) -> None:
    """Drop updates from the feed's past, and what nothing refers to without them.

    That is: documents of the past, and the rows of deleted customers and events. What lives stays.
    Readers that are behind get 410 with the earliest offset. Given both bounds, only what lies behind
    both is dropped. Safe to interrupt and to repeat, and beside a running hub. Straight in the database:
    HEADWATER_DATABASE_URL, or the hub that runs here.
    """
    if before_offset is None and older_than is None:
        raise click.UsageError("say how far: --before-offset or --older-than")
    url = find_database_url()
    try:
        asyncio.run(_prune(url, WorkspaceId(workspace), before_offset, older_than, batch))
    except HubError as exc:
        raise click.ClickException(str(exc)) from exc


async def _prune(
    database_url: str,
    workspace_id: WorkspaceId,
    before_offset: int | None,
    older_than: timedelta | None,
    batch: int,
) -> None:
    settings = replace(PostgresSettings.from_env(), database_url=database_url)
    pool = await open_pool(settings, max_size=1)
    try:
        async with pool.connection() as conn:
            bounds = await find_prune_target(
                conn,
                workspace_id,
                before_offset=before_offset,
                older_than=None if older_than is None else _before(older_than),
            )
            if bounds is None:
                raise click.ClickException(f"no workspace {workspace_id}")
            _, first_kept = bounds
            await hide_past(conn, workspace_id, first_kept)
        updates = documents = entities = 0
        # also what an interrupted pruning left behind
        while (pruned := await prune_batch(pool, workspace_id, batch)).updates:
            updates += pruned.updates
            documents += pruned.documents
            entities += pruned.customers + pruned.events
            click.echo(
                f"dropped {updates:,} updates, {documents:,} documents, "
                f"{entities:,} deleted customers and events"
            )
        if not updates:
            click.echo("nothing to drop")
        click.echo(f"earliest offset is {first_kept:,}")
    finally:
        await pool.close()


def _before(age: timedelta) -> datetime:
    try:
        return clock.now() - age
    except OverflowError:  # before the first year there is
        return datetime.min.replace(tzinfo=UTC)
