"""From POST to visible in the feed at half of what the whole chain sustains, read by long poll."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiohttp
import orjson

from bench.context import Context, progress
from bench.documents import order
from bench.load import Paced, curve, percentile, post, run
from bench.report import MEMORY_MB, Row, at_most

CONNECTIONS = 256
SUSTAINED = 20_000
"""Events that tell what the chain sustains, if leg sustain did not run."""
WARM_UP_SECONDS = 3
"""Of the first reader, who opens connections to Postgres that prepare their statements."""

PATIENCE_SECONDS = 120
NAME = "visible-"


async def measure(context: Context) -> list[Row]:
    """Open loop: each event is posted at its time, whatever became of those before."""
    servers = context.servers
    await servers.start_web()
    await servers.start_processor()
    await servers.drained()
    sustained = context.sustained or await _sustained(context)
    return [await _measure(context, sustained / 2)]


async def _sustained(context: Context) -> float:
    """Events a second from the first POST until the last one is applied."""
    servers = context.servers
    count = min(SUSTAINED, context.sizes.singles)
    requests = [
        post(f"{servers.base}/events", orjson.dumps(order(servers.demo, n)), servers.demo.token)
        for n in range(count)
    ]
    with progress("visible: what the chain sustains", count) as tick:
        started = time.perf_counter()
        await run(servers.ports["web"], requests, CONNECTIONS, tick)
        await servers.drained()
        return count / (time.perf_counter() - started)


async def _measure(context: Context, rate: float) -> Row:
    servers, pace = context.servers, context.pace
    warm_up = int(rate * min(WARM_UP_SECONDS, context.sizes.visible_seconds))
    count = warm_up + int(rate * context.sizes.visible_seconds)
    seen: list[tuple[int, float]] = []
    url = f"http://127.0.0.1:{servers.ports['web']}{servers.base}/updates"
    headers = {"Authorization": f"Bearer {servers.demo.token}"}
    paced = Paced(servers.ports["web"], CONNECTIONS, rate)
    before = servers.usage()
    with progress(f"visible, {rate:,.0f}/s", count) as tick:
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.get(f"{url}/last-offset") as answer:
                offset = (await answer.json())["lastOffset"]

            async def follow() -> None:
                nonlocal offset
                while len(seen) < count:
                    params = {"offset": str(offset), "wait": "5", "size": "4000"}
                    async with http.get(url, params=params) as answer:
                        body = await answer.read()
                    now = time.perf_counter()
                    page = orjson.loads(body)
                    offset = page["nextOffset"]
                    names = [u["entity"]["data"]["properties"]["orderId"] for u in page["updates"]]
                    numbers = [int(n.removeprefix(NAME)) for n in names if n.startswith(NAME)]
                    seen.extend((number, now) for number in numbers)
                    tick(len(numbers))

            following = asyncio.create_task(follow())
            await paced.run(_events(context, count))
            await asyncio.wait_for(following, PATIENCE_SECONDS)
    used = servers.usage().minus(before)
    assert not paced.load.failed(202), paced.load.statuses
    # since each was due, not since it was sent
    latencies = [(now - paced.dues[number]) * 1000 for number, now in seen if number >= warm_up]
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    peaks = {name: servers.peak_mb(name) for name in ("web", "processor")}
    return Row(
        name="visible in the feed at half load",
        unit="ms (p50)",
        value=p50,
        aims=[
            pace.at_most("p50 ms", p50, 30),
            pace.at_most("p99 ms", p99, 100),
            at_most("p99 ms, as it stands", p99, 250),
            *(at_most(f"{name} MB", peak, MEMORY_MB) for name, peak in peaks.items()),
        ],
        more={"p99 ms": p99, "events/s": rate, "POST p99 ms": paced.load.percentile(0.99)},
        cpu={name: seconds / count * 1e6 for name, seconds in used.items()},
        peak_mb=peaks,
        curve=curve(latencies),
    )


def _events(context: Context, count: int) -> Iterator[bytes]:
    servers = context.servers
    for number in range(count):
        event = order(servers.demo, number)
        event["properties"] = {**event["properties"], "orderId": f"{NAME}{number}"}
        yield post(f"{servers.base}/events", orjson.dumps(event), servers.demo.token)
