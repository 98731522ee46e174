"""Servers of one test's own, for those that break them; the shared ones are in `conftest.py`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from tests.hub import Hub


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that the servers' unprivileged user may pass through (pytest's own are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres whose database `headwater` is empty."""
    ports = kept_ports(folder / "postgres-ports.json", ("postgres",))
    server = EmbeddedPostgres(folder / "postgres", ports["postgres"])
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def running_kafka(folder: Path) -> Iterator[EmbeddedKafka]:
    """A Kafka without topics."""
    ports = kept_ports(folder / "kafka-ports.json", ("kafka", "controller"))
    server = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def own_hub() -> Iterator[Hub]:
    """A hub on servers of its own; nothing of it runs before `start()`."""
    with (
        temporary_folder() as folder,
        running_postgres(folder) as postgres,
        running_kafka(folder) as kafka,
    ):
        web = kept_ports(folder / "web-ports.json", ("web",))["web"]
        hub = Hub(folder, postgres, kafka, web)
        try:
            yield hub
        finally:
            hub.stop()
        assert hub.new_errors() == []
