"""(d) From POST to visible in the feed at half load, read by long poll.

Half load is half of what the whole chain sustains on this machine, from the POST to the feed. Half of what
the front door alone takes (leg a) is shown too: where all parts share two cores it is nearly all that they can do.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp
import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Paced, percentile, post, run
from bench.report import MEMORY_MB, Row, at_most

CONNECTIONS = 256
SUSTAINED = 20_000
"""Events that measure what the chain sustains."""
PATIENCE_SECONDS = 120


async def measure(context: Context) -> list[Row]:
    """Open loop: each event is posted at its time, whatever became of those before."""
    servers = context.servers
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    sustained = await _sustained(context)
    rows = [await _measure(context, "half load", sustained / 2, aim_ms=250)]
    if context.singles_rate is not None:
        rows.append(await _measure(context, "half of leg a", context.singles_rate / 2))
    return rows


async def _sustained(context: Context) -> float:
    """Events a second from the first POST until the last one is applied."""
    servers = context.servers
    requests = [
        post(f"{servers.base}/events", orjson.dumps(order(servers.demo, n)), servers.demo.token)
        for n in range(SUSTAINED)
    ]
    with progress("d what the chain sustains", SUSTAINED) as tick:
        started = time.perf_counter()
        await run(servers.ports["web"], requests, CONNECTIONS, tick)
        await servers.drained()
        return SUSTAINED / (time.perf_counter() - started)


async def _measure(context: Context, load: str, rate: float, *, aim_ms: float | None = None) -> Row:
    servers = context.servers
    count = int(rate * context.sizes.visible_seconds)
    sent: dict[str, float] = {}
    seen: list[float] = []
    url = f"http://127.0.0.1:{servers.ports['web']}{servers.base}/updates"
    headers = {"Authorization": f"Bearer {servers.demo.token}"}
    before = servers.usage()
    with progress(f"d post to visible, {rate:,.0f}/s", count) as tick:
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.get(f"{url}/last-offset") as answer:
                offset = (await answer.json())["lastOffset"]

            async def follow() -> None:
                nonlocal offset
                while len(seen) < count:
                    params = {"offset": str(offset), "wait": "5", "size": "4000"}
                    async with http.get(url, params=params) as answer:
                        page = orjson.loads(await answer.read())
                    now = time.perf_counter()
                    offset = page["nextOffset"]
                    arrived = [
                        (now - sent[update["entity"]["data"]["properties"]["orderId"]]) * 1000
                        for update in page["updates"]
                    ]
                    seen.extend(arrived)
                    tick(len(arrived))

            following = asyncio.create_task(follow())
            statuses = await _post_paced(context, rate, count, sent)
            await asyncio.wait_for(following, PATIENCE_SECONDS)
    used = servers.usage().minus(before)
    assert set(statuses) == {202}, statuses
    p99 = percentile(seen, 0.99)
    peaks = {name: servers.peak_mb(name) for name in ("web", "processor")}
    return Row(
        name=f"d post to visible in the feed, {load}",
        unit="ms (p50)",
        value=percentile(seen, 0.5),
        aims=[
            *([] if aim_ms is None else [at_most("p99 ms", p99, aim_ms)]),
            *(at_most(f"{name} MB", peak, MEMORY_MB) for name, peak in peaks.items()),
        ],
        more={"p99 ms": p99, "events/s": rate},
        cpu={name: seconds / count * 1e6 for name, seconds in used.items()},
        peak_mb=peaks,
    )


async def _post_paced(
    context: Context, rate: float, count: int, sent: dict[str, float]
) -> dict[int, int]:
    servers = context.servers
    paced = Paced(servers.ports["web"], CONNECTIONS)
    await paced.open()
    started = time.perf_counter()
    stamp = time.time_ns()
    for number in range(count):
        event = order(servers.demo, number)
        name = f"visible-{stamp}-{number}"
        event["properties"] = {**event["properties"], "orderId": name}
        request = post(f"{servers.base}/events", orjson.dumps(event), servers.demo.token)
        due = started + number / rate
        ahead = due - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        sent[name] = due  # its time, not when a connection came free: no coordinated omission
        await paced.send(request)
    return await paced.close()
