"""Health: D2. Liveness, readiness, and the state of what we depend on."""

from __future__ import annotations

from aiohttp import web

from headwater.errors import Unavailable
from headwater.http.answer import json_answer
from headwater.http.keys import POOL, SETTINGS
from headwater.kafka import answers


async def read_liveness(_: web.Request) -> web.Response:
    """200 while the process runs."""
    return json_answer({"status": "UP"})


async def read_readiness(request: web.Request) -> web.Response:
    """200 while writes can be taken: with Kafka; Postgres is not needed for that."""
    kafka = await _is_kafka_up(request)
    return json_answer(
        {"status": _word(kafka), "components": {"kafka": {"status": _word(kafka)}}},
        status=200 if kafka else 503,
    )


async def read_health(request: web.Request) -> web.Response:
    """503 when anything that we depend on is down."""
    kafka = await _is_kafka_up(request)
    postgres = await request.app[POOL].is_up()
    return json_answer(
        {
            "status": _word(kafka and postgres),
            "components": {
                "kafka": {"status": _word(kafka)},
                "postgres": {"status": _word(postgres)},
            },
        },
        status=200 if kafka and postgres else 503,
    )


async def _is_kafka_up(request: web.Request) -> bool:
    try:
        await answers(request.app[SETTINGS].kafka.bootstrap)
    except Unavailable:
        return False
    return True


def _word(is_up: bool) -> str:
    return "UP" if is_up else "DOWN"
