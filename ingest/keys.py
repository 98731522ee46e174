"""Idempotency keys at the front door: another body under a known key is refused before it is accepted.

The processor decides what a key's outcome is, and that decision is in Postgres a moment later. An event is
answered before, so the keys that this process has accepted are remembered here too; between two processes
within that moment, and while Postgres is away, the processor finds the misuse and keeps it as a rejection.

Source: contacthub 2.12.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from headwater import metrics
from headwater.domain.ids import OperationId, WorkspaceId
from headwater.errors import Unavailable
from headwater.postgres.outcomes_read import find_fingerprints
from headwater.postgres.pool import Pool

QUERY_SECONDS = 1.0
"""How long a write waits for what Postgres knows of its key; it doesn't need to."""

REMEMBERED = 20_000
REMEMBERED_SECONDS = 3_600.0


@dataclass(slots=True)
class _Claim:
    fingerprint: str
    holders: int
    until: float


class Claims:
    """Which operation was accepted with which fingerprint; bounded, the oldest are forgotten first."""

    def __init__(self) -> None:
        self._claims: OrderedDict[UUID, _Claim] = OrderedDict()
        metrics.KNOWN_KEYS.read_by(lambda: len(self._claims))

    async def claim(
        self, pool: Pool, workspace_id: WorkspaceId, wanted: Mapping[UUID, str]
    ) -> set[UUID]:
        """Claim operations for their fingerprints; returns those that another fingerprint has.

        What is returned is not claimed; `release` the claimed ones if the write is not accepted.
        """
        taken = {operation for operation, mark in wanted.items() if not self._take(operation, mark)}
        try:
            async with asyncio.timeout(QUERY_SECONDS), pool.connection() as conn:
                ids = [OperationId(operation) for operation in wanted]
                known = await find_fingerprints(conn, workspace_id, ids)
        except (Unavailable, TimeoutError):
            return taken
        except BaseException:
            self.release({op: mark for op, mark in wanted.items() if op not in taken})
            raise
        # what the processor has decided counts more than what was accepted here
        decided = {operation for operation, mark in known.items() if mark != wanted[operation]}
        self.release({operation: wanted[operation] for operation in decided - taken})
        return (taken - known.keys()) | decided

    def release(self, claimed: Mapping[UUID, str]) -> None:
        """The writes were not accepted: their keys are free, unless others hold them too."""
        for operation, fingerprint in claimed.items():
            claim = self._claims.get(operation)
            if claim is not None and claim.fingerprint == fingerprint:
                claim.holders -= 1
                if not claim.holders:
                    del self._claims[operation]

    def _take(self, operation: UUID, fingerprint: str) -> bool:
        now = time.monotonic()
        claim = self._claims.get(operation)
        if claim is None or claim.until < now:
            self._claims[operation] = _Claim(fingerprint, 1, now + REMEMBERED_SECONDS)
            if len(self._claims) > REMEMBERED:
                self._claims.popitem(last=False)
            return True
        if claim.fingerprint != fingerprint:
            return False
        claim.holders += 1
        return True
