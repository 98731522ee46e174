"""A second web process on the shared servers, with bounds that a test can reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.hub import Client, Hub, make_client
from tests.servers import web_beside

PLACES = 80
"""A workspace that is alone gets half of them."""

REQUEST_BYTES = 262_144
CONNECTIONS = 120
SEND_SECONDS = 1.5


@pytest.fixture(scope="package")
def tight_hub(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    """It shares the processor of `hub`."""
    settings = {
        "HEADWATER_HTTP_REQUESTS": str(PLACES),
        "HEADWATER_HTTP_REQUEST_BYTES": str(REQUEST_BYTES),
        "HEADWATER_HTTP_CONNECTIONS": str(CONNECTIONS),
        "HEADWATER_HTTP_SEND_SECONDS": str(SEND_SECONDS),
        "HEADWATER_STREAM_READERS": "4",
    }
    with web_beside(hub, server_folder / "tight", settings) as tight:
        yield tight


@pytest.fixture
async def crowd(tight_hub: Hub) -> AsyncIterator[Client]:
    """The workspace that floods."""
    async with make_client(tight_hub) as made:
        yield made


@pytest.fixture
async def honest(tight_hub: Hub) -> AsyncIterator[Client]:
    """Another one, that wants little."""
    async with make_client(tight_hub) as made:
        yield made
