"""The picture of the latest results: ratios to the floors, and latencies by percentile. Plain SVG.

It brings its own background and follows the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

WIDTH = 820
_LEFT, _RIGHT, _LABEL = 24, 24, 250
_BAR, _STEP = 13, 24
_CURVES_HEIGHT = 250
_STYLE = """
  .back { fill: #ffffff; } text { fill: #24292f; font: 12px system-ui, sans-serif; }
  .title { font-size: 15px; font-weight: 600; } .faint { fill: #57606a; } .end { text-anchor: end; }
  .middle { text-anchor: middle; } .grid { stroke: #d8dee4; } .met { fill: #2f7d5b; }
  .missed { fill: #c2571a; } .plain { fill: #8c959f; } .goal { stroke: #24292f; stroke-width: 2; }
  .curve { fill: none; stroke-width: 2; }
  .c0 { stroke: #2563a8; } .c1 { stroke: #b4521f; } .c2 { stroke: #2f7d5b; } .c3 { stroke: #8045a8; }
  .c4 { stroke: #927500; } .c5 { stroke: #b02a5b; } .c6 { stroke: #4a7a8c; } .c7 { stroke: #6b6b6b; }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; } text { fill: #e6edf3; } .faint { fill: #9198a1; } .grid { stroke: #30363d; }
    .met { fill: #3fb27f; } .missed { fill: #e8833a; } .goal { stroke: #e6edf3; }
    .c0 { stroke: #6cb0f5; } .c1 { stroke: #f0955c; } .c2 { stroke: #5ccb98; } .c3 { stroke: #c193f0; }
    .c4 { stroke: #dcc04a; } .c5 { stroke: #f27ba5; } .c6 { stroke: #8cc4d9; } .c7 { stroke: #b0b0b0; }
  }
"""
_COLOURS = 8


def draw(rows: Rows) -> str:
    """The SVG. `rows` come by leg, as `history.latest_rows` reads them."""
    every = [row for each in rows.values() for row in each]
    bars = [row for row in every if row["ratio"] is not None]
    curves = [row for row in every if row["curve"]]
    parts: list[str] = []
    top = 20
    if bars:
        top = _draw_ratios(parts, bars, top)
    if curves:
        top = _draw_curves(parts, curves, top)
    note = _note(every)
    parts.append(f'<text class="faint" x="{_LEFT}" y="{top + 14}">{escape(note)}</text>')
    height = top + 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img" aria-label="Results of make bench">'
    )
    back = f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", back, *parts, "</svg>\n"])


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Nothing was measured yet."
    commits = sorted({str(row["commit"]) for row in rows})
    days = sorted({str(row["at"])[:10] for row in rows})
    period = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured {period} at {', '.join(commits)}; load, hub, Kafka and Postgres share the machine."


def _draw_ratios(parts: list[str], rows: Sequence[Mapping[str, Any]], top: int) -> int:
    """Bars, a stroke where the goal lies; returns where the next part begins."""
    parts.append(
        f'<text class="title" x="{_LEFT}" y="{top + 8}">'
        "Hub by bare floor, both measured in the same run (stroke: goal)</text>"
    )
    left, right = _LEFT + _LABEL, WIDTH - _RIGHT - 40
    greatest = max(1.0, *(row["ratio"] for row in rows))
    scale = (right - left) / greatest
    start = top + 28
    bottom = start + _STEP * len(rows)
    for tenth in range(0, int(greatest * 10) + 1, 2):
        x = left + tenth / 10 * scale
        parts.append(f'<path class="grid" d="M{x:.1f} {start - 4}V{bottom}"/>')
        parts.append(
            f'<text class="faint middle" x="{x:.1f}" y="{bottom + 14}">{tenth / 10:.1f}</text>'
        )
    for number, row in enumerate(rows):
        y = start + _STEP * number
        aims = [aim for aim in row["aims"] if aim["name"] == "ratio"]
        met = all(aim["met"] for aim in aims)
        kind = ("met" if met else "missed") if aims else "plain"
        end = left + row["ratio"] * scale
        parts.append(f'<text class="end" x="{left - 8}" y="{y + 11}">{escape(row["name"])}</text>')
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{y}" width="{end - left:.1f}" height="{_BAR}"/>'
        )
        parts.append(f'<text x="{end + 6:.1f}" y="{y + 11}">{row["ratio"]:.2f}</text>')
        for aim in aims:
            x = left + aim["wanted"] * scale
            parts.append(f'<path class="goal" d="M{x:.1f} {y - 3}v{_BAR + 6}"/>')
    return bottom + 40


def _draw_curves(parts: list[str], rows: Sequence[Mapping[str, Any]], top: int) -> int:
    """Milliseconds over percentiles, both logarithmic; returns where the next part begins."""
    parts.append(
        f'<text class="title" x="{_LEFT}" y="{top + 8}">'
        "Latency by percentile, milliseconds (logarithmic)</text>"
    )
    left, right = _LEFT + 50, WIDTH - _RIGHT - 20
    start, bottom = top + 28, top + 28 + _CURVES_HEIGHT
    points = [(share, ms) for row in rows for share, ms in row["curve"]]
    low = math.floor(math.log10(max(min(ms for _, ms in points), 0.1)))
    high = max(math.ceil(math.log10(max(ms for _, ms in points))), low + 1)
    rarest = max(_nines(share) for share, _ in points)
    first = min(_nines(share) for share, _ in points)

    def x_of(share: float) -> float:
        return left + (_nines(share) - first) / (rarest - first or 1) * (right - left)

    def y_of(ms: float) -> float:
        return bottom - (math.log10(max(ms, 10**low)) - low) / (high - low) * _CURVES_HEIGHT

    for power in range(low, high + 1):
        y = y_of(10**power)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(
            f'<text class="faint end" x="{left - 6}" y="{y + 4:.1f}">{10.0**power:g}</text>'
        )
    for share in sorted({share for share, _ in points}):
        x = x_of(share)
        parts.append(f'<path class="grid" d="M{x:.1f} {start}V{bottom}"/>')
        parts.append(
            f'<text class="faint middle" x="{x:.1f}" y="{bottom + 16}">p{share * 100:g}</text>'
        )
    for number, row in enumerate(rows):
        line = " ".join(f"{x_of(share):.1f},{y_of(ms):.1f}" for share, ms in row["curve"])
        parts.append(f'<polyline class="curve c{number % _COLOURS}" points="{line}"/>')
    return _draw_legend(parts, [str(row["name"]) for row in rows], bottom + 34)


def _draw_legend(parts: list[str], names: Iterable[str], top: int) -> int:
    y = top
    for number, name in enumerate(names):
        x = _LEFT + (number % 2) * (WIDTH // 2 - _LEFT)
        y = top + number // 2 * 18
        parts.append(f'<path class="curve c{number % _COLOURS}" d="M{x} {y - 4}h22"/>')
        parts.append(f'<text x="{x + 28}" y="{y}">{escape(name)}</text>')
    return y + 18


def _nines(share: float) -> float:
    """How rare a percentile is: 0.9 is 1, 0.99 is 2, 0.999 is 3."""
    return -math.log10(max(1 - share, 1e-6))
