"""A replay of many whose Kafka goes away in between: what is replayed stays so, the rest is not lost."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import psutil
import pytest

from headwater import clock, wire
from headwater.domain.commands import Envelope, RecordEvent
from headwater.domain.ids import EventId, NodeId, OperationId, RejectionId, WorkspaceId
from headwater.postgres.outcomes import Rejection, write_rejections
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings
from tests.http.callers import refused
from tests.hub import Answer, Client, Hub, eventually, make_client
from tests.servers import web_beside

COUNT = 1_000


@pytest.fixture(scope="module")
def fragile_hub(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    """A fresh web process, whose memory is looked at."""
    with web_beside(hub, server_folder / "replaying") as fragile:
        yield fragile


def _rejection(client: Client, number: int) -> Rejection:
    event_id, accepted_at = EventId(uuid.uuid4()), clock.now() - timedelta(seconds=COUNT - number)
    event = client.event(properties={"title": str(number), "url": "https://x/" + "y" * 2_000})
    command = RecordEvent(
        envelope=Envelope(
            workspace_id=WorkspaceId(uuid.UUID(client.workspace_id)),
            operation_id=OperationId(event_id),
            caller="user:1",
            accepted_at=accepted_at,
            tracing_id="test",
            fingerprint="0" * 32,
        ),
        event_id=event_id,
        body=orjson.dumps(event),
    )
    return Rejection(
        id=RejectionId(event_id),
        entity_type="EVENT",
        type="viewedPage",
        node_id=NodeId(uuid.UUID(client.node_id)),
        reason="event_not_valid",
        status=400,
        message="source event is not valid",
        errors=[],
        caller="user:1",
        received_at=accepted_at,
        envelope=wire.header_of(wire.encode(command)[0]),
        payload=command.body,
    )


async def test_what_is_replayed_stays_so_and_the_rest_is_kept(fragile_hub: Hub) -> None:
    hub = fragile_hub
    async with make_client(hub) as client:
        kept = [_rejection(client, number) for number in range(COUNT)]
        pool = await open_pool(PostgresSettings(database_url=hub.postgres.url), max_size=1)
        async with pool.transaction() as conn:
            workspace_id = WorkspaceId(uuid.UUID(client.workspace_id))
            await write_rejections(conn, workspace_id, kept, clock.now())
        await pool.close()

        async def replay() -> Answer:
            return await client.call("POST", "/rejections/replay")

        replaying = asyncio.create_task(replay())
        await client.feed_of(1)
        await asyncio.to_thread(hub.kafka.kill)
        answer = await replaying
        error = answer.body["errors"][0]["message"] if answer.status == 503 else ""
        await asyncio.to_thread(hub.kafka.launch)
        if answer.status == 503:
            count = re.fullmatch(
                r"(\d+) writes were replayed until then, repeat the call for the others", error
            )
            assert count is not None
            assert int(count[1]) < COUNT  # 0: those that are under way count once Kafka has said so
            refused(answer, 503, "try again later", (error, ""))
        else:  # it was faster than the kill
            assert (answer.status, answer.body) == (202, {"matched": COUNT, "replayed": COUNT})

        async def replayed() -> bool:
            return (await replay()).status == 202

        await eventually(replayed, 60, "Kafka to be back")
        updates = await client.feed_of(COUNT, 60)
        stored = sorted(update["entity"]["data"]["id"] for update in updates)
        assert stored == sorted(str(rejection.id) for rejection in kept)


async def test_memory_does_not_grow_with_their_number(fragile_hub: Hub) -> None:
    assert fragile_hub.web is not None
    process = psutil.Process(fragile_hub.web.pid)
    async with make_client(fragile_hub) as client:
        pool = await open_pool(PostgresSettings(database_url=fragile_hub.postgres.url), max_size=1)
        async with pool.transaction() as conn:
            workspace_id = WorkspaceId(uuid.UUID(client.workspace_id))
            kept = [_rejection(client, number) for number in range(COUNT)]
            kept = [  # 60 MB in all
                replace(rejection, payload=rejection.payload + b" " * 60_000) for rejection in kept
            ]
            await write_rejections(conn, workspace_id, kept, clock.now())
        await pool.close()
        before = process.memory_info().rss
        replaying = asyncio.create_task(client.call("POST", "/rejections/replay"))
        peak = before
        while not replaying.done():
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.01)
        assert (await replaying).body == {"matched": COUNT, "replayed": COUNT}
        assert peak - before < 40_000_000, f"{(peak - before) / 1e6:.0f} MB more"
