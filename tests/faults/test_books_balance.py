"""Processes and servers die in the middle of the work; afterwards the books balance.

accepted = applied + rejected, the feed is dense, nothing is there twice.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from tests.hub import Client, Hub, eventually, wait_for

LOAD = 3_000
BATCH = 100


async def _post_events(client: Client, count: int) -> list[str]:
    """Post events until `count` are accepted; a refused batch is posted again under its key."""
    accepted: list[str] = []
    for number in range(count // BATCH):
        events = [client.event(properties={"title": f"{number}-{n}"}) for n in range(BATCH)]

        async def posted(number: int = number, events: list[Any] = events) -> list[str]:
            try:
                answer = await client.call(
                    "POST",
                    "/events/batch",
                    {"events": events},
                    headers={"Idempotency-Key": f"batch-{number}"},
                )
            except (aiohttp.ClientError, TimeoutError):
                return []
            if answer.status != 202:
                return []
            return [result["id"] for result in answer.body["results"]]

        accepted += await eventually(posted, 60, "a batch to be accepted")
    return accepted


async def _books_balance(client: Client, accepted: list[str]) -> None:
    updates = await client.feed_of(len(accepted), 90)
    assert [u["operation"] for u in updates] == ["CREATE"] * len(accepted)
    stored = [u["entity"]["data"]["id"] for u in updates]
    assert len(set(stored)) == len(stored)
    assert set(stored) == set(accepted)
    rejected = await client.call("GET", "/rejections")
    assert rejected.body["page"]["totalElements"] == 0


async def _under_load(client: Client, disturb: Callable[[], Awaitable[None]]) -> None:
    posting = asyncio.create_task(_post_events(client, LOAD))
    await client.feed_of(200)
    await disturb()
    await _books_balance(client, await posting)


async def test_the_processor_is_killed_again_and_again(hub: Hub, client: Client) -> None:
    async def disturb() -> None:
        for _ in range(3):
            seen = len(await client.feed())
            await asyncio.to_thread(hub.kill_processor)
            hub.start_processor()
            await client.feed_of(min(seen + 100, LOAD))

    await _under_load(client, disturb)


async def test_the_front_door_is_killed(hub: Hub, client: Client) -> None:
    async def disturb() -> None:
        await asyncio.to_thread(hub.kill_web)
        hub.start_web()

    await _under_load(client, disturb)


async def test_postgres_is_killed(hub: Hub, client: Client) -> None:
    async def disturb() -> None:
        hub.postgres.kill()
        hub.postgres.start()

    await _under_load(client, disturb)


async def test_events_are_accepted_while_postgres_is_stopped(hub: Hub, client: Client) -> None:
    await _post_events(client, BATCH)
    await client.feed_of(BATCH)
    hub.postgres.stop()
    try:
        answers = [await client.call("POST", "/events", client.event()) for _ in range(20)]
        read = await client.call("GET", "/updates")
        ready = await client.http.get("/health/ready")
        healthy = await client.http.get("/health")
    finally:
        hub.postgres.start()
    assert {answer.status for answer in answers} == {202}
    assert (read.status, read.body["message"]) == (503, "try again later")
    assert (ready.status, healthy.status) == (200, 503)
    updates = await client.feed_of(BATCH + 20)
    stored = {u["entity"]["data"]["id"] for u in updates}
    assert {answer.body["id"] for answer in answers} <= stored


async def test_kafka_is_killed(hub: Hub, client: Client) -> None:
    posting = asyncio.create_task(_post_events(client, LOAD))
    await client.feed_of(200)
    hub.kafka.kill()
    event, headers = client.event(), {"Idempotency-Key": "while kafka is away"}
    refused = await client.call("POST", "/events", event, headers=headers)
    hub.kafka.launch()
    assert (refused.status, refused.body["message"]) == (503, "try again later")
    assert refused.headers["Retry-After"]

    async def taken() -> Any:
        answer = await client.call("POST", "/events", event, headers=headers)
        return answer.body["id"] if answer.status == 202 else None

    accepted = [await eventually(taken, 60), *await posting]
    await _books_balance(client, accepted)


async def test_a_paused_processor_wakes_after_its_partitions_moved(
    hub: Hub, client: Client
) -> None:
    posting = asyncio.create_task(_post_events(client, LOAD))
    await client.feed_of(200)
    zombie = hub.processors[0]
    os.killpg(zombie.pid, signal.SIGSTOP)
    hub.start_processor(1)
    accepted = await posting
    await client.feed_of(len(accepted), 90)  # the second took over
    os.killpg(zombie.pid, signal.SIGCONT)
    more = await _post_numbered(client, "after")
    await _books_balance(client, accepted + more)
    wait_for(lambda: zombie.poll() is None, 1, "the first to live on")
    await asyncio.to_thread(hub.stop_processor, 1)
    more += await _post_numbered(client, "alone")
    await _books_balance(client, accepted + more)


async def _post_numbered(client: Client, name: str) -> list[str]:
    events = [client.event(properties={"title": f"{name}-{n}"}) for n in range(BATCH)]
    answer = await client.call("POST", "/events/batch", {"events": events})
    assert answer.status == 202
    return [result["id"] for result in answer.body["results"]]
