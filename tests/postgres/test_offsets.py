from __future__ import annotations

import pytest

from headwater.domain.ids import KafkaOffset
from headwater.errors import StaleConsumer
from headwater.postgres.offsets import move_offsets, read_offsets, start_offsets
from headwater.postgres.pool import Pool

ONE, OTHER = ("events", 0), ("events", 1)


def _at(one: int, other: int) -> dict[tuple[str, int], KafkaOffset]:
    return {ONE: KafkaOffset(one), OTHER: KafkaOffset(other)}


async def test_start_offsets_keeps_what_is_known(pool: Pool) -> None:
    async with pool.connection() as conn:
        await start_offsets(conn, {ONE: KafkaOffset(5)})
        await start_offsets(conn, _at(0, 7))
        assert await read_offsets(conn, [ONE, OTHER]) == _at(5, 7)


async def test_read_offsets_leaves_out_what_was_never_seen(pool: Pool) -> None:
    async with pool.connection() as conn:
        assert await read_offsets(conn, [ONE, OTHER]) == {}


async def test_move_offsets_moves_all_or_raises(pool: Pool) -> None:
    async with pool.connection() as conn:
        await start_offsets(conn, _at(5, 7))
        await move_offsets(conn, _at(5, 7), _at(10, 8))
        assert await read_offsets(conn, [ONE, OTHER]) == _at(10, 8)
    with pytest.raises(StaleConsumer, match=r"events.*1"):
        async with pool.transaction() as conn:
            await move_offsets(conn, _at(10, 7), _at(11, 8))  # the second stands elsewhere
    async with pool.connection() as conn:
        assert await read_offsets(conn, [ONE, OTHER]) == _at(10, 8)
