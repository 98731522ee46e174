"""Real Postgres and real Kafka, started once per test run; a hub on top of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.postgres.migrate import create_database, migrate
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import PostgresSettings
from tests.hub import OPERATOR_TOKEN, Client, Hub, make_client
from tests.leaks import leaks_in
from tests.servers import temporary_folder

_numbers = itertools.count()

# a shell's background ignores Ctrl-C, and so would the processes that are to end on it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the brokers of tests live too short for the better compiler to pay: 2.5 s of processor time for each start
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def ports(server_folder: Path) -> dict[str, int]:
    return kept_ports(server_folder / "ports.json", ("postgres", "kafka", "controller", "web"))


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path, ports: dict[str, int]) -> Iterator[EmbeddedPostgres]:
    # nobody kills this one
    server = EmbeddedPostgres(server_folder / "postgres", ports["postgres"], fast_and_loose=True)
    server.start()
    asyncio.run(create_database(server.url_of("postgres"), "template_hub"))
    asyncio.run(migrate(server.url_of("template_hub")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_server(server_folder: Path, ports: dict[str, int]) -> Iterator[EmbeddedKafka]:
    """Launched only: `hub` waits for it, when it has a Postgres too."""
    server = EmbeddedKafka(server_folder / "kafka", ports["kafka"], ports["controller"])
    server.launch()
    yield server
    server.stop()


@pytest.fixture
async def database_url(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database of its own, at the present schema; it is dropped again, or the disk would be busy for long."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    server = postgres_server.url_of("postgres")
    await create_database(server, name, template="template_hub")
    yield postgres_server.url_of(name)
    conn = await asyncpg.connect(server)
    await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await conn.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    opened = await open_pool(PostgresSettings(database_url=database_url), max_size=4)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def hub(
    server_folder: Path,
    ports: dict[str, int],
    kafka_server: EmbeddedKafka,
    postgres_server: EmbeddedPostgres,
) -> Iterator[Hub]:
    """A running hub: a web process and a processor, that tests share."""
    kafka_server.wait()
    running = Hub(server_folder, postgres_server, kafka_server, ports["web"])
    running.start()
    yield running
    running.stop()
    assert leaks_in(server_folder) == []
    said_while_stopping = running.new_errors()
    assert not said_while_stopping, "\n".join(said_while_stopping)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the hub's logs with a test that failed."""
    report = yield
    hub = getattr(item, "funcargs", {}).get("hub")
    if report.failed and isinstance(hub, Hub):
        report.sections += hub.last_lines().items()
    return report


@pytest.fixture(autouse=True)
def _no_logged_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test fails when the shared hub logs an error meanwhile, unless it is marked to provoke it."""
    yield
    if "hub" not in request.fixturenames:
        return
    hub: Hub = request.getfixturevalue("hub")
    provoked = [
        sentence for mark in request.node.iter_markers("provokes") for sentence in mark.args
    ]
    errors = hub.new_errors(provoked)
    assert not errors, "\n".join(errors)


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[Client]:
    """A fresh workspace with an entry node and a source, and a session that calls it."""
    async with make_client(hub) as made:
        yield made


@pytest.fixture
async def stranger(hub: Hub) -> AsyncIterator[Client]:
    """Another workspace than `client`'s."""
    async with make_client(hub) as made:
        yield made


@pytest.fixture
async def operator(hub: Hub) -> AsyncIterator[aiohttp.ClientSession]:
    """The platform operator."""
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with aiohttp.ClientSession(hub.url, headers=headers) as http:
        yield http


@pytest.fixture
def unknown_id() -> str:
    return str(uuid.uuid4())
