"""Two web processes: what of them is one, though each has its own bounds."""

from __future__ import annotations

import aiohttp

from tests.hub import OPERATOR_TOKEN, Client, Hub, eventually


async def test_processes_share_one_limit(client: Client, tight_hub: Hub) -> None:

    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    limit, path = {"maxRequestsPerMinute": 20}, "/updates/last-offset"
    changed = await client.call("PUT", "/configuration/throttling", limit, headers=operator)
    assert changed.status == 200
    for _ in range(20):
        assert (await client.call("GET", path)).status == 200
    async with aiohttp.ClientSession(tight_hub.url) as http:
        there = Client(tight_hub, http, client.workspace_id, client.node_id, client.token)
        passed = 0

        async def is_refused() -> bool:
            nonlocal passed
            answer = await there.call("GET", path)
            passed += answer.status == 200
            return answer.status == 429

        await eventually(is_refused, 10, "the other process to know")
        assert passed <= 20
