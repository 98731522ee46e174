"""`python -m bench.drain`: what the processor costs by itself, on a real Postgres and a real Kafka.

    python -m bench.drain [--records 40000] [--load mixed|events] [--batch 1000] [--kafka] [--profile FILE]

Without `--kafka` batches are applied in this process, so that a profiler sees them; with it the topics
are filled first and `python -m processor` drains them. Printed: records per second of wall time and per
second of the processor's CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import asyncpg
import orjson
import psutil

from bench.records import Load, Made, encoded, fill
from headwater import clock
from headwater.cli.provision import make_demo
from headwater.domain.ids import KafkaOffset
from headwater.embedded.child import spawn, stop
from headwater.embedded.kafka import EmbeddedKafka
from headwater.embedded.ports import kept_ports
from headwater.embedded.postgres import EmbeddedPostgres
from headwater.kafka import ensure_topics, open_producer
from headwater.postgres.migrate import migrate
from headwater.postgres.offsets import start_offsets
from headwater.postgres.pool import Pool, open_pool
from headwater.settings import KafkaSettings, PostgresSettings
from headwater.topics import CUSTOMERS, EVENTS
from headwater.validation import Validator, load_schemas
from processor.batch import Parts, apply_batch
from processor.record import Batch, Record, next_offsets_of

KNOWN = 10_000
TOPICS = [(topic, number) for topic in (CUSTOMERS, EVENTS) for number in range(4)]


class Feeder:
    """Turns commands into batches, as the consumer would have fetched them."""

    def __init__(self) -> None:
        self.offsets = dict.fromkeys(TOPICS, 0)
        self.written_ms = time.time_ns() // 1_000_000

    def batch(self, made: list[Made]) -> Batch:
        expected = dict(self.offsets)
        records = []
        for topic, partition, command in sorted(made, key=lambda m: (m[0], m[1])):
            headers, value = encoded(command)
            kafka_offset = KafkaOffset(self.offsets[topic, partition])
            self.offsets[topic, partition] += 1
            records.append(
                Record(
                    topic=topic,
                    partition=partition,
                    kafka_offset=kafka_offset,
                    headers=headers,
                    value=value,
                    written_ms=self.written_ms,
                )
            )
        next_offsets = next_offsets_of(records)
        return Batch(
            records=tuple(records),
            expected={p: KafkaOffset(expected[p]) for p in next_offsets},
            next_offsets=next_offsets,
        )


def batches(feeder: Feeder, made: Iterable[Made], size: int) -> list[Batch]:
    iterator = iter(made)
    found = []
    while chunk := list(islice(iterator, size)):
        found.append(feeder.batch(chunk))
    return found


def yardstick() -> float:
    """CPU seconds of a fixed piece of work: neighbours on the machine slow it as they slow us."""
    started = time.process_time()
    for number in range(2_000):
        text = orjson.dumps({"number": number, "words": ["a", "b", str(number)]})
        orjson.loads(text)
        uuid.UUID(int=number)
    return time.process_time() - started


async def direct(arguments: argparse.Namespace, pool: Pool, load: Load) -> None:
    parts = Parts(pool=pool, validator=Validator(load_schemas()), clock=clock.now)
    feeder = Feeder()
    async with pool.connection() as conn:
        await start_offsets(conn, {partition: KafkaOffset(0) for partition in TOPICS})
    for batch in batches(feeder, load.customers(KNOWN), arguments.batch):
        await apply_batch(batch, parts)
    made = load.mixed if arguments.load == "mixed" else load.events
    warm = batches(feeder, made(4 * arguments.batch), arguments.batch)
    work = batches(feeder, made(arguments.records), arguments.batch)
    for batch in warm:
        await apply_batch(batch, parts)
    async with pool.connection() as conn:
        await conn.execute("VACUUM ANALYZE")
        await conn.execute("SELECT pg_stat_statements_reset()")
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    profile = cProfile.Profile() if arguments.profile else None
    if profile:
        profile.enable()
    wall = cpu = pace = 0.0
    for batch in work:
        started, used = time.perf_counter(), time.process_time()
        await apply_batch(batch, parts)
        wall += time.perf_counter() - started
        cpu += time.process_time() - used
        pace += yardstick()
    if profile:
        profile.disable()
        profile.dump_stats(arguments.profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    print(
        f"{arguments.records / wall:,.0f} records/s wall, {arguments.records / cpu:,.0f} records/s of CPU"
        f" ({cpu / arguments.records * 1e6:.1f} us each, {cpu / pace:.2f} yardsticks a batch)"
    )
    async with pool.connection() as conn:
        rows = await conn.fetch(
            "SELECT calls, round(total_exec_time) ms, rows, left(regexp_replace(query, '\\s+', ' ', 'g'), 70) q"
            " FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 18"
        )
    for row in rows:
        print(f"{row['ms']:8.0f} ms {row['calls']:6} calls {row['rows']:8} rows  {row['q']}")


async def drain(
    arguments: argparse.Namespace, folder: Path, url: str, kafka: str, load: Load
) -> None:
    made = load.mixed if arguments.load == "mixed" else load.events
    settings = KafkaSettings(bootstrap=kafka)
    await ensure_topics(settings)
    producer = await open_producer(settings)
    known = list(load.customers(KNOWN))
    await fill(producer, known)
    environ = {
        **os.environ,
        "HEADWATER_DATABASE_URL": url,
        "HEADWATER_KAFKA_BOOTSTRAP": kafka,
        "HEADWATER_PROCESSOR_BATCH_RECORDS": str(arguments.batch),
    }
    conn = await asyncpg.connect(url)
    try:
        await one_drain("known customers", folder, environ, conn, len(known))
        records = list(made(arguments.records))
        await fill(producer, records)
        await one_drain("drain", folder, environ, conn, len(records))
    finally:
        await producer.stop()
        await conn.close()


async def one_drain(
    name: str,
    folder: Path,
    environ: dict[str, str],
    conn: asyncpg.Connection[asyncpg.Record],
    queued: int,
) -> None:
    """Drain what is queued with a new processor; measured from its first batch on."""
    before = await applied(conn)
    log = folder / f"{name}.log"
    processor = spawn([sys.executable, "-m", "processor"], log=log, environ=environ)
    seen = psutil.Process(processor.pid)
    try:
        while (first := await applied(conn)) == before:  # noqa: ASYNC110  # another process's work
            await asyncio.sleep(0.005)
        wall, cpu = time.perf_counter(), sum(seen.cpu_times()[:2])
        while await applied(conn) < before + queued:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        wall, cpu = time.perf_counter() - wall, sum(seen.cpu_times()[:2]) - cpu
        done = before + queued - first
        print(
            f"{name}: {done / wall:,.0f} records/s wall, {done / cpu:,.0f} records/s of CPU, "
            f"{seen.memory_info().rss / 1e6:.0f} MB"
        )
    finally:
        stop(processor, signal.SIGTERM, 10)


async def applied(conn: asyncpg.Connection[asyncpg.Record]) -> int:
    """Records of both topics that are applied."""
    total = await conn.fetchval("SELECT coalesce(sum(next_offset), 0) FROM consumer_offsets")
    return int(total)


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    ports = kept_ports(folder / "ports.json", ("postgres", "kafka", "controller"))
    postgres = EmbeddedPostgres(folder / "postgres", ports["postgres"])
    kafka = EmbeddedKafka(folder / "kafka", ports["kafka"], ports["controller"])
    try:
        postgres.start()
        admin = await asyncpg.connect(postgres.url)
        await admin.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        await admin.close()
        postgres.stop()
        postgres.start()
        await migrate(postgres.url)
        demo = await make_demo(postgres.url)
        pool = await open_pool(PostgresSettings(database_url=postgres.url), max_size=4)
        async with pool.connection() as conn:
            await conn.execute("CREATE EXTENSION pg_stat_statements")
            caller = await conn.fetchval("SELECT id FROM sources LIMIT 1")
        load = Load(demo.workspace_id, demo.node_id, str(caller), seed=1)
        if arguments.kafka:
            await asyncio.to_thread(kafka.start)
            await drain(arguments, folder, postgres.url, kafka.bootstrap, load)
        else:
            await direct(arguments, pool, load)
        await pool.close()
    finally:
        kafka.stop()
        postgres.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.drain")
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--load", choices=("mixed", "events"), default="mixed")
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--profile")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headwater-drain-"))
    folder.chmod(0o755)
    try:
        asyncio.run(measure(arguments, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
