"""Kafka has lost what comes next: the processor says so and ends, instead of going on behind the hole."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.client import AIOKafkaAdminClient as Admin

from headwater.topics import EVENTS
from tests.hub import Client, Hub, freeze, make_client, wait_for
from tests.servers import own_hub


async def _expire_all(hub: Hub) -> None:
    """What retention does, at once."""
    consumer = AIOKafkaConsumer(bootstrap_servers=hub.kafka.bootstrap)
    admin: Admin = AIOKafkaAdminClient(bootstrap_servers=hub.kafka.bootstrap)
    await consumer.start()
    await admin.start()
    try:
        description: Any = (await admin.describe_topics([EVENTS]))[0]
        numbers = [partition["partition"] for partition in description["partitions"]]
        partitions = [TopicPartition(EVENTS, number) for number in numbers]
        ends = await consumer.end_offsets(partitions)
        await admin.delete_records(
            {partition: RecordsToDelete(before_offset=end) for partition, end in ends.items()}
        )
    finally:
        await admin.close()
        await consumer.stop()


async def _stored_offsets(hub: Hub) -> list[Any]:
    conn = await asyncpg.connect(hub.postgres.url)
    try:
        rows = await conn.fetch("SELECT * FROM consumer_offsets ORDER BY topic, partition")
        return [tuple(row) for row in rows]
    finally:
        await conn.close()


async def _apply_one(client: Client) -> None:
    answer = await client.call("POST", "/events", client.event(), headers={"Prefer": "wait=30"})
    assert answer.status == 201, answer


async def test_a_processor_that_runs_does_not_go_on_behind_a_hole() -> None:
    with own_hub() as hub:
        await asyncio.to_thread(hub.start)
        async with make_client(hub) as client:
            await _apply_one(client)
            process = hub.processors[0]
            # for less than its session, or it would be asked for its place again
            freeze(process)
            for _ in range(3):
                answer = await client.call("POST", "/events", client.event())
                assert answer.status == 202
            await _expire_all(hub)
            answer = await client.call("POST", "/events", client.event())
            assert answer.status == 202
            os.killpg(process.pid, signal.SIGCONT)
            await asyncio.to_thread(
                wait_for, lambda: process.poll() is not None, 30, "the processor to end"
            )
            offsets = await _stored_offsets(hub)
            hub.start_processor()
            again = hub.processors[0]
            await asyncio.to_thread(
                wait_for, lambda: again.poll() is not None, 30, "the processor to end again"
            )
            assert await _stored_offsets(hub) == offsets
            errors = hub.new_errors()
            assert len(errors) == 2
            assert all("RecordsLost" in error for error in errors), errors
            assert len(await client.feed()) <= 2  # the first, and one that was on its way to it
