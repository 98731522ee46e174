"""The floor of the front door: `python -m bench.floor PORT`.

Bare aiohttp handlers that validate with jsonschema-rs and wait for Kafka's acknowledgement, and do nothing
else. `/events` sends each event by itself; `/batch` makes one `send_batch` for each partition, with the
settings that are known to matter: gc frozen, CRC-32 partitions, one caller at a time for each partition.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import time
import zlib
from collections import defaultdict

import orjson
from aiohttp import web

from bench.servers import FLOOR_TOPIC
from headwater.kafka import open_producer
from headwater.settings import KafkaSettings
from headwater.validation import load_schemas
from headwater.validation.compile import compile_schema, derive

PARTITIONS = 4


async def main(port: int) -> None:
    """Serve until killed."""
    schemas = load_schemas()
    schema = schemas.event_types["completedOrder"].schema
    validator = compile_schema(derive(schema, schemas.event_definitions))
    producer = await open_producer(KafkaSettings.from_env())
    numbers = itertools.count()
    locks = [asyncio.Lock() for _ in range(PARTITIONS)]

    async def accept(request: web.Request) -> web.Response:
        body = await request.read()
        event = orjson.loads(body)
        if not validator.is_valid(event["properties"]):
            return web.Response(status=400)
        number = next(numbers)
        await producer.send_and_wait(FLOOR_TOPIC, value=body, partition=number % PARTITIONS)
        return web.json_response({"id": str(number)}, status=202)

    async def send(partition: int, events: list[bytes]) -> list[asyncio.Future[None]]:
        async with locks[partition]:
            sent = []
            builder = producer.create_batch()
            now = int(time.time() * 1000)
            for raw in events:
                if builder.append(key=None, value=raw, timestamp=now) is None:
                    sent.append(
                        await producer.send_batch(builder, FLOOR_TOPIC, partition=partition)
                    )
                    builder = producer.create_batch()
                    builder.append(key=None, value=raw, timestamp=now)
            sent.append(await producer.send_batch(builder, FLOOR_TOPIC, partition=partition))
            return sent

    async def accept_batch(request: web.Request) -> web.Response:
        events = orjson.loads(await request.read())["events"]
        shares: dict[int, list[bytes]] = defaultdict(list)
        answers = []
        for event in events:
            if not validator.is_valid(event["properties"]):
                return web.Response(status=400)
            key = event["bringBackProperties"]["value"].encode()
            shares[zlib.crc32(key) % PARTITIONS].append(orjson.dumps(event))
            answers.append({"status": 202, "id": str(next(numbers))})
        waiting = [future for share in shares.items() for future in await send(*share)]
        await asyncio.gather(*waiting)
        body = orjson.dumps({"accepted": len(answers), "rejected": 0, "results": answers})
        return web.Response(body=body, status=202, content_type="application/json")

    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/events", accept)
    app.router.add_post("/batch", accept_batch)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_port=True, backlog=1024).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
