"""`headwater tail` as a person runs it, against a running hub."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.hub import Client, Hub

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]


def environ_of(client: Client, **others: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
    known = {
        "HEADWATER_URL": client.hub.url,
        "HEADWATER_WORKSPACE_ID": client.workspace_id,
        "HEADWATER_TOKEN": client.token,
    }
    return {**kept, **known, **others}


@asynccontextmanager
async def tailing(client: Client, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *HEADWATER,
        "tail",
        *options,
        env=environ_of(client),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode()


async def once(client: Client, *options: str) -> tuple[int | None, str, str]:
    """Exit code, output and errors of a `tail --once`."""
    async with tailing(client, "--once", *options) as process:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()


async def test_tail_prints_whole_updates_as_json(client: Client) -> None:
    await client.customer(externalId="a1")
    await client.customer(externalId="a2")
    feed = await client.feed_of(2)
    expected: list[Any] = [{"offset": n, **update} for n, update in enumerate(feed, 1)]
    code, out, _ = await once(client, "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, expected)
    code, out, _ = await once(client, "--json", "--from", "1")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, expected[1:])


async def test_tail_from_the_end_prints_what_comes_next_only(client: Client) -> None:
    await client.customer(externalId="a1")
    assert await once(client, "--from", "end") == (0, "", "")
    assert (await once(client, "--entity", "EVENT"))[:2] == (0, "")


async def test_tail_is_readable_follows_and_ends_on_ctrl_c(client: Client) -> None:
    customer = await client.customer(externalId="a1")
    async with tailing(client) as process:
        first = (await line_of(process)).split()
        assert first == [
            "1", customer["updatedAt"], "CREATE", "customer", "version", "0", customer["id"],
        ]  # fmt: skip
        event = client.event(customerId=customer["id"])
        posted = (await client.call("POST", "/events", event)).body["id"]
        second = (await line_of(process)).split()
        assert second[:1] + second[2:] == [
            "2", "CREATE", "event", "viewedPage", "WEB", posted, "of", customer["id"],
        ]  # fmt: skip
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_tail_outlives_the_front_door(hub: Hub, client: Client) -> None:
    await client.customer(externalId="a1")
    async with tailing(client, "--json") as process:
        assert json.loads(await line_of(process))["offset"] == 1
        await asyncio.to_thread(hub.kill_web)
        assert process.stderr is not None
        async with asyncio.timeout(60):
            told = (await process.stderr.readline()).decode()
        assert "trying again" in told
        await asyncio.to_thread(hub.start_web)
        for number in (2, 3):
            await client.customer(externalId=f"a{number}")
            assert json.loads(await line_of(process))["offset"] == number


async def test_tail_says_what_is_wrong(client: Client) -> None:
    code, out, err = await once(client, "--from", "yesterday")
    assert (code, out) == (2, "")
    assert "'yesterday' is no offset, start or end" in err
    code, out, err = await once(client, "--node", "123")
    assert (code, out, err) == (1, "", "Error: 404 node not found 123\n")
    client.token = "nobody"
    code, out, err = await once(client)
    assert code == 1
    assert "401 The client is not authorized to access the API" in err
