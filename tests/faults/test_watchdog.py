"""A processor to which nothing comes ends, to be started again by its supervisor: aiokafka can fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer

from headwater.topics import CUSTOMERS, EVENTS, GROUP
from tests.hub import Hub, make_client, wait_for
from tests.servers import own_hub


@asynccontextmanager
async def _idle_members(hub: Hub) -> AsyncIterator[None]:
    """Two members of the group that are given its two partitions, being the first by name, and do nothing."""
    async with AsyncExitStack() as stack:
        for name in ("a", "b"):
            member = AIOKafkaConsumer(
                CUSTOMERS,
                EVENTS,
                bootstrap_servers=hub.kafka.bootstrap,
                client_id=name,
                group_id=GROUP,
                enable_auto_commit=False,
            )
            await member.start()
            stack.push_async_callback(member.stop)
        yield


async def test_a_processor_without_partitions_ends_when_nobody_applies_what_waits() -> None:
    with own_hub() as hub:
        hub.settings = {
            "HEADWATER_KAFKA_CUSTOMERS_PARTITIONS": "1",
            "HEADWATER_KAFKA_EVENTS_PARTITIONS": "1",
            "HEADWATER_PROCESSOR_WATCHDOG_SECONDS": "2",
        }
        await asyncio.to_thread(hub.start)
        async with make_client(hub) as client:
            assert (await client.call("POST", "/events", client.event())).status == 202
            await client.feed_of(1)
            await asyncio.to_thread(hub.stop_processor)
            async with _idle_members(hub):
                hub.start_processor()
                spare = hub.processors[0]
                assert (await client.call("POST", "/events", client.event())).status == 202
                await asyncio.to_thread(
                    wait_for, lambda: spare.poll() is not None, 30, "the processor to end"
                )
            [error] = hub.new_errors()
            assert "1 records wait and no partition comes" in error
            hub.start_processor()
            await client.feed_of(2)
