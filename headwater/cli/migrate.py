"""`headwater migrate`."""

from __future__ import annotations

import asyncio

import click

from headwater.cli.hub import find_database_url
from headwater.postgres import migrate as migrations


@click.command()
def migrate() -> None:
    """Bring the database to the present schema: that of HEADWATER_DATABASE_URL or of the running hub."""
    applied = asyncio.run(migrations.migrate(find_database_url()))
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to do")
