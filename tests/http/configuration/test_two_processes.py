"""What one web process changes counts in another: at once for new tokens, within a second for dead ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.hub import OPERATOR_TOKEN, Client, Hub, eventually
from tests.servers import web_beside


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another web process of the same hub."""

    http: aiohttp.ClientSession

    async def status(self, client: Client, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(client.path("/configuration"), headers=headers) as answer:
            return answer.status


@asynccontextmanager
async def _elsewhere(hub: Hub) -> AsyncIterator[Elsewhere]:
    with web_beside(hub, hub.folder / "elsewhere") as other:
        async with aiohttp.ClientSession(other.url) as http:
            yield Elsewhere(http)


@pytest.fixture
async def elsewhere(hub: Hub) -> AsyncIterator[Elsewhere]:
    async with _elsewhere(hub) as made:
        yield made


async def _source(client: Client, method: str, rest: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    answer = await client.call(method, f"/configuration/sources{rest}", body, headers=headers)
    assert answer.status in {200, 201}, answer
    return answer.body


async def test_tokens_live_and_die_everywhere(client: Client, elsewhere: Elsewhere) -> None:
    # the other process has the workspace's configuration of before
    assert await elsewhere.status(client, client.token) == 200
    body = {"provider": "API", "name": "second", "nodes": [client.node_id]}
    made = await _source(client, "POST", "", body)
    assert await elsewhere.status(client, made["token"]) == 200

    fresh = await _source(client, "POST", f"/{made['id']}/refresh-token")
    await _within_a_second(client, elsewhere, made["token"])
    assert await elsewhere.status(client, fresh["token"]) == 200

    await _source(client, "PUT", f"/{made['id']}", {**fresh, "enabled": False})
    await _within_a_second(client, elsewhere, fresh["token"])
    await _source(client, "PUT", f"/{made['id']}", {**fresh, "enabled": True})
    assert await elsewhere.status(client, fresh["token"]) == 200

    await _source(client, "DELETE", f"/{made['id']}")
    await _within_a_second(client, elsewhere, fresh["token"])
    assert await elsewhere.status(client, client.token) == 200


async def _within_a_second(client: Client, elsewhere: Elsewhere, token: str) -> None:
    async def is_dead() -> bool:
        return await elsewhere.status(client, token) == 401

    # a second by the contract; another for a machine that runs other tests too
    await eventually(is_dead, 2, "the token to be dead elsewhere")
