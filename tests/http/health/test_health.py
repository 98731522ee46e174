"""GET /health, /health/live, /health/ready at the root and below /hub/v1 (D2)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from headwater.embedded.child import spawn
from tests.http.callers import refused
from tests.hub import Client, Hub, eventually, make_client, wait_for
from tests.servers import web_beside

UP, DOWN = {"status": "UP"}, {"status": "DOWN"}
ROOTS = ("", "/hub/v1")


@pytest.fixture(scope="module")
def fragile_hub(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    settings = {"HEADWATER_HTTP_UNREADY_SECONDS": "2"}
    with web_beside(hub, server_folder / "fragile", settings) as fragile:
        yield fragile


async def _get(hub: Hub, path: str) -> tuple[int, object]:
    async with aiohttp.ClientSession(hub.url) as http, http.get(path) as answer:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["X-Tracing-ID"]
        return answer.status, await answer.json()


async def _until(hub: Hub, path: str, status: int, body: object) -> None:
    async def is_so() -> bool:
        return await _get(hub, path) == (status, body)

    await eventually(is_so, 60, f"{path} to say {status} {body}")


async def test_all_is_well(hub: Hub) -> None:
    for root in ROOTS:
        assert await _get(hub, f"{root}/health/live") == (200, UP)
        ready = {**UP, "components": {"kafka": UP}}
        assert await _get(hub, f"{root}/health/ready") == (200, ready)
        health = {**UP, "components": {"kafka": UP, "postgres": UP}}
        assert await _get(hub, f"{root}/health") == (200, health)


async def test_a_health_that_is_none(client: Client) -> None:
    async with client.http.post("/health") as answer:
        assert answer.status == 405
        body = await answer.json()
    assert body["message"] == "Request method 'POST' not supported"


async def test_without_postgres_it_is_ready_and_not_well(fragile_hub: Hub) -> None:
    await asyncio.to_thread(fragile_hub.postgres.stop)
    try:
        health = {**DOWN, "components": {"kafka": UP, "postgres": DOWN}}
        await _until(fragile_hub, "/health", 503, health)
        ready = {**UP, "components": {"kafka": UP}}
        assert await _get(fragile_hub, "/health/ready") == (200, ready)
    finally:
        await asyncio.to_thread(fragile_hub.postgres.start)
    await _until(fragile_hub, "/health", 200, {**UP, "components": {"kafka": UP, "postgres": UP}})


async def test_without_kafka_it_is_not_ready(fragile_hub: Hub) -> None:
    unready, ready = {**DOWN, "components": {"kafka": DOWN}}, {**UP, "components": {"kafka": UP}}
    assert fragile_hub.kafka.process is not None
    os.killpg(fragile_hub.kafka.process.pid, signal.SIGSTOP)  # connections stay open
    try:
        await _until(fragile_hub, "/health/ready", 503, unready)
        assert await _get(fragile_hub, "/health/live") == (200, UP)
    finally:
        os.killpg(fragile_hub.kafka.process.pid, signal.SIGCONT)
    await _until(fragile_hub, "/health/ready", 200, ready)
    await asyncio.to_thread(fragile_hub.kafka.kill)
    await _until(fragile_hub, "/health/ready", 503, unready)
    health = {**DOWN, "components": {"kafka": DOWN, "postgres": UP}}
    await _until(fragile_hub, "/health", 503, health)
    await asyncio.to_thread(fragile_hub.kafka.launch)
    await _until(fragile_hub, "/health/ready", 200, ready)


async def test_it_is_not_ready_while_it_starts_and_ends(fragile_hub: Hub) -> None:
    hub = fragile_hub
    unready, ready = {**DOWN, "components": {"kafka": DOWN}}, {**UP, "components": {"kafka": UP}}
    async with make_client(hub) as client:
        await asyncio.to_thread(hub.kafka.kill)
        await asyncio.to_thread(hub.kill_web)
        hub.web = spawn(
            [sys.executable, "-m", "deploy.single"],
            log=hub.folder / "web.log",
            environ=hub._environ(),
        )
        wait_for(lambda: _listens(hub), 30, "the web process to listen")
        assert await _get(hub, "/health/live") == (200, UP)
        assert await _get(hub, "/health/ready") == (503, unready)
        body = {"nodeId": client.node_id, "externalId": "a1"}
        answer = await client.call("POST", "/customers", body)
        refused(answer, 503, "try again later")
        assert answer.headers["Retry-After"] == "1"
        read = await client.call("GET", "/customers", params={"nodeId": client.node_id})
        assert read.status == 200
        await asyncio.to_thread(hub.kafka.launch)
        await _until(hub, "/health/ready", 200, ready)
        assert (await client.call("POST", "/customers", body)).status == 201

    assert hub.web is not None
    os.kill(hub.web.pid, signal.SIGTERM)
    await _until(hub, "/health/ready", 503, {**DOWN, "components": {"kafka": UP}})
    assert await _get(hub, "/health/live") == (200, UP)
    web = hub.web
    wait_for(lambda: web.poll() is not None, 15, "the web process to end")
    assert web.returncode == 0
    await asyncio.to_thread(hub.start_web)


def _listens(hub: Hub) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", hub.port)) == 0
