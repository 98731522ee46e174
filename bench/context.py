"""What a leg gets: the servers, the sizes, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each leg does."""

    singles: int
    events: int
    queued: int
    visible_seconds: int
    updates: int
    rounds: int


@dataclass(slots=True, kw_only=True)
class Context:
    """`singles_rate` is what leg a measured, if it ran."""

    servers: Servers
    sizes: Sizes
    singles_rate: float | None = None


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
