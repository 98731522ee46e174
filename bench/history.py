"""What was measured, kept: one line of JSON for each run, with its commit, date and machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from bench.report import Row

Rows = Mapping[str, Sequence[Row]]


def run_of(rows: Rows, *, singles: float, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the history. `rows` come by leg; `singles` is the pace of the machine."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "machine": _machine(),
        "bare_singles_per_second": round(singles, 1),
        "sizes": dict(sizes),
        "rows": [
            _rounded({"leg": leg, **asdict(row), "ratio": row.ratio})
            for leg, each in rows.items()
            for row in each
        ],
    }


def append(history: Path, run: Mapping[str, Any]) -> None:
    """Add a run at the end of the file, which is made if there is none."""
    history.parent.mkdir(parents=True, exist_ok=True)
    with history.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(run, separators=(",", ":")) + "\n")


def latest_rows(history: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each leg, from the last run that has the leg; `at` and `commit` of that run are added."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in history.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        legs: dict[str, list[dict[str, Any]]] = {}
        for row in run["rows"]:
            told = {"at": run["at"], "commit": run["commit"], **row}
            legs.setdefault(row["leg"], []).append(told)
        found |= legs
    return found


def _rounded(value: Any) -> Any:
    """Five digits say all that such a measurement can."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
    return value


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.processor() or "unknown"


def _commit() -> str | None:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None
