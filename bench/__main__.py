"""`python -m bench`: measure each stage beside its floor, print a table with the aims, write JSON."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import click
from rich.console import Console

from bench.context import Context, Sizes
from bench.legs import batches, cdnow, drain, pages, singles, visible
from bench.report import Row, show, write
from bench.servers import running_servers

Leg: TypeAlias = Callable[[Context], Awaitable[list[Row]]]

LEGS: dict[str, Leg] = {
    "a": singles.measure,
    "b": batches.measure,
    "c": drain.measure,
    "d": visible.measure,
    "e": pages.measure,
    "f": cdnow.measure,
}
TABLE_WIDTH = 150
RESULTS = Path(__file__).parent / "results"


def _legs(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in LEGS]
    if unknown or not names:
        raise click.BadParameter(f"expected some of {', '.join(LEGS)}, not {value!r}")
    return names


@click.command(context_settings={"show_default": True})
@click.option(
    "--legs", default=",".join(LEGS), callback=_legs,
    help="a single posts, b batches, c drain, d post to visible, e feed pages, f the real data set.",
)  # fmt: skip
@click.option("--singles", default=20_000, help="Requests of a round of leg a.")
@click.option("--events", default=100_000, help="Events of a round of leg b.")
@click.option("--queued", default=200_000, help="Writes that leg c drains.")
@click.option("--visible-seconds", default=10, help="How long leg d posts.")
@click.option("--updates", default=100_000, help="Updates that leg e reads.")
@click.option("--rounds", default=3, help="Rounds of legs a, b and e; the median counts.")
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS,
    show_default="bench/results", help="Folder of the JSON file.",
)  # fmt: skip
def main(
    legs: list[str],
    singles: int,
    events: int,
    queued: int,
    visible_seconds: int,
    updates: int,
    rounds: int,
    results: Path,
) -> None:
    """Measure the hub, stage by stage, beside the floor of each in the same run.

    Servers, hub and load share this machine, so read the ratios before the absolute figures. The web
    process is the one of `headwater up` with one worker. Exits with 1 if an aim is missed.
    """
    sizes = Sizes(
        singles=singles,
        events=events,
        queued=queued,
        visible_seconds=visible_seconds,
        updates=updates,
        rounds=rounds,
    )
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    folder.chmod(0o755)
    console = Console()
    try:
        rows = asyncio.run(_measure(folder, legs, sizes))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(rows, console if console.width >= TABLE_WIDTH else Console(width=TABLE_WIDTH))
    console.print(f"written to {write(rows, results)}")
    sys.exit(0 if all(aim.met for row in rows for aim in row.aims) else 1)


async def _measure(folder: Path, legs: list[str], sizes: Sizes) -> list[Row]:
    rows: list[Row] = []
    async with running_servers(folder) as servers:
        context = Context(servers=servers, sizes=sizes)
        for name in legs:
            rows += await LEGS[name](context)
    return rows


if __name__ == "__main__":
    main()
