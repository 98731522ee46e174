from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headwater.embedded.ahead import ahead_file, ahead_options
from headwater.embedded.jars import fetch_jars
from headwater.embedded.java import find_java
from headwater.embedded.kafka import EmbeddedKafka, rehearse
from tests.servers import running_kafka, temporary_folder


def test_kafka_starts_with_what_the_setup_has_rehearsed(kafka_server: EmbeddedKafka) -> None:
    kafka_server.wait()
    kept = ahead_file(find_java(), fetch_jars())
    assert kept is not None
    assert kafka_server.process is not None
    assert str(kept) in Path(f"/proc/{kafka_server.process.pid}/maps").read_text()
    assert rehearse(fetch_jars()) is None


def test_other_jars_and_another_java_have_nothing_kept(tmp_path: Path) -> None:
    java, jars = find_java(), fetch_jars()
    again = Path(shutil.copyfile(jars[0], tmp_path / jars[0].name))
    assert ahead_file(java, [again, *jars[1:]]) != ahead_file(java, jars)
    assert ahead_options(java, [again, *jars[1:]]) == []
    assert ahead_options(tmp_path / "bin" / "java", jars) == []


def test_kafka_starts_without_it_and_with_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(fetch_jars()[0].parent, tmp_path / "kafka")
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path))
    java, jars = find_java(), fetch_jars()
    assert ahead_options(java, jars) == []
    broken = ahead_file(java, jars)
    assert broken is not None
    broken.write_bytes(b"broken")
    assert ahead_options(java, jars) != []
    with temporary_folder() as folder, running_kafka(folder) as server:
        server.wait()
