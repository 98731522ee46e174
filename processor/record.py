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

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches that together do the same, one after the other."""
        middle = len(self.records) // 2
        first_records, second_records = self.records[:middle], self.records[middle:]
        reached = next_offsets_of(first_records)
        first = Batch(
            records=first_records,
            expected={partition: self.expected[partition] for partition in reached},
            next_offsets=reached,
        )
        touched = {(record.topic, record.partition) for record in second_records}
        second = Batch(
            records=second_records,
            expected={p: reached.get(p, self.expected[p]) for p in touched},
            next_offsets={p: self.next_offsets[p] for p in touched},
        )
        return first, second


def next_offsets_of(records: Sequence[Record]) -> dict[Partition, KafkaOffset]:
    """Per partition the offset behind its last record."""
    return {
        (record.topic, record.partition): KafkaOffset(record.kafka_offset + 1) for record in records
    }
