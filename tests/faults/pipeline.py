"""Processors without Kafka: each lane is one with partitions of its own, on one real database.

For races that want thousands of transactions side by side, and the exact moment.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from headwater import clock, wire
from headwater.cli.provision import Demo
from headwater.domain.commands import (
    Command,
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    Envelope,
    PatchCustomer,
    RecordEvent,
)
from headwater.domain.ids import CustomerId, EventId, KafkaOffset, OperationId, SessionId
from headwater.postgres.offsets import start_offsets
from headwater.postgres.pool import Pool
from headwater.settings import ProcessorSettings
from headwater.topics import CUSTOMERS
from headwater.validation import Validator, load_schemas
from processor.batch import Answer, Parts
from processor.isolate import apply_whatever_comes
from processor.record import Batch, Record

SETTINGS = ProcessorSettings(instance="lane", retry_seconds=0.01)
VALIDATOR = Validator(load_schemas())


class Lane:
    """One processor with a partition of its own."""

    def __init__(self, pool: Pool, number: int) -> None:
        self.parts = Parts(pool=pool, validator=VALIDATOR, clock=clock.now)
        self.partition = (CUSTOMERS, number)
        self.next_offset = 0
        self._stop = asyncio.Event()

    def batch(self, commands: Sequence[Command]) -> Batch:
        """What the consumer would have fetched next."""
        records = []
        for kafka_offset, command in enumerate(commands, self.next_offset):
            headers, value = wire.encode(command)
            records.append(
                Record(
                    topic=self.partition[0],
                    partition=self.partition[1],
                    kafka_offset=KafkaOffset(kafka_offset),
                    headers=headers,
                    value=value,
                    written_ms=0,
                )
            )
        after = self.next_offset + len(records)
        return Batch(
            records=tuple(records),
            expected={self.partition: KafkaOffset(self.next_offset)},
            next_offsets={self.partition: KafkaOffset(after)},
        )

    async def apply(self, *commands: Command) -> list[Answer]:
        """Apply one batch, as patiently as the processor does."""
        if self.next_offset == 0:
            async with self.parts.pool.connection() as conn:
                await start_offsets(conn, {self.partition: KafkaOffset(0)})
        batch = self.batch(commands)
        answers = await apply_whatever_comes(batch, self.parts, SETTINGS, self._stop)
        self.next_offset += len(commands)
        return answers


class Writer:
    """Makes commands about one workspace."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo

    def envelope(self, **members: Any) -> Envelope:
        made = Envelope(
            workspace_id=self.demo.workspace_id,
            operation_id=OperationId(uuid.uuid4()),
            caller="user:0",
            accepted_at=clock.now(),
            tracing_id="t",
            fingerprint="f" * 32,
            answered=True,
        )
        return replace(made, **members)

    def create(self, external_id: str | None, **members: Any) -> CreateCustomer:
        body = {"nodeId": str(self.demo.node_id), "externalId": external_id, **members}
        return CreateCustomer(
            envelope=self.envelope(),
            customer_id=CustomerId(uuid.uuid4()),
            body=orjson.dumps(body),
        )

    def patch(self, customer_id: CustomerId, **members: Any) -> PatchCustomer:
        return PatchCustomer(
            envelope=self.envelope(), customer_id=customer_id, body=orjson.dumps(members)
        )

    def delete(self, customer_id: CustomerId) -> DeleteCustomer:
        return DeleteCustomer(envelope=self.envelope(), customer_id=customer_id)

    def session(self, customer_id: CustomerId, value: str) -> CreateSession:
        return CreateSession(
            envelope=self.envelope(),
            customer_id=customer_id,
            session_id=SessionId(uuid.uuid4()),
            body=orjson.dumps({"value": value}),
        )

    def event(self, value: str, kind: str = "SESSION_ID", **members: Any) -> RecordEvent:
        back = {"type": kind, "value": value, "nodeId": str(self.demo.node_id)}
        body = {
            "type": "viewedPage",
            "context": "WEB",
            "properties": {"url": "https://example.com/"},
            "bringBackProperties": back,
        }
        return RecordEvent(
            envelope=self.envelope(**members),
            event_id=EventId(uuid.uuid4()),
            body=orjson.dumps(body),
        )
