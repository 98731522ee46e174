"""What a leg gets: the servers, the sizes, the pace of the machine, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.pace import Pace
from bench.servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each leg does."""

    singles: int
    events: int
    queued: int
    sustain_seconds: int
    visible_seconds: int
    answers_seconds: int
    updates: int
    pollers: int
    streams: int
    idle_seconds: int
    growth: tuple[tuple[int, int], ...]
    growth_records: int
    rounds: int
    pace_seconds: float
    fairness_seconds: float = 10
    overload_seconds: float = 300


@dataclass(slots=True, kw_only=True)
class Context:
    """`sustained` is what leg sustain measured, in events a second, if it ran."""

    servers: Servers
    sizes: Sizes
    pace: Pace
    sustained: float | None = None


@contextmanager
def progress(text: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar; call what it yields with how many are done more (default 1)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # a bar that is drawn often costs what is measured
    with Progress(*columns, refresh_per_second=2) as bar:
        task = bar.add_task(text, total=total)
        yield lambda count=1: bar.advance(task, count)
