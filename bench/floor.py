"""The floor of the front door: `python -m bench.floor PORT` is a bare aiohttp handler that validates with
jsonschema-rs and waits for Kafka's acknowledgement, and does nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys

import orjson
from aiohttp import web

from headwater.kafka import open_producer
from headwater.settings import KafkaSettings
from headwater.validation import load_schemas
from headwater.validation.compile import compile_schema, derive


async def main(port: int) -> None:
    """Serve until killed."""
    schemas = load_schemas()
    schema = schemas.event_types["completedOrder"].schema
    validator = compile_schema(derive(schema, schemas.event_definitions))
    producer = await open_producer(KafkaSettings.from_env())
    numbers = itertools.count()

    async def accept(request: web.Request) -> web.Response:
        body = await request.read()
        event = orjson.loads(body)
        if not validator.is_valid(event["properties"]):
            return web.Response(status=400)
        number = next(numbers)
        await producer.send_and_wait("headwater.bench", value=body, partition=number % 4)
        return web.json_response({"id": str(number)}, status=202)

    app = web.Application()
    app.router.add_post("/events", accept)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
