"""A Kafka record, and the batch of them that one transaction takes. No record travels without its position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from headwater.domain.ids import KafkaOffset
from headwater.postgres.offsets import Partition


@dataclass(slots=True, kw_only=True)  # not frozen: half the time, and many are made
class Record:
    topic: str
    partition: int
    kafka_offset: KafkaOffset
    headers: Sequence[tuple[str, bytes]]
    value: bytes
    written_ms: int

    @property
    def written_at(self) -> datetime:
        return datetime.fromtimestamp(self.written_ms / 1000, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records in the order they are applied, and per partition where the batch begins and ends.

    `expected` is what Postgres must hold for the batch to be applied, `next_offsets` what it holds after.
    """

    records: tuple[Record, ...]
    expected: Mapping[Partition, KafkaOffset] = field(default_factory=dict)
    next_offsets: Mapping[Partition, KafkaOffset] = field(default_factory=dict)

    def split(self, size: int) -> list[Batch]:
        """Batches of at most `size` records that do the same, one after the other."""
        if len(self.records) <= size:
            return [self]
        batches = []
        reached = dict(self.expected)
        for start in range(0, len(self.records), size):
            records = self.records[start : start + size]
            next_offsets = next_offsets_of(records)
            expected = {partition: reached[partition] for partition in next_offsets}
            batches.append(Batch(records=records, expected=expected, next_offsets=next_offsets))
            reached |= next_offsets
        return batches


def next_offsets_of(records: Sequence[Record]) -> dict[Partition, KafkaOffset]:
    """Per partition the offset behind its last record."""
    return {
        (record.topic, record.partition): KafkaOffset(record.kafka_offset + 1) for record in records
    }
