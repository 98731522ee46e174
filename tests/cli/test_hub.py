"""Where the commands look for a hub, and what they say when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from tests.cli.conftest import headwater, serving

COMMANDS = [("doctor",), ("tail", "--once"), ("tail", "--once", "--from", "end"), ("load", "cdnow")]
KNOWN = {"HEADWATER_WORKSPACE_ID": "w", "HEADWATER_NODE_ID": "n", "HEADWATER_TOKEN": "t"}


def _whole(command: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    if command[0] != "load":
        return command
    file = folder / "orders.csv"
    file.write_text("customer_id,date,quantity,amount_usd\n1,1997-01-01,1,1.00\n")
    return (*command, str(file))


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_wrong_address_or_token_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    for name, value, said in (
        (
            "HEADWATER_URL",
            "hub.example",
            "HEADWATER_URL is 'hub.example', expected http://host:port",
        ),
        ("HEADWATER_URL", "http:///", "HEADWATER_URL is 'http:', expected http://host:port"),
        ("HEADWATER_TOKEN", "t\r", "HEADWATER_TOKEN holds a line break or control character"),
    ):
        environ = {"HEADWATER_URL": "http://127.0.0.1:9", **KNOWN, name: value}
        done = await headwater(*_whole(command, tmp_path), **environ)
        assert (done.status, done.error) == (1, f"Error: {said}\n")


@pytest.mark.parametrize("command", COMMANDS)
async def test_what_is_no_hub_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<p>Welcome!</p>", content_type="text/html")

    async with serving(page) as url:
        done = await headwater(*_whole(command, tmp_path), HEADWATER_URL=url, **KNOWN)
    assert done.status == 1
    assert url in done.error
    assert "no JSON" in done.error or "what answers is no hub" in done.error
