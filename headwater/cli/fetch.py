"""`headwater fetch`: what the embedded Kafka needs, once."""

from __future__ import annotations

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from headwater.embedded.jars import fetch_jars
from headwater.embedded.kafka import rehearse
from headwater.embedded.postgres import ServerFailed


@click.command()
def fetch() -> None:
    """Fetch Kafka's jars into the cache, and rehearse its start; once."""
    jars = fetch_jars()
    click.echo(f"{len(jars)} jars of Kafka are there")
    try:
        with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as bar:
            bar.add_task("Rehearsing Kafka's start", total=None)
            rehearse(jars)
    except ServerFailed as exc:
        click.echo(f"Kafka's start could not be rehearsed, it will take longer: {exc}", err=True)
