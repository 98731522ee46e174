"""`python -m bench`: measure each stage beside its floor; print a table with the aims, keep it, draw it."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeAlias

import click
from rich.console import Console

from bench import history
from bench.chart import draw
from bench.context import Context, Sizes
from bench.legs import (
    answers,
    batches,
    cdnow,
    drain,
    fairness,
    followers,
    growth,
    overload,
    pages,
    singles,
    sustain,
    visible,
)
from bench.pace import Pace, measure_pace
from bench.report import Aim, Row, show
from bench.servers import running_servers

Leg: TypeAlias = Callable[[Context], Awaitable[list[Row]]]

LEGS: dict[str, Leg] = {
    "singles": singles.measure,
    "batches": batches.measure,
    "drain": drain.measure,
    "sustain": sustain.measure,
    "visible": visible.measure,
    "answers": answers.measure,
    "pages": pages.measure,
    "followers": followers.measure,
    "fairness": fairness.measure,
    "overload": overload.measure,
    "growth": growth.measure,
    "cdnow": cdnow.measure,
}
"""In the order in which they run."""

QUICK = {
    "singles": 500, "events": 2_000, "queued": 2_000, "sustain_seconds": 3, "visible_seconds": 2,
    "answers_seconds": 2, "updates": 4_000, "pollers": 100, "streams": 20, "idle_seconds": 2,
    "growth": ((500, 100), (1_500, 300)), "growth_records": 500, "rounds": 1, "pace_seconds": 0.3,
    "fairness_seconds": 1.0, "overload_seconds": 3.0,
}  # fmt: skip
"""Sizes that prove that the legs run; what they measure says little."""

TABLE_WIDTH = 150
ROOT = Path(__file__).parent.parent


def _names(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in LEGS]
    if unknown or not names:
        raise click.BadParameter(f"expected some of {', '.join(LEGS)}, not {value!r}")
    return [name for name in LEGS if name in names]


def _growth(_: click.Context, __: click.Parameter, value: str) -> tuple[tuple[int, int], ...]:
    try:
        steps = tuple(
            (int(events), int(customers))
            for events, customers in (step.split(":") for step in value.split(","))
        )
    except ValueError:
        raise click.BadParameter(f"expected EVENTS:CUSTOMERS,.., not {value!r}") from None
    if any(min(step) < 100 for step in steps) or list(steps) != sorted(set(steps)):
        raise click.BadParameter(f"expected steps that grow, from 100:100 on, not {value!r}")
    return steps


@click.command(
    context_settings={"show_default": True, "auto_envvar_prefix": "BENCH", "max_content_width": 100}
)
@click.option(
    "--only", default=",".join(LEGS), callback=_names, show_default="all",
    help=f"Some of the legs {', '.join(LEGS)}.",
)  # fmt: skip
@click.option(
    "--quick", is_flag=True, help="Tiny sizes, to see that all legs run. Nothing is kept."
)
@click.option("--singles", default=20_000, help="Requests of a round of leg singles.")
@click.option("--events", default=50_000, help="Events of a round of leg batches.")
@click.option("--queued", default=200_000, help="Writes that leg drain drains.")
@click.option("--sustain-seconds", default=120, help="How long leg sustain posts; 600 to be sure.")
@click.option("--visible-seconds", default=30, help="How long leg visible posts.")
@click.option("--answers-seconds", default=20, help="How long leg answers posts.")
@click.option("--updates", default=100_000, help="Updates that leg pages reads.")
@click.option("--pollers", default=5_000, help="Long-pollers of leg followers.")
@click.option("--streams", default=1_000, help="Followers of server-sent events of leg followers.")
@click.option("--idle-seconds", default=60, help="How long leg followers looks at their idle cost.")
@click.option(
    "--growth", default="10000:3000,1000000:300000", callback=_growth,
    help="EVENTS:CUSTOMERS of each step of leg growth; in full it goes on to 10000000:3000000.",
)  # fmt: skip
@click.option("--fairness-seconds", default=10.0, help="Length of a round of leg fairness.")
@click.option(
    "--overload-seconds",
    default=60.0,
    help="How long leg overload asks for too much; 300 to be sure.",
)
@click.option("--growth-records", default=20_000, help="Writes that a step of leg growth measures.")
@click.option(
    "--rounds", default=3, help="Rounds of legs singles, batches and pages; the median counts."
)
@click.option("--pace-seconds", default=3.0, help="How long the bare handler sets the pace, twice.")
@click.option(
    "--history", "kept", type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "bench" / "history.jsonl", show_default="bench/history.jsonl",
    help="File that the results are appended to.",
)  # fmt: skip
@click.option(
    "--chart", type=click.Path(dir_okay=False, path_type=Path),
    default=ROOT / "docs" / "bench.svg", show_default="docs/bench.svg",
    help="Picture of the latest results of each leg.",
)  # fmt: skip
@click.pass_context
def main(
    called: click.Context,
    /,
    *,
    only: list[str],
    quick: bool,
    kept: Path,
    chart: Path,
    **sizes: object,
) -> None:
    """Measure the hub, stage by stage, beside the floor of each in the same run.

    Servers, hub and load share this machine, so read the ratios before the absolute figures: goals in
    absolute numbers are scaled by what a bare handler does here. Each option can be set in the
    environment, as BENCH_QUEUED=50000. Exits with 1 if an aim is missed.
    """
    if quick:
        sizes |= {
            name: value
            for name, value in QUICK.items()
            if called.get_parameter_source(name) is click.core.ParameterSource.DEFAULT
        }
    told = Sizes(**sizes)  # type: ignore[arg-type]  # click has made them what the options say
    _raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    folder.chmod(0o755)
    console = Console()
    try:
        rows, pace = asyncio.run(_measure(folder, only, told))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    every = [row for each in rows.values() for row in each]
    show(every, console if console.width >= TABLE_WIDTH else Console(width=TABLE_WIDTH))
    console.print(f"a bare handler answers {pace.singles:,.0f} single posts a second here")
    explicit = called.get_parameter_source("kept") is not click.core.ParameterSource.DEFAULT
    if explicit or not quick:
        history.append(kept, history.run_of(rows, singles=pace.singles, sizes=asdict(told)))
        chart.write_text(draw(history.latest_rows(kept)), encoding="utf-8")
        console.print(f"appended to {kept}, drawn in {chart}")
    sys.exit(0 if all(aim.met for row in every for aim in row.aims) else 1)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _measure(
    folder: Path, legs: list[str], sizes: Sizes
) -> tuple[dict[str, list[Row]], Pace]:
    rows: dict[str, list[Row]] = {}
    async with running_servers(folder) as servers:
        pace = await measure_pace(servers, sizes.pace_seconds)
        context = Context(servers=servers, sizes=sizes, pace=pace)
        for name in legs:
            try:
                rows[name] = await LEGS[name](context)
            except Exception:  # noqa: BLE001  # what the other legs measure is not lost with it
                traceback.print_exc()
                rows[name] = [_failed(name)]
    return rows, pace


def _failed(name: str) -> Row:
    aim = Aim(text="runs to its end", met=False)
    return Row(name=f"{name} failed", unit="", value=0.0, aims=[aim])


if __name__ == "__main__":
    main()
