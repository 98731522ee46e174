"""Kafka stands still: what is refused meanwhile must not turn up later, and nothing waits without a bound."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater.embedded.kafka import EmbeddedKafka
from tests.hub import Answer, Client, Hub, eventually, freeze, make_client
from tests.servers import web_beside

PRODUCE_SECONDS = 1.0


@pytest.fixture(scope="module")
def slow_hub(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    """A web process that waits for Kafka for a second, with room for 200 kB."""
    settings = {
        "HEADWATER_INGEST_PRODUCE_SECONDS": str(PRODUCE_SECONDS),
        "HEADWATER_INGEST_WAITING_BYTES": "200000",
    }
    with web_beside(hub, server_folder / "slow", settings) as slow:
        yield slow
        assert "Traceback" not in (slow.folder / "web.log").read_text(encoding="utf-8")


@pytest.fixture
async def client(slow_hub: Hub) -> AsyncIterator[Client]:
    async with make_client(slow_hub) as made:
        yield made


@contextmanager
def _frozen(kafka: EmbeddedKafka) -> Iterator[None]:
    assert kafka.process is not None
    freeze(kafka.process)
    try:
        yield
    finally:
        os.killpg(kafka.process.pid, signal.SIGCONT)


def _named(client: Client, name: str, **members: Any) -> Any:
    return client.event(properties={"title": name, **members})


async def _post(client: Client, name: str, **members: Any) -> Answer:
    return await client.call("POST", "/events", _named(client, name, **members))


def _is_refused(answer: Answer) -> None:
    assert (answer.status, answer.body["message"]) == (503, "try again later")
    assert int(answer.headers["Retry-After"]) >= 1


async def _titles_once_kafka_is_back(client: Client) -> set[str]:
    """The titles of all events in the feed, once one that is posted now has come through."""

    async def taken() -> bool:
        return (await _post(client, "after")).status == 202

    await eventually(taken, 30, "an event to be accepted again")

    async def there() -> set[str]:
        updates = await client.feed()
        titles = {u["entity"]["data"]["properties"]["title"] for u in updates}
        return titles if "after" in titles else set()

    found: set[str] = await eventually(there, 30, "the event after the freeze")
    return found - {"after", "before"}


async def test_what_was_refused_while_kafka_stood_still_is_never_stored(
    slow_hub: Hub, client: Client
) -> None:
    assert (await _post(client, "before")).status == 202
    with _frozen(slow_hub.kafka):
        started = time.monotonic()
        first = await _post(client, "under way")
        waited = time.monotonic() - started
        waiting = [_post(client, f"waits {n}") for n in range(40)]
        batch = {"events": [_named(client, f"in a batch {n}") for n in range(20)]}
        *others, refused = await asyncio.gather(
            *waiting, client.call("POST", "/events/batch", batch)
        )
    for answer in (first, *others, refused):
        _is_refused(answer)
    assert PRODUCE_SECONDS <= waited < PRODUCE_SECONDS + 2
    # the first was on its way to the broker when it fell asleep; all others never left the front door
    assert await _titles_once_kafka_is_back(client) <= {"under way"}


async def test_what_waits_for_kafka_is_bounded(slow_hub: Hub, client: Client) -> None:
    assert (await _post(client, "before")).status == 202
    filler = "x" * 20_000
    with _frozen(slow_hub.kafka):
        started = time.monotonic()

        async def refused_after(number: int) -> float:
            _is_refused(await _post(client, f"large {number}", url=f"https://e.com/{filler}"))
            return time.monotonic() - started

        times = sorted(await asyncio.gather(*(refused_after(n) for n in range(30))))
    at_once = [seconds for seconds in times if seconds < PRODUCE_SECONDS * 0.9]
    assert 15 <= len(at_once) < 30  # 9 of 20 kB fit into 200 kB
    assert times[-1] < PRODUCE_SECONDS + 2
    await _titles_once_kafka_is_back(client)
