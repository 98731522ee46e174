"""Health: D2. Liveness, readiness, and the state of what we depend on."""

from __future__ import annotations

from aiohttp import web

from headwater.http.answer import json_answer
from headwater.http.keys import DRAINING, POOL
from ingest.write import DOOR


async def read_liveness(_: web.Request) -> web.Response:
    """200 while the process runs."""
    return json_answer({"status": "UP"})


async def read_readiness(request: web.Request) -> web.Response:
    """200 while writes can be taken: with Kafka, and until the process ends; Postgres is not needed."""
    kafka = await request.app[DOOR].acceptor.is_up()
    ready = kafka and not request.app[DRAINING].is_set()
    return json_answer(
        {"status": _word(ready), "components": {"kafka": {"status": _word(kafka)}}},
        status=200 if ready else 503,
    )


async def read_health(request: web.Request) -> web.Response:
    """503 when anything that we depend on is down."""
    kafka = await request.app[DOOR].acceptor.is_up()
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


def _word(is_up: bool) -> str:
    return "UP" if is_up else "DOWN"
