"""A workspace to write into, straight through the statements."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headwater.cli.provision import Demo, make_demo


@pytest.fixture
async def demo(database_url: str) -> Demo:
    """A workspace with an entry node."""
    return await make_demo(database_url)


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
