"""What a process remembers is bounded: the oldest goes, and is asked for again."""

from __future__ import annotations

import uuid

import pytest

from headwater import configuration
from headwater.configuration import ConfigCache
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import WorkspaceId
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings
from headwater.validation import extended
from headwater.validation.extended import ExtendedChecks


def _config(*names: str) -> WorkspaceConfig:
    return WorkspaceConfig(
        id=WorkspaceId(uuid.uuid4()),
        version=1,
        name="shop",
        nodes={},
        sources={},
        customer_extended={name: {"type": "string"} for name in names},
    )


async def test_of_too_many_configurations_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "REMEMBERED", 2)
    cache = ConfigCache(await open_pool(PostgresSettings()))
    first, second, third = (_config() for _ in range(3))
    for config in (first, second, third):
        cache._keep(config)
    assert [cache.cached(config.id) for config in (first, second, third)] == [None, second, third]
    assert cache.known == 2


def test_compiled_rules_of_too_many_workspaces_are_compiled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extended, "REMEMBERED", 3)
    checks = ExtendedChecks()
    configs = [_config("card") for _ in range(10)]
    for config in (*configs, configs[0]):
        assert checks.customer({"card": "1"}, config, "/extended") == ({"card": "1"}, ())
        assert len(checks._rules) <= 3
