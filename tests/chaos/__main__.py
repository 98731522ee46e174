"""`python -m tests.chaos`: run a fault campaign; exit status 1 when the books don't balance."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos import report
from tests.chaos.campaign import WRITES_PER_SECOND, Campaign, Result, run
from tests.chaos.defects import HUNTS
from tests.chaos.shrink import shrink

FAULTS, EVENTS, MINUTES = 40, 12_000, 3.0
BOUND_FAULT_SECONDS = 25.0
EVENTS_PER_DISK = 1_000_000

console = Console()


@click.command(help=__doc__)
@click.option("--seed", type=int, help="What everything is drawn from; a new one without it.")
@click.option("--minutes", type=float, help="Bounds faults and load; by their number without it.")
@click.option("--faults", type=int, default=FAULTS, show_default=True)
@click.option("--events", type=int, default=EVENTS, show_default=True, help="How many writes.")
@click.option("--workers", type=int, default=2, show_default=True, help="Web processes.")
@click.option("--processors", type=int, default=2, show_default=True)
@click.option("--kinds", multiple=True, help="Only kinds of faults with this in their names.")
@click.option("--waves", help="Only these waves of the plan, as 3,4,7.")
@click.option("--defect", type=click.Choice(sorted(HUNTS)), help="Plant a known defect.")
@click.option("--report", "report_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--shrink", "tries", type=int, default=6, help="Runs to shorten a failure with.")
def main(
    seed: int | None,
    minutes: float | None,
    faults: int,
    events: int,
    workers: int,
    processors: int,
    kinds: tuple[str, ...],
    waves: str | None,
    defect: str | None,
    report_file: Path | None,
    tries: int,
) -> None:
    signal.signal(signal.SIGTERM, _stop)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    console.print(f"seed {seed}")
    built = report.commit()
    campaign = Campaign(
        seed=seed,
        faults=faults,
        events=events,
        seconds=60 * (minutes or _minutes(faults, events)),
        workers=workers,
        processors=processors,
        kinds=kinds,
        waves=None if waves is None else frozenset(map(int, waves.split(","))),
        defect=defect,
        scale=1 + events // EVENTS_PER_DISK,
    )
    result = _run(campaign)
    for table in report.tables(result):
        console.print(table)
    for text in result.skipped:
        console.print(f"skipped: {text}")
    for violation in result.violations[:30]:
        console.print(violation[:3000], markup=False, highlight=False)
    if report_file is not None:
        report.write(result, report_file, built)
    if not result.violations:
        return
    console.print(f"{len(result.violations)} violations; shortening the campaign")
    shortest = shrink(result, _run, tries)
    console.print(f"it fails again with: {report.command_of(shortest)}", soft_wrap=True)
    sys.exit(1)


def _minutes(faults: int, events: int) -> float:
    if (faults, events) == (FAULTS, EVENTS):
        return MINUTES
    return max(faults * BOUND_FAULT_SECONDS, 2 * events / WRITES_PER_SECOND) / 60


def _stop(*_: object) -> None:
    """SIGTERM ends a campaign as Ctrl-C does: servers and mounts are cleared away."""
    raise KeyboardInterrupt


def _run(campaign: Campaign) -> Result:
    with _progress() as show:
        return run(campaign, show)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    bar = BarColumn(bar_width=30)
    columns = (TimeElapsedColumn(), bar, TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("", total=1)

        def show(text: str, done: int, total: int) -> None:
            progress.update(task, description=text, completed=done, total=total)
            if not console.is_terminal:
                console.print(f"{text} ({done}/{total})", highlight=False)

        yield show


if __name__ == "__main__":
    main()
