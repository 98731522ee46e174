from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.embedded.jars import JarsBroken, cache_folder, fetch_jars, keep, read_lock
from headwater.embedded.maven import KAFKA

DEAD = "http://127.0.0.1:9"
"""A proxy that is not there: how a machine without a network looks."""


def test_the_lock_names_kafka_and_a_sum_for_every_jar() -> None:
    lock = read_lock()
    assert KAFKA in lock
    assert len(lock) == 45
    assert [c for c, digest in lock.items() if not re.fullmatch("[0-9a-f]{64}", digest)] == []


def test_the_cached_jars_are_what_the_lock_says() -> None:
    jars = fetch_jars()
    sums = [hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars]
    assert sums == list(read_lock().values())


def test_what_can_not_be_kept_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("HEADWATER_CACHE", str(cache))
    cache.write_text("a file where a folder is meant")
    with pytest.raises(JarsBroken, match="HEADWATER_CACHE"):
        fetch_jars()


def _fetch_without_a_network(cache: Path) -> subprocess.CompletedProcess[str]:
    script = "from headwater.embedded.jars import fetch_jars; fetch_jars()"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), DEAD)
    environ = {**os.environ, **proxies, "NO_PROXY": "", "no_proxy": ""}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, "HEADWATER_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_a_download_without_a_network_is_said_and_can_be_repeated(tmp_path: Path) -> None:
    done = _fetch_without_a_network(tmp_path / "cache")
    assert "can't be fetched" in done.stderr, done.stderr
    assert "JarsBroken" in done.stderr
    assert list((tmp_path / "cache").rglob("*.jar")) == []
    assert list((tmp_path / "cache").glob("maven-*")) == []


@pytest.mark.parametrize("broken", [b"", b"broken"])
def test_a_broken_jar_in_the_cache_is_fetched_again(tmp_path: Path, broken: bytes) -> None:
    folder = tmp_path / "cache" / "kafka"
    shutil.copytree(fetch_jars()[0].parent, folder)
    assert _fetch_without_a_network(tmp_path / "cache").returncode == 0
    (jar,) = folder.glob("kafka-clients-*.jar")
    jar.write_bytes(broken)
    done = _fetch_without_a_network(tmp_path / "cache")
    assert "org.apache.kafka:kafka-clients:4.3.1 can't be fetched" in done.stderr, done.stderr


def test_a_jar_that_is_not_what_the_lock_says_is_not_kept(tmp_path: Path) -> None:
    coordinates = next(iter(read_lock()))
    fetched = tmp_path / "fetched.jar"
    fetched.write_bytes(b"broken")
    kept = tmp_path / "kept.jar"
    with pytest.raises(JarsBroken, match="the lock says"):
        keep(coordinates, fetched, "0" * 64, kept)
    assert not kept.exists()
    keep(coordinates, fetched, hashlib.sha256(b"broken").hexdigest(), kept)
    assert kept.read_bytes() == b"broken"


def test_the_cache_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "headwater"
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
