"""The table of `make bench` can be read."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from bench.report import Aim, Row, at_least, at_most, show

ROWS = [
    Row(
        name="singles, 64 connections",
        unit="requests/s",
        value=12_345,
        floor=23_456,
        cpu_ratio=0.53,
        aims=[at_least("ratio", 0.5, 0.7), at_most("p99 ms", 12, 30), at_most("failed", 0, 0)],
        more={"p50 ms": 3.2, "p99 ms": 12.1},
        cpu={"web": 123_456, "postgres": 1_234_567},
    ),
    Row(
        name="cdnow, to the feed",
        unit="writes/s",
        value=12_345,
        aims=[
            at_least("records per CPU second", 5_000, 8_000),
            Aim(text="USD 2,500,315.63 = 2,500,315.63", met=True),
        ],
        more={"per processor CPU s": 12_345.6, "again, seconds": 12.3},
        cpu={"processor": 123_456, "postgres": 1_234_567},
        peak_mb={"web": 123, "processor": 123},
    ),
]


@pytest.mark.parametrize("width", [150, 250])
def test_every_row_has_its_name_and_nothing_is_cut(width: int) -> None:
    out = StringIO()
    show(ROWS, Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for row in ROWS:
        told = [row.name, row.unit, *(aim.text for aim in row.aims), *row.more, *row.cpu]
        assert {word for each in told for word in each.split()} <= {*words, *_bare(words)}
    assert "…" not in text


def _bare(words: list[str]) -> list[str]:
    return [word.rstrip(":") for word in words]
