"""`python -m bench`: measure, print a table with ratios, write JSON."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console
from rich.table import Table

from headwater.cli.provision import Demo, make_demo
from headwater.embedded.child import spawn, stop
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import is_open, kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.kafka import ensure_topics
from headwater.postgres.migrate import migrate
from headwater.settings import KafkaSettings

SINGLES = int(os.environ.get("BENCH_SINGLES", "20000"))
BULK = int(os.environ.get("BENCH_BULK", "200000"))
CONNECTIONS = 64
EXAMPLE = Path(__file__).parent.parent / "examples" / "cdnow_orders.csv"

console = Console()


def order(demo: Demo, number: int) -> dict[str, Any]:
    """An event of about 1,000 bytes."""
    products = [
        {
            "id": f"p-{n}",
            "sku": f"sku-{n}",
            "name": "A product with a name",
            "price": 12.5,
            "quantity": 2,
        }
        for n in range(7)
    ]
    return {
        "type": "completedOrder",
        "context": "ECOMMERCE",
        "date": "2026-01-01T10:00:00Z",
        "properties": {"orderId": f"o-{number}", "amount": {"total": 175.0}, "products": products},
        "bringBackProperties": {
            "type": "SESSION_ID",
            "value": f"s-{number % 5000}",
            "nodeId": str(demo.node_id),
        },
    }


class Row:
    """A line of the table."""

    def __init__(
        self, name: str, unit: str, value: float, floor: float | None, **more: float
    ) -> None:
        self.name, self.unit, self.value, self.floor, self.more = name, unit, value, floor, more

    @property
    def ratio(self) -> float | None:
        return None if not self.floor else self.value / self.floor


async def posts(
    url: str, bodies: list[bytes], token: str, connections: int
) -> tuple[float, list[float], int]:
    """Requests a second, latencies in ms, failures."""
    latencies: list[float] = []
    failures = 0
    pending = iter(bodies)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:

        async def worker() -> None:
            nonlocal failures
            for body in pending:
                started = time.perf_counter()
                async with http.post(url, data=body) as answer:
                    await answer.read()
                    failures += answer.status != 202
                latencies.append((time.perf_counter() - started) * 1000)

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(connections)))
        return len(bodies) / (time.perf_counter() - started), latencies, failures


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000)[int(share * 1000) - 1]


def usage(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """CPU seconds and resident MB of a process."""
    seen = psutil.Process(process.pid)
    times = seen.cpu_times()
    return times.user + times.system, seen.memory_info().rss / 1e6


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > limit:
            raise TimeoutError("the bench waited too long")
        await asyncio.sleep(0.02)


async def measure(folder: Path) -> list[Row]:
    ports = kept_ports(folder / "ports.json", ("postgres", "kafka", "controller", "web", "floor"))
    postgres = EmbeddedPostgres(folder / "postgres", ports["postgres"])
    kafka = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
    children: list[subprocess.Popen[bytes]] = []
    rows: list[Row] = []
    try:
        postgres.start()
        kafka.launch()
        await until(lambda: _true(is_open(ports["kafka"])))
        settings = KafkaSettings(bootstrap=kafka.bootstrap)
        await ensure_topics(settings)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("headwater.bench", 4, 1)])
        await admin.close()
        await migrate(postgres.url)
        demo = await make_demo(postgres.url)
        environ = {
            **os.environ,
            "HEADWATER_DATABASE_URL": postgres.url,
            "HEADWATER_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "HEADWATER_HTTP_PORT": str(ports["web"]),
        }
        web = spawn(
            [sys.executable, "-m", "deploy.single"], log=folder / "web.log", environ=environ
        )
        floor = spawn(
            [sys.executable, "-m", "bench.floor", str(ports["floor"])],
            log=folder / "floor.log",
            environ=environ,
        )
        children += [web, floor]
        await until(lambda: _true(is_open(ports["web"]) and is_open(ports["floor"])))
        base = f"http://127.0.0.1:{ports['web']}/hub/v1/workspaces/{demo.workspace_id}"

        console.print("single posts ...")
        singles = [json.dumps(order(demo, n)).encode() for n in range(SINGLES)]
        bare = f"http://127.0.0.1:{ports['floor']}/events"
        await posts(bare, singles[:2000], demo.token, CONNECTIONS)
        floor_rate, _, _ = await posts(bare, singles, demo.token, CONNECTIONS)
        await posts(f"{base}/events", singles[:2000], demo.token, CONNECTIONS)
        rate, latencies, failed = await posts(f"{base}/events", singles, demo.token, CONNECTIONS)
        rows.append(
            Row("a single posts", "requests/s", rate, floor_rate, p50_ms=percentile(latencies, 0.5),
                p99_ms=percentile(latencies, 0.99), failed=failed)
        )  # fmt: skip
        children.remove(floor)
        floor.kill()

        console.print("batches of 100 ...")
        batches = [
            json.dumps({"events": [order(demo, n) for n in range(start, start + 100)]}).encode()
            for start in range(0, BULK, 100)
        ]
        rate, latencies, failed = await posts(f"{base}/events/batch", batches, demo.token, 16)
        cpu, memory = usage(web)
        rows.append(
            Row("b batches of 100", "events/s", rate * 100, None, p99_ms=percentile(latencies, 0.99),
                failed=failed, web_cpu_s=cpu, web_mb=memory)
        )  # fmt: skip

        console.print("drain ...")
        queued = SINGLES + 2000 + BULK
        processor = spawn(
            [sys.executable, "-m", "processor"], log=folder / "p.log", environ=environ
        )
        children.append(processor)
        conn = await asyncpg.connect(postgres.url)

        async def drained() -> bool:
            count = await conn.fetchval(
                "SELECT last_offset FROM feeds WHERE workspace_id = $1", demo.workspace_id
            )
            return bool(count >= queued)

        started = time.perf_counter()
        await until(drained, 600)
        seconds = time.perf_counter() - started
        cpu, memory = usage(processor)
        copied = await _copy_floor(conn)
        rows.append(
            Row("c drain", "events/s", queued / seconds, copied, per_cpu_second=queued / cpu,
                cpu_s_per_million=cpu / queued * 1e6, processor_mb=memory)
        )  # fmt: skip

        console.print("post to visible ...")
        rows.append(await _latency(base, demo, rows[0].value / 2))
        console.print("feed pages ...")
        for size in (1000, 4000):  # one after the other: each wants the machine for itself
            rows += [await _pages(conn, base, demo, size)]
        await conn.close()

        console.print("the real data set ...")
        started = time.perf_counter()
        known = {
            **environ,
            "HEADWATER_URL": f"http://127.0.0.1:{ports['web']}",
            "HEADWATER_WORKSPACE_ID": str(demo.workspace_id),
            "HEADWATER_NODE_ID": str(demo.node_id),
            "HEADWATER_TOKEN": demo.token,
        }
        loader = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from headwater.cli import main; main()", "load", "cdnow", str(EXAMPLE),
            env=known, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if await loader.wait():
            raise RuntimeError("loading the real data set failed")
        rows.append(
            Row(
                "f real data set",
                "writes/s",
                (23_570 + 69_659) / (time.perf_counter() - started),
                None,
            )
        )
    finally:
        for child in children:
            stop(child, signal.SIGTERM, 5)
        kafka.stop()
        postgres.stop()
    return rows


async def _true(value: bool) -> bool:
    return value


async def _copy_floor(conn: Any) -> float:
    """Rows a second of a bare COPY of the same event rows."""
    rows = await conn.fetch("SELECT * FROM events LIMIT 50000")
    await conn.execute("CREATE TABLE bench_copy (LIKE events INCLUDING ALL)")
    records = [tuple(row) for row in rows]
    started = time.perf_counter()
    for start in range(0, len(records), 1000):
        await conn.copy_records_to_table("bench_copy", records=records[start : start + 1000])
    seconds = time.perf_counter() - started
    await conn.execute("DROP TABLE bench_copy")
    return len(records) / seconds


async def _latency(base: str, demo: Demo, rate: float) -> Row:
    """POST to visible in the feed, at half load."""
    headers = {"Authorization": f"Bearer {demo.token}"}
    sent: dict[str, float] = {}
    seen: list[float] = []
    count = min(int(rate * 5), 10_000)
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.get(f"{base}/updates/last-offset") as answer:
            offset = (await answer.json())["lastOffset"]

        async def follow() -> None:
            nonlocal offset
            while len(seen) < count:
                params = {"offset": str(offset), "wait": "5", "size": "4000"}
                async with http.get(f"{base}/updates", params=params) as answer:
                    page = await answer.json()
                now = time.perf_counter()
                offset = page["nextOffset"]
                for update in page["updates"]:
                    posted = sent.get(update["entity"]["data"]["properties"].get("orderId", ""))
                    if posted is not None:
                        seen.append((now - posted) * 1000)

        async def post(number: int) -> None:
            event = order(demo, number)
            event["properties"]["orderId"] = f"latency-{number}"
            sent[f"latency-{number}"] = time.perf_counter()
            async with http.post(f"{base}/events", json=event) as answer:
                await answer.read()

        following = asyncio.create_task(follow())
        started = time.perf_counter()
        tasks = []
        for number in range(count):
            ahead = started + number / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            tasks.append(asyncio.create_task(post(number)))
        await asyncio.gather(*tasks)
        await asyncio.wait_for(following, 60)
    return Row("d post to visible", "ms (p50)", percentile(seen, 0.5), None, p99_ms=percentile(seen, 0.99),
               at_per_s=rate)  # fmt: skip


async def _pages(conn: Any, base: str, demo: Demo, size: int) -> Row:
    headers = {"Authorization": f"Bearer {demo.token}"}
    count = 0
    async with aiohttp.ClientSession(headers=headers) as http:
        offset, started = 0, time.perf_counter()
        while count < 100_000:
            async with http.get(
                f"{base}/updates", params={"offset": str(offset), "size": str(size)}
            ) as answer:
                await answer.read()
            offset += size
            count += size
        rate = count / (time.perf_counter() - started)
    started = time.perf_counter()
    for offset in range(0, 100_000, size):
        await conn.fetch(
            "SELECT e.document FROM updates u JOIN events e ON e.workspace_id = u.workspace_id "
            "AND e.id = u.entity_id WHERE u.workspace_id = $1 AND u.feed_offset > $2 "
            "AND u.feed_offset <= $2 + $3 ORDER BY u.feed_offset",
            demo.workspace_id,
            offset,
            size,
        )
    floor = 100_000 / (time.perf_counter() - started)
    return Row(f"e feed, pages of {size}", "updates/s", rate, floor)


def main() -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    folder.chmod(0o755)
    try:
        rows = asyncio.run(measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table("stage", "unit", "hub", "floor", "ratio", "more")
    for row in rows:
        table.add_row(
            row.name,
            row.unit,
            f"{row.value:,.0f}",
            "" if row.floor is None else f"{row.floor:,.0f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            ", ".join(f"{name} {value:,.1f}" for name, value in row.more.items()),
        )
    console.print(table)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    target = results / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    shown = [
        {
            "stage": r.name,
            "unit": r.unit,
            "hub": r.value,
            "floor": r.floor,
            "ratio": r.ratio,
            **r.more,
        }
        for r in rows
    ]
    target.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {target}")


if __name__ == "__main__":
    main()
