"""`headwater load cdnow`: files that are none, and loads that are broken off."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import web

from tests.cli.conftest import HEADWATER, headwater, hub_of, serving
from tests.hub import Client, eventually

HEAD = "customer_id,date,quantity,amount_usd"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column customer_id"),
        (HEAD, "holds no orders"),
        (f"{HEAD}\n", "holds no orders"),
        ("customer_id,date,quantity\n1,1997-01-01,1\n", "has no column amount_usd"),
        (f"{HEAD}\n1,1997-01-01,1\n", "line 2: amount_usd is ''"),
        (f"{HEAD}\n1,1997-01-01,1,1.00,5\n", "line 2: 4 columns expected"),
        (f"{HEAD}\n1,1997-01-01,1,1.00\n,1997-01-01,1,1.00\n", "line 3: 4 columns expected"),
        (f"{HEAD}\n1,1997-02-30,1,1.00\n", "line 2: date is '1997-02-30'"),
        (f"{HEAD}\n1,01/02/1997,1,1.00\n", "line 2: date is '01/02/1997'"),
        (f"{HEAD}\n1,1997-01-01,-1,1.00\n", "line 2: quantity is '-1'"),
        (f"{HEAD}\n1,1997-01-01,1.5,1.00\n", "line 2: quantity is '1.5'"),
        (f"{HEAD}\n1,1997-01-01,1,NaN\n", "line 2: amount_usd is 'NaN'"),
        (f"{HEAD}\n1,1997-01-01,1,1e3\n", "line 2: amount_usd is '1e3'"),
        (f'{HEAD}\n"1,1997-01-01,1,1.00\n', "unexpected end of data"),
        ("\x00\x01\x02", "has no column"),
    ],
)
async def test_a_file_that_is_none_is_named_and_nothing_is_loaded(
    client: Client, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(text)
    done = await headwater("load", "cdnow", str(file), **hub_of(client))
    assert done.status == 1
    assert f"{file}" in done.error
    assert said in done.error
    assert await client.feed() == []


async def test_no_text_and_no_file(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_bytes(b"\xff\xfe\x00")
    done = await headwater("load", "cdnow", str(file), **hub_of(client))
    assert (done.status, "no text in UTF-8" in done.error) == (1, True), done
    done = await headwater("load", "cdnow", str(tmp_path / "nothing"), **hub_of(client))
    assert (done.status, "does not exist" in done.error) == (2, True), done


async def test_no_hub_a_wrong_token_and_a_wrong_node(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(f"{HEAD}\n1,1997-01-01,1,1.00\n")
    here = hub_of(client)
    wrong = {
        "is the hub running?": {"HEADWATER_URL": "http://127.0.0.1:9"},
        "401 ": {"HEADWATER_TOKEN": "nobody"},
        "workspace not found": {"HEADWATER_WORKSPACE_ID": "nothing"},
        "node not found nothing": {"HEADWATER_NODE_ID": "nothing"},
    }
    for said, changed in wrong.items():
        done = await headwater("load", "cdnow", str(file), **{**here, **changed})
        assert (done.status, said in done.error) == (1, True), done
    done = await headwater("load", "cdnow", str(file), HEADWATER_URL=client.hub.url)
    assert done.status == 1
    assert "HEADWATER_WORKSPACE_ID, HEADWATER_TOKEN not set" in done.error


async def test_a_load_that_was_killed_is_resumed(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    rows = [f"{n % 700},1997-01-{n % 28 + 1:02},1,{n}.50" for n in range(3_000)]
    file.write_text("\ufeff" + "\n".join([HEAD, *rows]))
    environ = {**os.environ, **hub_of(client)}
    process = await asyncio.create_subprocess_exec(
        *HEADWATER, "load", "cdnow", str(file), env=environ,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    async def has_begun() -> bool:
        return bool((await client.call("GET", "/updates/last-offset")).body["lastOffset"])

    await eventually(has_begun, 30, "the load to begin")
    process.kill()
    await process.wait()
    done = await headwater("load", "cdnow", str(file), **hub_of(client))
    assert done.status == 0, done
    assert "accepted 700 customers, 3,000 events, 3,000 items, 4,500,000.00 USD" in done.out
    updates = await client.feed_of(3_700)
    assert len(updates) == 3_700


async def test_a_proxy_that_sends_a_date_is_waited_for(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(f"{HEAD}\n1,1997-01-01,1,1.00\n")
    refused = False

    async def proxy(request: web.Request) -> web.Response:
        nonlocal refused
        if request.method == "POST" and not refused:
            refused = True
            return web.Response(
                status=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
            )
        url = f"{client.hub.url}{request.path_qs}"
        kept = {"Authorization", "Content-Type"}
        headers = {name: value for name, value in request.headers.items() if name in kept}
        body = await request.read()
        async with client.http.request(request.method, url, data=body, headers=headers) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type="application/json"
            )

    async with serving(proxy) as url:
        done = await headwater(
            "load", "cdnow", str(file), **{**hub_of(client), "HEADWATER_URL": url}
        )
    assert (done.status, refused) == (0, True), done
