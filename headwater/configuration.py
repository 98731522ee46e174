"""The cache of workspace configurations of a process.

A ticker asks once for the versions of all that are cached and reloads those that moved, so a change
works everywhere within a second. While Postgres is away the cache goes on as it is: the front door
outlives the database (design.md, invariant 8).
"""

from __future__ import annotations

import asyncio

import structlog

from headwater.clock import sleep_until
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import WorkspaceId
from headwater.errors import Contended, Unavailable
from headwater.postgres.config import (
    read_config_versions,
    read_platform_version,
    read_workspace_config,
)
from headwater.postgres.pool import Pool

log = structlog.get_logger()

TICK_SECONDS = 0.4

REMEMBERED = 10_000
"""Beyond it the one that was first asked for goes, until it is asked for again."""


class ConfigCache:
    """Configurations by workspace. `run` keeps them fresh until `stop`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._configs: dict[WorkspaceId, WorkspaceConfig] = {}
        self.platform_version = 0
        """Raised when users of the platform change; who caches them compares."""

    @property
    def known(self) -> int:
        """How many are remembered."""
        return len(self._configs)

    async def of(self, workspace_id: WorkspaceId) -> WorkspaceConfig | None:
        """The configuration, from the cache if it is there; None for an unknown workspace.

        Raises:
            Unavailable: it is not cached and Postgres is away.
        """
        config = self._configs.get(workspace_id)
        return config if config is not None else await self.reload(workspace_id)

    def cached(self, workspace_id: WorkspaceId) -> WorkspaceConfig | None:
        """The configuration if it is in the cache: the same object until it changes."""
        return self._configs.get(workspace_id)

    async def present(self, workspace_id: WorkspaceId) -> WorkspaceConfig | None:
        """The configuration of this moment: the cached one, if Postgres says that it has not moved."""
        config = self._configs.get(workspace_id)
        async with self._pool.connection() as conn:
            versions = await read_config_versions(conn, [workspace_id])
        if config is not None and versions.get(workspace_id) == config.version:
            return config
        return await self.reload(workspace_id)

    async def reload(self, workspace_id: WorkspaceId) -> WorkspaceConfig | None:
        """The configuration as Postgres has it now; for whoever has just changed it."""
        async with self._pool.connection() as conn:
            config = await read_workspace_config(conn, workspace_id)
        if config is None:
            self._configs.pop(workspace_id, None)
        else:
            self._keep(config)
        return config

    def _keep(self, config: WorkspaceConfig) -> None:
        # of two readings that overlap the older one must not win: a dead token would live again
        cached = self._configs.get(config.id)
        if cached is None or cached.version <= config.version:
            self._configs[config.id] = config
            if len(self._configs) > REMEMBERED:
                del self._configs[next(iter(self._configs))]

    async def refresh(self) -> None:
        """Reload what has moved."""
        async with self._pool.connection() as conn:
            self.platform_version = await read_platform_version(conn)
            versions = await read_config_versions(conn, list(self._configs))
            for workspace_id, config in list(self._configs.items()):
                if versions.get(workspace_id) == config.version:
                    continue
                fresh = await read_workspace_config(conn, workspace_id)
                if fresh is None:
                    self._configs.pop(workspace_id, None)
                else:
                    self._keep(fresh)

    async def run(self, stop: asyncio.Event) -> None:
        """Refresh until `stop`."""
        away = False
        while not stop.is_set():
            try:
                await self.refresh()
            except (Unavailable, Contended) as exc:
                if not away:
                    log.warning("postgres is away, configuration stays as it is", error=str(exc))
                away = True
            else:
                away = False
            await sleep_until(stop, TICK_SECONDS)
