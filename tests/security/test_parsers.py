"""Fuzzing: each parser reads any bytes, or refuses them as documented, in bounded time and memory.

`FUZZ_EXAMPLES=100000 .venv/bin/pytest tests/security/test_parsers.py -k mutated` looks for longer. What it finds goes
into `corpus/<parser>`, where it is read by every run.
"""

from __future__ import annotations

import gzip
import os
import time
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.parsers import PARSERS

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
SIZE = 65_535
SECONDS = 2.0
"""What any input may take; most take less than a millisecond, and this machine may be busy."""

EACH = pytest.mark.parametrize("name", PARSERS)
TOKENS = [
    b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b'"', b"'", b"\\u0000", b"\\ud800", b"%00",
    b"%ff", b"-", b"--", b"-1", b"0", b"1e400", b"9" * 25, b"NaN", b"null", b"true", b"[]", b"{}", b"[", b"}", b",",
    b";q=2", b";", b"=", b"&", b".", b":", b"+", b" ", b"T", b"Z", b"24:00", b"2024-02-30", b"9999-12-31",
    b"0001-01-01T00:00:00+23:59", b"$ref", b"::ffff:1.2.3.4/97", b"/0", "\u0661\u00df\U0001f600".encode(),
]  # fmt: skip


def _seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@st.composite
def _mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few places made worse."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        middle = draw(
            st.sampled_from(TOKENS)
            | st.binary(max_size=4)
            | st.just(data[start:end] * 2)
            | st.sampled_from(seeds)
        )
        data = data[:start] + middle + data[end:]
    return data[:SIZE]


def test_every_parser_has_a_corpus_and_back() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(PARSERS)
    assert all(_seeds(name) for name in PARSERS)


@EACH
def test_the_corpus_is_read_or_refused(name: str) -> None:
    for path in sorted((CORPUS / name).iterdir()):
        PARSERS[name](path.read_bytes())


@EACH
def test_what_is_mutated_is_read_or_refused(name: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=timedelta(seconds=SECONDS),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(data=_mutated(_seeds(name)) | st.binary(max_size=300))
    def read(data: bytes) -> None:
        PARSERS[name](data)

    read()


UNITS = [
    b"0", b"9", b"-", b" ", b"[", b"{", b'"', b"\\", b",", b";", b"=", b"&", b".", b"a", b"T", b"%", b"\xff", b"\n",
    b"[]", b'{"a":', b'"a":1,', b"a=1&", b"wait=1,", b"sort=id&", b"fields=id&", b"type=x&", b"a,", b"a.", b"1.",
    b'{"a":1}\n', b"id,", b"base.", b"A=\n", b"\x1f\x8b\x08\x00", "\u00df".encode(),
]  # fmt: skip


@EACH
def test_the_same_over_and_over_costs_little(name: str) -> None:
    """65,535 bytes of it, as a body may have; headers and URLs are shorter."""
    for unit in UNITS:
        for data in (
            (unit * SIZE)[:SIZE],
            b'{"a":"' + (unit * SIZE)[: SIZE - 8] + b'"}',
            b"sort=" + (unit * SIZE)[: SIZE - 5],
        ):
            tracemalloc.start()
            began = time.process_time()
            PARSERS[name](data)
            seconds = time.process_time() - began
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert seconds < SECONDS, (unit, data[:20], seconds)
            assert peak < 200 * SIZE, (unit, data[:20], peak)


@pytest.mark.parametrize("nested", [False, True])
def test_a_gzip_bomb_is_not_unpacked(nested: bool) -> None:
    bomb = gzip.compress(bytes(50_000_000), mtime=0)
    if nested:
        bomb = gzip.compress(bomb, mtime=0)
    tracemalloc.start()
    PARSERS["gzip_body"](bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
