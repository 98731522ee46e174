"""Running `headwater` as a person does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner

from headwater.cli import main
from tests.hub import Client

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    error: str


async def headwater(*arguments: str, **environ: str) -> Done:
    """Run a command to its end, with nothing of HEADWATER_* but `environ` in its environment.

    In this process: a new one for each command is most of the time of these tests.
    """
    unset = {name: None for name in os.environ if name.startswith("HEADWATER_")}
    given = {**unset, "HEADWATER_HOME": "/nonexistent", **environ}
    done = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=given)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """The URL of a server that is no hub, and answers everything so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}"


def hub_of(client: Client) -> Mapping[str, str]:
    """The environment that names a client's workspace."""
    return {
        "HEADWATER_URL": client.hub.url,
        "HEADWATER_WORKSPACE_ID": client.workspace_id,
        "HEADWATER_NODE_ID": client.node_id,
        "HEADWATER_TOKEN": client.token,
    }
