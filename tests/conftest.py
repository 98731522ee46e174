"""The servers and the hub of a test run.

- `postgres_server`, `kafka_server`: real ones, started once, when a test first wants them.
- `database_url`: a database of the test's own, a copy of the migrated template.
- `hub`: a running hub (web and processor), shared by all tests; `workspace` is the test's own part of it.
- `own_hub`: a hub on servers of its own, with nothing running yet, for tests that break things.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.kafka import ensure_topics
from headwater.settings import KafkaSettings
from tests.hub import Hub, Workspace
from tests.servers import (
    copy_template,
    drop_database,
    make_template,
    running_kafka,
    running_postgres,
    temporary_folder,
)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path) -> Iterator[EmbeddedPostgres]:
    with running_postgres(servers_folder) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(servers_folder: Path) -> Iterator[EmbeddedKafka]:
    with running_kafka(servers_folder) as server:
        yield server


@pytest.fixture(scope="session")
async def template_database(postgres_server: EmbeddedPostgres) -> None:
    await make_template(postgres_server)


@pytest.fixture
async def database_url(
    postgres_server: EmbeddedPostgres, template_database: None
) -> AsyncIterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    yield await copy_template(postgres_server, name)
    await drop_database(postgres_server, name)


@pytest.fixture(scope="session")
async def hub(
    servers_folder: Path,
    postgres_server: EmbeddedPostgres,
    kafka_server: EmbeddedKafka,
    template_database: None,
) -> AsyncIterator[Hub]:
    url = await copy_template(postgres_server, "hub")
    await ensure_topics(KafkaSettings(bootstrap=kafka_server.bootstrap))
    running = Hub(servers_folder, url, kafka_server.bootstrap)
    try:
        await running.start_web()
        await running.start_processor()
        yield running
    finally:
        await running.close()
    assert running.errors() == []


@pytest.fixture
async def workspace(hub: Hub) -> Workspace:
    return await hub.create_workspace()


@dataclass(frozen=True, slots=True)
class OwnHub:
    """A hub whose servers belong to one test."""

    hub: Hub
    postgres: EmbeddedPostgres
    kafka: EmbeddedKafka


@pytest.fixture
async def own_hub() -> AsyncIterator[OwnHub]:
    with (
        temporary_folder() as folder,
        running_postgres(folder) as postgres,
        running_kafka(folder) as kafka,
    ):
        await make_template(postgres)
        url = await copy_template(postgres, "hub")
        await ensure_topics(KafkaSettings(bootstrap=kafka.bootstrap))
        hub = Hub(folder, url, kafka.bootstrap)
        try:
            yield OwnHub(hub, postgres, kafka)
        finally:
            await hub.close()
