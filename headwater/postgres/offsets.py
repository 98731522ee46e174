"""The consumer's offsets, kept where the effects are. Source: design.md, invariant 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from headwater.domain.ids import KafkaOffset
from headwater.errors import StaleConsumer
from headwater.postgres import statements
from headwater.postgres.pool import Connection

SQL = statements.load("offsets")

Partition: TypeAlias = tuple[str, int]
"""Topic and partition number."""

Offsets: TypeAlias = Mapping[Partition, KafkaOffset]


async def read_offsets(
    conn: Connection, partitions: list[Partition]
) -> dict[Partition, KafkaOffset]:
    """The next offset to apply of each partition that has ever been applied."""
    rows = await conn.fetch(
        SQL["read_offsets"],
        [topic for topic, _ in partitions],
        [number for _, number in partitions],
    )
    return {(row["topic"], row["partition"]): KafkaOffset(row["next_offset"]) for row in rows}


async def start_offsets(conn: Connection, offsets: Offsets) -> None:
    """Remember where partitions begin that were never seen. Those known stay."""
    await conn.execute(
        SQL["start_offsets"],
        [topic for topic, _ in offsets],
        [number for _, number in offsets],
        list(offsets.values()),
    )


async def move_offsets(conn: Connection, expected: Offsets, next_offsets: Offsets) -> None:
    """Move every partition of a batch from where it began to where it ends.

    Raises:
        StaleConsumer: another process moved one of them first; roll back, drop the batch, seek again.
    """
    partitions = list(expected)
    rows = await conn.fetch(
        SQL["move_offsets"],
        [topic for topic, _ in partitions],
        [number for _, number in partitions],
        [expected[partition] for partition in partitions],
        [next_offsets[partition] for partition in partitions],
    )
    moved = {(row["topic"], row["partition"]) for row in rows}
    if moved != set(partitions):
        stale = {
            partition: expected[partition] for partition in partitions if partition not in moved
        }
        raise StaleConsumer(f"offsets have moved: expected {stale}")
