"""`headwater doctor` on a hub of which one part after another is down."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from headwater.embedded.child import stop
from tests.cli.conftest import Done, headwater, hub_of
from tests.hub import Client, eventually, make_client
from tests.servers import own_hub


async def _doctor(client: Client) -> Done:
    return await headwater("doctor", **hub_of(client))


async def _is_well(client: Client) -> bool:
    done = await _doctor(client)
    return (done.status, "The hub is well." in done.out) == (0, True)


async def _is_unready(client: Client) -> bool:
    async with client.http.get("/health/ready") as answer:
        return answer.status == 503


async def _customers(client: Client) -> list[Any]:
    found = await client.call("GET", "/customers", params={"nodeId": client.node_id})
    elements: list[Any] = found.body["elements"]
    return elements


async def _assert_stuck(client: Client, step: str, hint: str) -> None:
    done = await _doctor(client)
    assert done.status == 1, done
    assert f"stuck at: {step}\n" in done.error
    assert hint in done.error
    assert "The hub is well." not in done.out


async def test_it_names_the_part_that_is_down() -> None:
    with own_hub() as hub:
        await asyncio.to_thread(hub.start)
        async with make_client(hub) as client:
            assert await _is_well(client)

            await asyncio.to_thread(hub.stop_processor)
            await _assert_stuck(client, "a customer is merged", "no processor applied it")
            hub.start_processor()
            # the probe that got stuck is applied now; the next run deletes it
            await client.feed_of(5)
            await eventually(lambda: _is_well(client), 60, "a processor")
            assert await _customers(client) == []

            await asyncio.to_thread(hub.postgres.stop)
            await _assert_stuck(client, "Postgres answers", "is Postgres running?")
            await asyncio.to_thread(hub.postgres.start)
            await eventually(lambda: _is_well(client), 60, "Postgres")

            await asyncio.to_thread(hub.kafka.stop)
            # the hub remembers for a second that Kafka has answered
            await eventually(lambda: _is_unready(client), 10, "Kafka to be missed")
            await _assert_stuck(client, "Kafka takes writes", "is Kafka running?")
            await asyncio.to_thread(hub.kafka.start)
            await eventually(lambda: _is_well(client), 60, "Kafka")

            assert hub.web is not None
            await asyncio.to_thread(stop, hub.web, signal.SIGTERM, 10)
            await _assert_stuck(client, "the hub answers", "is the hub running")


async def test_it_names_a_wrong_token_workspace_and_node(client: Client) -> None:
    assert await _is_well(client)
    for name, step in (
        ("HEADWATER_TOKEN", "the feed can be read"),
        ("HEADWATER_WORKSPACE_ID", "the feed can be read"),
        ("HEADWATER_NODE_ID", "the node is there"),
    ):
        done = await headwater("doctor", **{**hub_of(client), name: "wrong"})
        assert done.status == 1
        assert f"stuck at: {step}\n" in done.error
        assert name in done.error


async def test_it_leaves_no_customer_and_has_what_a_node_asks_for(client: Client) -> None:
    assert await _is_well(client)
    assert await _customers(client) == []
    unique = ["base.contacts.email", "base.dob"]
    mandatory = ["base.lastName", "base.address.geo.lat", "base.address.geo.lon"]
    async with make_client(client.hub, unique=unique, mandatory=mandatory) as other:
        assert await _is_well(other)
