from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from headwater.embedded.jars import KAFKA, cache_folder, fetch_jars, read_lock


def test_the_lock_names_kafka_and_a_sum_for_every_jar() -> None:
    lock = read_lock()
    assert KAFKA in lock
    assert len(lock) == 45
    assert [c for c, digest in lock.items() if not re.fullmatch("[0-9a-f]{64}", digest)] == []


def test_the_cached_jars_are_what_the_lock_says() -> None:
    jars = fetch_jars()
    sums = [hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars]
    assert sums == list(read_lock().values())


def test_the_cache_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "headwater"
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
