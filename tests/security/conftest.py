"""A web process with small limits beside the shared one, on the same Postgres and Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.hub import Client, Hub, make_client
from tests.servers import web_beside

LIMITS = {
    "HEADWATER_HTTP_HEAD_SECONDS": "1",
    "HEADWATER_HTTP_BODY_SECONDS": "1",
    "HEADWATER_HTTP_IDLE_SECONDS": "2",
    "HEADWATER_HTTP_SEND_SECONDS": "1",
}


@pytest.fixture(scope="module")
def narrow(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    with web_beside(hub, server_folder / "narrow", LIMITS) as running:
        yield running


@pytest.fixture
async def narrow_client(narrow: Hub) -> AsyncIterator[Client]:
    async with make_client(narrow) as made:
        yield made
