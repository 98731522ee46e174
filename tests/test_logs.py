"""No token and no personal data in any log line, whatever goes wrong.

The shared hub's logs are read once more at the end of the test run (`conftest.py`), for what all tests wrote.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from headwater.errors import Unavailable
from headwater.log import describe, loggable_path, loggable_word
from headwater.postgres.config import new_token
from headwater.postgres.pool import Pool
from tests.hub import OPERATOR_TOKEN, Client, Hub, eventually
from tests.leaks import leaks_in

SCRIPT = """
import asyncio, logging, sys
import structlog
from headwater.log import set_up
from headwater.settings import LogSettings

set_up(LogSettings(format=sys.argv[1]), service="test")
log = structlog.get_logger()
try:
    try:
        int("ann@example.com")
    except ValueError as exc:
        raise KeyError("ann@example.com") from exc
except KeyError:
    log.exception("it failed", number=7)
    logging.getLogger("aiohttp.server").exception("Error\\nann@example.com")

async def fail():
    raise ValueError("ann@example.com")

async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    del task

asyncio.run(main())
log.info("ok")
raise ValueError("ann@example.com")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_texts_of_exceptions_are_not_logged(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ann@example.com" not in done.stderr
    assert "KeyError" in done.stderr
    assert "ValueError" in done.stderr
    assert "it failed" in done.stderr
    assert "Task exception was never retrieved" in done.stderr
    if form == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["level"] for line in lines] == ["error", "error", "error", "info", "error"]
        assert {line["service"] for line in lines} == {"test"}
        assert "which led to" in lines[0]["exception"]
        assert '<string>", line' in lines[0]["exception"]


async def test_a_violated_constraint_is_named_without_its_values(pool: Pool) -> None:
    async with pool.connection() as conn:
        await conn.execute("create temporary table people (email text constraint once unique)")
        await conn.execute("insert into people values ('ann@example.com')")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await conn.execute("insert into people values ('ann@example.com')")
    assert "ann@example.com" in str(caught.value)
    text = describe(caught.value)
    assert text == (
        "asyncpg.exceptions.UniqueViolationError "
        "(sqlstate=23505, constraint_name=once, table_name=people)"
    )


def test_our_own_exceptions_are_logged_in_full() -> None:
    assert describe(Unavailable("Kafka is away")) == "headwater.errors.Unavailable: Kafka is away"


def test_a_path_is_logged_without_what_the_client_put_in() -> None:
    words = {"", "hub", "v1", "customers", "sessions"}
    known = str(uuid.uuid4())
    path = f"/hub/v1/customers/{known}/sessions/ann@example.com"
    assert loggable_path(path, words) == f"/hub/v1/customers/{known}/sessions/*"
    assert loggable_path("/hub/v1/customers/ann", words) == "/hub/v1/customers/*"
    assert loggable_path("/secret", words) == "/*"


def test_the_names_of_clients_and_requests_are_logged_if_they_can_be_nothing_else() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for word in ("shop-1.2", str(uuid.uuid4()), trace):
        assert loggable_word(word) == word
    for text in ("ann@example.com", new_token(), "Ann Lee", "", "x" * 64, "\udcff", "a\n"):
        assert loggable_word(text) == "*"


def _mark() -> str:
    return f"Zz{uuid.uuid4().hex}"


async def test_no_write_and_no_fault_leaves_personal_data_in_the_logs(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    name, value, token = _mark(), _mark(), _mark()
    email = f"{name}@example.com"
    base = {"firstName": name, "contacts": {"email": email}}
    made = await client.customer(externalId=name, base=base, extra=value)
    other = await client.customer(externalId=value)
    here = f"/customers/{made['id']}"
    assert (await client.call("POST", f"{here}/sessions", {"value": value})).status == 201
    # each of these is refused, in one place or another
    refused = [
        ("POST", "/customers", {"nodeId": client.node_id, "externalId": name, name: email}),
        ("POST", "/customers", {"nodeId": email, "externalId": name}),
        (
            "POST",
            "/customers",
            {"nodeId": client.node_id, "externalId": name, "base": {"dob": email}},
        ),
        ("PATCH", here, {"externalId": value}),
        ("POST", f"/customers/{other['id']}/sessions", {"value": value}),
        ("GET", f"/customers/{email}", None),
        ("GET", f"{here}/sessions/{email}", None),
        ("GET", f"/{name}/{email}", None),
        ("DELETE", f"/events/{email}/status", None),
        ("GET", f"/events?type={email}", None),
        ("GET", f"/customers?nodeId={client.node_id}&sort={email}", None),
        ("POST", "/events", client.event(type=email)),
        ("POST", "/events/batch", {"events": [client.event(context=email), email]}),
    ]
    for method, path, body in refused:
        answer = await client.call(method, path, body)
        assert answer.status >= 400 or answer.body["rejected"] == 2, (method, path, answer)
    broken = await client.call("POST", "/customers", data=f'{{"{name}": {email}'.encode())
    assert broken.status == 400
    forged = await client.call("GET", here, headers={"Authorization": f"Bearer {token}"})
    assert forged.status == 401
    # what a client calls itself and its requests
    for said in (email, client.token, f"Bearer {client.token}"):
        headers = {"X-Tracing-ID": said, "Contactlab-ClientId": said}
        assert (await client.call("GET", "/nothing", headers=headers)).status == 404
    # what is no HTTP at all
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    writer.write(f"GET /{email} {name}\r\nAuthorization: Bearer {client.token}\r\n\r\n".encode())
    assert b"400" in await reader.readline()
    writer.close()
    # an event that the processor refuses, and a token that dies
    lost = client.event(customerId=email, properties={"url": f"https://example.com/{name}"})
    assert (await client.call("POST", "/events", lost)).status == 202

    async def is_kept() -> bool:
        kept = await client.call("GET", "/rejections")
        return bool(kept.body["page"]["totalElements"] == 1)

    await eventually(is_kept, what="the rejection")
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with aiohttp.ClientSession(hub.url, headers=operator) as http:
        at = client.path("/configuration/sources")
        async with http.get(at) as listed:
            source = (await listed.json())["elements"][0]
        async with http.post(f"{at}/{source['id']}/refresh-token") as refreshed:
            fresh = (await refreshed.json())["token"]
    assert (await client.call("GET", here)).status == 401
    assert leaks_in(hub.folder, [name, value, token, fresh]) == []


def test_a_leak_is_found(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text("fine\nfor ann@example.com\n")
    token = new_token()
    (tmp_path / "kafka.log").write_text(f"fine\nin a-longer-word-{token}-\n")
    (tmp_path / "postgres.log").write_text(f"token {OPERATOR_TOKEN}\nZzz\nann@example.com\n")
    assert leaks_in(tmp_path, ["Zzz", token]) == [
        f"kafka.log: in a-longer-word-{token}-",
        f"postgres.log: token {OPERATOR_TOKEN}",
        "postgres.log: Zzz",
        "web.log: for ann@example.com",
    ]
