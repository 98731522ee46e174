"""Offsets are moved without comparing: a zombie applies again what another processor has applied."""

from __future__ import annotations

from typing import Any

import processor.batch


def plant() -> None:
    async def move_offsets(conn: Any, expected: Any, next_offsets: Any) -> None:
        for topic, partition in expected:
            await conn.execute(
                "update consumer_offsets set next_offset = $3 where topic = $1 and partition = $2",
                topic,
                partition,
                next_offsets[topic, partition],
            )

    processor.batch.move_offsets = move_offsets  # type: ignore[attr-defined]
