"""Offsets are committed before the transaction: what a crash interrupts is lost."""

from __future__ import annotations

from typing import Any

import processor.batch
import processor.isolate
from headwater.postgres.offsets import move_offsets


def plant() -> None:
    right = processor.batch.apply_batch
    moved: set[int] = set()

    async def apply_batch(batch: Any, parts: Any, **options: Any) -> Any:
        if id(batch) not in moved:  # a batch that is repeated has moved them already
            async with parts.pool.transaction() as conn:
                await move_offsets(conn, batch.expected, batch.next_offsets)
            moved.clear()
            moved.add(id(batch))
        return await right(batch, parts, **options)

    async def nothing(*_: Any) -> None:
        """They have moved."""

    processor.batch.move_offsets = nothing  # type: ignore[assignment, attr-defined]
    processor.isolate.apply_batch = apply_batch  # type: ignore[attr-defined]
