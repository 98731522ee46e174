"""Rows, the table and the JSON file."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

MEMORY_MB = 300
_NAME_WIDTH = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a row wants, and whether it got it."""

    text: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table.

    `cpu` holds CPU seconds per million by process; `peak_mb` the greatest resident size of our processes.
    `cpu_ratio` is the floor's CPU time by the hub's for the same work: it moves less than the rates do on a
    machine that others use too.
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

    @property
    def ratio(self) -> float | None:
        return None if not self.floor else self.value / self.floor


def at_least(name: str, value: float, wanted: float) -> Aim:
    return Aim(text=f"{name} >= {wanted:,g}", met=value >= wanted)


def at_most(name: str, value: float, wanted: float) -> Aim:
    return Aim(text=f"{name} <= {wanted:,g}", met=value <= wanted)


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


def _word(aim: Aim) -> str:
    return "met" if aim.met else "missed"


def _lines(values: dict[str, float], digits: int) -> str:
    return "\n".join(f"{name} {value:,.{digits}f}" for name, value in values.items())


def write(rows: Sequence[Row], folder: Path) -> Path:
    """Write what was measured, with the commit and the machine."""
    folder.mkdir(exist_ok=True)
    target = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    content = {
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return target


def _commit() -> str | None:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
