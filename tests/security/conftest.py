"""A web process with small limits beside the shared one, on the same Postgres and Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.embedded.ports import kept_ports
from tests.hub import Client, Hub, make_client
from tests.leaks import leaks_in

LIMITS = {
    "HEADWATER_HTTP_HEAD_SECONDS": "1",
    "HEADWATER_HTTP_BODY_SECONDS": "1",
    "HEADWATER_HTTP_IDLE_SECONDS": "2",
    "HEADWATER_HTTP_SEND_SECONDS": "1",
}


class NarrowHub(Hub):
    """Only its web process is its own."""

    def __init__(self, hub: Hub, folder: Path, limits: Mapping[str, str]) -> None:
        port = kept_ports(folder / "ports.json", ("web",))["web"]
        super().__init__(folder, hub.postgres, hub.kafka, port)
        self._limits = limits

    def _environ(self) -> dict[str, str]:
        return {**super()._environ(), **self._limits}


@contextmanager
def running_web(hub: Hub, folder: Path, limits: Mapping[str, str]) -> Iterator[NarrowHub]:
    folder.mkdir(exist_ok=True)
    running = NarrowHub(hub, folder, limits)
    try:
        running.start_web()
        yield running
    finally:
        running.stop()
    assert leaks_in(folder) == []
    assert running.new_errors() == []


@pytest.fixture(scope="module")
def narrow(hub: Hub, server_folder: Path) -> Iterator[NarrowHub]:
    with running_web(hub, server_folder / "narrow", LIMITS) as running:
        yield running


@pytest.fixture
async def narrow_client(narrow: NarrowHub) -> AsyncIterator[Client]:
    async with make_client(narrow) as made:
        yield made
