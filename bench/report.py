"""Rows, and the table. What is kept of them is in history.py, what is drawn in chart.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

MEMORY_MB = 300
_NAME_WIDTH = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a row wants, and whether it got it. `name`, `value` and `wanted` are for machines."""

    text: str
    met: bool
    name: str = ""
    value: float | None = None
    wanted: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table.

    `cpu` holds CPU seconds per million by process; `peak_mb` the greatest resident size of our processes.
    `cpu_ratio` is the floor's CPU time by the hub's for the same work: it moves less than the rates do on a
    machine that others use too. `curve` holds pairs of a percentile and its milliseconds.
    """

    name: str
    unit: str
    value: float
    floor: float | None = None
    aims: Sequence[Aim] = ()
    more: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    cpu_ratio: float | None = None
    curve: Sequence[tuple[float, float]] = ()

    @property
    def ratio(self) -> float | None:
        return None if not self.floor else self.value / self.floor

    @property
    def missed(self) -> list[Aim]:
        return [aim for aim in self.aims if not aim.met]


def at_least(name: str, value: float, wanted: float, *, of: float | None = None) -> Aim:
    """`of` is the goal that `wanted` was scaled from."""
    text = f"{name} >= {_told(wanted, of)}"
    return Aim(text=text, met=value >= wanted, name=name, value=value, wanted=wanted)


def at_most(name: str, value: float, wanted: float, *, of: float | None = None) -> Aim:
    """`of` is the goal that `wanted` was scaled from."""
    text = f"{name} <= {_told(wanted, of)}"
    return Aim(text=text, met=value <= wanted, name=name, value=value, wanted=wanted)


def _told(wanted: float, of: float | None) -> str:
    if of is None or of == wanted:
        return f"{wanted:,g}"
    return f"{wanted:,.{0 if wanted >= 10 else 2}f} (of {of:,g})"


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table; what is too wide goes on in the next line, nothing is cut."""
    table = Table(show_lines=True, box=HORIZONTALS, pad_edge=False)
    # fixed: the name would be the first to be squeezed
    table.add_column("leg", width=_NAME_WIDTH, overflow="fold")
    for title in ("hub", "floor", "ratio", "CPU\nratio"):
        table.add_column(title, no_wrap=True, justify="right")
    for title in ("aims", "more"):
        table.add_column(title, overflow="fold")
    for title in ("CPU s/\nmillion", "peak MB"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        aims = [f"[{'green' if a.met else 'red'}]{a.text}: {_word(a)}[/]" for a in row.aims]
        table.add_row(
            f"{row.name}\n[dim]{row.unit}[/]",
            f"{row.value:,.0f}",
            "" if row.floor is None else f"{row.floor:,.0f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}",
            "\n".join(aims),
            _lines(row.more, 1),
            _lines(row.cpu, 0),
            _lines(row.peak_mb, 0),
        )
    console.print(table)
    missed = [(row, aim) for row in rows for aim in row.missed]
    for row, aim in missed:
        got = "" if aim.value is None else f", got {aim.value:,.{_digits(aim.value)}f}"
        console.print(f"missed: {row.name}: {aim.text}{got}")
    if missed:
        console.print("docs/performance.md says what the time of these goes into.")


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 2


def _word(aim: Aim) -> str:
    return "met" if aim.met else "missed"


def _lines(values: dict[str, float], digits: int) -> str:
    return "\n".join(f"{name} {value:,.{digits}f}" for name, value in values.items())
