"""Servers of one test's own, for those that break them; the shared ones are in `conftest.py`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from tests.hub import Hub
from tests.leaks import leaks_in

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 6 * 1024**3
"""To be free for the servers of three processes of tests at once."""


def _disk() -> Path | None:
    """Where servers' data lie: in memory if there is room, else in the usual place.

    A database for each test is much work on a disk. Tests kill processes, not machines: what these have
    written is there afterwards, on either.
    """
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        return None
    found = os.statvfs(_MEMORY)
    return _MEMORY if found.f_bavail * found.f_frsize >= _ROOM_BYTES else None


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that the servers' unprivileged user may pass through (pytest's own are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-test-", dir=_disk()))
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
def running_servers(folder: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedKafka]]:
    """Both of these; one starts while the other does."""
    ports = kept_ports(folder / "server-ports.json", ("postgres", "kafka", "controller"))
    postgres = EmbeddedPostgres(folder / "postgres", ports["postgres"])
    kafka = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
    try:
        kafka.launch()
        postgres.start()
        kafka.wait()
        yield postgres, kafka
    finally:
        kafka.stop()
        postgres.stop()


@contextmanager
def own_hub() -> Iterator[Hub]:
    """A hub on servers of its own; of its own processes none runs before `start()`. It may log no errors."""
    with temporary_folder() as folder, running_servers(folder) as (postgres, kafka):
        web = kept_ports(folder / "web-ports.json", ("web",))["web"]
        hub = Hub(folder, postgres, kafka, web)
        try:
            yield hub
        finally:
            hub.stop()
        errors = hub.new_errors()
        assert not errors, "\n".join(errors)


@contextmanager
def web_beside(
    hub: Hub,
    folder: Path,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Hub]:
    """Another web process of `hub`, with settings and a log of its own.

    It may log no secrets and no errors.
    """
    folder.mkdir(exist_ok=True)
    port = kept_ports(folder / "ports.json", ("web",))["web"]
    beside = Hub(folder, hub.postgres, hub.kafka, port)
    beside.settings = {**hub.settings, **(settings or {})}
    try:
        beside.start_web()
        yield beside
    finally:
        beside.stop()
    assert leaks_in(folder) == []
    errors = beside.new_errors()
    assert not errors, "\n".join(errors)
