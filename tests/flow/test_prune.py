"""`headwater feed prune` beside a running hub."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.cli.conftest import headwater
from tests.flow.test_tail import HEADWATER, environ_of
from tests.hub import Client


async def _prune(client: Client, *options: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *HEADWATER,
        "feed",
        "prune",
        "--workspace",
        client.workspace_id,
        *options,
        env=environ_of(client, HEADWATER_DATABASE_URL=client.hub.postgres.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_what_is_pruned_is_gone_and_what_is_kept_stays(client: Client) -> None:
    gone = await client.customer(externalId="gone")
    posted = await client.call(
        "POST", "/events", client.event(customerId=gone["id"]), headers={"Prefer": "wait=10"}
    )
    kept = await client.customer(externalId="kept")
    assert posted.status == 201
    assert (await client.call("DELETE", f"/customers/{gone['id']}")).status == 200
    feed = await client.feed_of(5)
    code, out = await _prune(client, "--before-offset", "4", "--batch", "2")
    assert code == 0
    assert out.splitlines() == [
        "dropped 2 updates, 1 documents, 0 deleted customers and events",
        "dropped 3 updates, 1 documents, 0 deleted customers and events",
        "earliest offset is 4",
    ]
    expired = await client.call("GET", "/updates", params={"offset": "2"})
    assert (expired.status, expired.body["message"]) == (410, "offset expired")
    assert expired.body["errors"][0]["message"] == "earliest offset is 4"
    assert await client.feed(3) == feed[3:]
    assert (await client.call("GET", f"/customers/{kept['id']}")).body == kept
    code, out = await _prune(client, "--older-than", "0s")
    assert code == 0
    assert out.endswith("2 deleted customers and events\nearliest offset is 6\n")
    assert await _prune(client, "--older-than", "0s") == (
        0,
        "nothing to drop\nearliest offset is 6\n",
    )
    assert (await client.call("GET", f"/customers/{kept['id']}")).body == kept
    again = await client.customer(externalId="gone")
    assert (await client.feed(5))[0]["entity"]["data"] == again


async def test_prune_says_what_is_wrong(client: Client) -> None:
    code, out = await _prune(client)
    assert code == 2
    assert "say how far: --before-offset or --older-than" in out
    code, out = await _prune(client, "--older-than", "a week")
    assert code == 2
    assert "'a week' is no age, expected e.g. 30d, 12h, 90m" in out
    assert await _prune(client, "--older-than", "999999d") == (
        0,
        "nothing to drop\nearliest offset is 1\n",
    )
    client.workspace_id = client.node_id
    code, out = await _prune(client, "--before-offset", "4")
    assert (code, out) == (1, f"Error: no workspace {client.node_id}\n")


async def test_prune_finds_the_hub_that_runs_in_the_folder(client: Client, tmp_path: Path) -> None:
    prune = ("feed", "prune", "--workspace", client.workspace_id, "--before-offset", "1")
    # not any Postgres that happens to listen at the usual port
    nowhere = await headwater(*prune, HEADWATER_HOME=str(tmp_path))
    assert nowhere.status == 1
    assert f"no hub runs in {tmp_path} and HEADWATER_DATABASE_URL is not set" in nowhere.error
    (tmp_path / "servers.env").write_text(f"HEADWATER_DATABASE_URL={client.hub.postgres.url}\n")
    done = await headwater(*prune, HEADWATER_HOME=str(tmp_path))
    assert (done.status, done.out) == (0, "nothing to drop\nearliest offset is 1\n"), done
