"""`headwater workspace|node|source|user create`: what an operator makes works over HTTP at once."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from headwater.embedded.ports import LOOPBACK
from tests.cli.conftest import HEADWATER, Done, headwater
from tests.hub import Answer, Client, Hub, eventually, log_lines

FORBIDDEN = "You don't have the necessary permissions for the resource"


async def _run(hub: Hub, *arguments: str) -> list[str]:
    done = await headwater(*arguments, HEADWATER_DATABASE_URL=hub.postgres.url)
    assert done.status == 0, done
    return done.out.split()


async def _as(client: Client, token: str, method: str, path: str, body: Any = None) -> Answer:
    return await client.call(method, path, body, headers={"Authorization": f"Bearer {token}"})


async def test_from_nothing_to_a_customer(hub: Hub, client: Client) -> None:
    slug = uuid.uuid4().hex
    (workspace,) = await _run(hub, "workspace", "create", "Öl & Wein", "--slug", slug)
    rule = ("--unique", "base.contacts.email", "--mandatory", "base.lastName")
    (node,) = await _run(hub, "node", "create", "shop", "--workspace", workspace, *rule)
    where = ("--workspace", workspace, "--node", node)
    _, token = await _run(hub, "source", "create", "till", *where)
    _, browser = await _run(hub, "source", "create", "site", "--untrusted", *where)
    there = Client(hub, client.http, workspace, node, token)
    body = {"nodeId": node, "base": {"contacts": {"email": "a@b.c"}, "lastName": "Lee"}}
    made = await there.call("POST", "/customers", body)
    assert made.status == 201, made
    read = await there.call("GET", f"/configuration/nodes/entries/{node}")
    assert read.body["uniqueCustomer"]["properties"] == ["base.contacts.email"]
    assert read.body["mandatoryProperties"] == ["base.lastName"]
    posted = await _as(there, browser, "POST", "/customers", body)
    assert set(posted.body) == {"id", "nodeId", "version", "registeredAt", "updatedAt"}
    refused = await _as(there, browser, "GET", f"/customers/{made.body['id']}")
    assert (refused.status, refused.body["message"]) == (403, FORBIDDEN)


async def test_users_have_their_roles(hub: Hub, client: Client) -> None:
    async def token_of(role: str, *more: str) -> str:
        name = f"{role} {uuid.uuid4().hex[:8]}"
        where = ("--workspace", client.workspace_id, "--role", role)
        _, token = await _run(hub, "user", "create", name, *where, *more)
        return token

    node = client.node_id
    admin = await token_of("ADMIN")
    writer = await token_of("USER", "--node", f"{node}:W")
    both = await token_of("USER", "--node", node, "--surname", "Lee", "--email", "lee@example.com")
    twice = await token_of("USER", "--node", f"{node}:R", "--node", f"{node}:W")
    guest = await token_of("GUEST", "--node", f"{node}:R")
    officer = await token_of("DPO", "--node", f"{node}:R")
    follower = await token_of("PLATFORM_UPDATES", "--node", f"{node}:R")
    customer = (await client.customer(externalId="a"))["id"]
    person = {"nodeId": node, "externalId": "a", "extra": "x"}
    search = f"/customers?nodeId={node}"
    expected: list[tuple[str, str, Any, dict[str, int]]] = [
        # admin, writer, both, guest, officer, follower
        ("GET", f"/customers/{customer}", None, _row(200, 403, 200, 200, 403, 403)),
        ("GET", search, None, _row(200, 403, 200, 200, 403, 403)),
        ("GET", "/events", None, _row(200, 200, 200, 200, 403, 403)),
        ("POST", "/customers", person, _row(201, 201, 201, 403, 403, 403)),
        ("POST", "/events", client.event(), _row(202, 202, 202, 403, 403, 403)),
        ("GET", "/updates", None, _row(200, 200, 200, 403, 403, 200)),
        ("GET", "/updates/last-offset", None, _row(200, 200, 200, 403, 403, 200)),
        ("GET", "/configuration", None, _row(200, 200, 200, 403, 403, 403)),
        ("GET", "/configuration/sources", None, _row(200, 200, 200, 403, 403, 403)),
        ("PUT", "/configuration", {"name": "Test"}, _row(200, 403, 403, 403, 403, 403)),
        ("POST", "/configuration/nodes/entries", {"name": "n"}, _row(201, 403, 403, 403, 403, 403)),
    ]
    tokens = {
        "admin": admin, "writer": writer, "both": both, "guest": guest, "officer": officer,
        "follower": follower,
    }  # fmt: skip
    wrong = []
    for method, path, body, row in expected:
        for name, status in row.items():
            answer = await _as(client, tokens[name], method, path, body)
            if answer.status != status:
                wrong.append((method, path, name, answer.status, status))
    assert wrong == []
    for method, path, body in (
        ("GET", f"/customers/{customer}", None),
        ("POST", "/customers", person),
    ):
        assert (await _as(client, twice, method, path, body)).status in {200, 201}
    async with client.http.get("/hub/v1/me", headers={"Authorization": f"Bearer {both}"}) as me:
        shown = await me.json()
    assert isinstance(shown["id"], int)
    assert (shown["surname"], shown["email"]) == ("Lee", "lee@example.com")
    assert shown["roles"] == ["USER"]
    (workspace,) = shown["groups"][0]["workspaces"]
    assert workspace["nodes"] == [{"id": node, "name": "shop", "type": "ENTRY", "permission": "RW"}]


def _row(*statuses: int) -> dict[str, int]:
    names = ("admin", "writer", "both", "guest", "officer", "follower")
    return dict(zip(names, statuses, strict=True))


async def test_an_operator_works_everywhere_until_revoked(
    hub: Hub, client: Client, stranger: Client
) -> None:
    name = f"operator {uuid.uuid4().hex}"
    user_id, token = await _run(hub, "user", "create", name, "--role", "CLAB_OPERATOR")
    for workspace in (client, stranger):
        assert (await _as(workspace, token, "GET", "/configuration")).status == 200
        assert (await _as(workspace, token, "GET", "/updates")).status == 200
    assert await _run(hub, "user", "revoke", user_id) == []

    async def is_dead() -> bool:
        return (await _as(client, token, "GET", "/configuration")).status == 401

    await eventually(is_dead, 5, "the token to be dead")


async def test_what_can_not_be_made_is_named(hub: Hub, client: Client) -> None:
    async def refused(*arguments: str) -> str:
        done = await headwater(*arguments, HEADWATER_DATABASE_URL=hub.postgres.url)
        assert (done.status != 0, done.out) == (True, ""), done
        return done.error

    nowhere, here = str(uuid.uuid4()), client.workspace_id
    ada = f"Ada {uuid.uuid4().hex}"
    node = ("--workspace", here, "--node")
    assert "slug is 'No!'" in await refused("workspace", "create", "x", "--slug", "No!")
    taken = uuid.uuid4().hex
    await _run(hub, "workspace", "create", "x", "--slug", taken)
    assert f"'{taken}' is taken" in await refused("workspace", "create", "x", "--slug", taken)
    assert "0 is not in the range" in await refused(
        "workspace", "create", "x", "--slug", "x", "--group", "0"
    )
    assert f"no workspace {nowhere}" in await refused("node", "create", "x", "--workspace", nowhere)
    assert "'x' is not a valid UUID" in await refused("node", "create", "x", "--workspace", "x")
    wrong = await refused("node", "create", "x", "--workspace", here, "--unique", "base.shoe")
    assert "'base.shoe': property is not defined" in wrong
    wrong = await refused("source", "create", "x", "--workspace", here, "--node", nowhere)
    assert f"no node {nowhere}" in wrong
    assert client.node_id in wrong
    wrong = await refused("user", "create", ada, *node, f"{client.node_id}:X", "--role", "USER")
    assert ":X' is not <node id>" in wrong
    wrong = await refused("user", "create", ada, *node, nowhere, "--role", "USER")
    assert f"no node {nowhere}" in wrong
    assert "--workspace" in await refused("user", "create", ada, "--role", "USER")
    wrong = await refused("user", "create", ada, "--workspace", here, "--role", "CLAB_OPERATOR")
    assert "belongs to no workspace" in wrong
    assert "'KING' is not one of" in await refused("user", "create", ada, "--role", "KING")
    await _run(hub, "user", "create", ada, "--role", "GUEST", "--workspace", here)
    wrong = await refused("user", "create", ada, "--role", "GUEST", "--workspace", here)
    assert f"'{ada}' is taken" in wrong
    wrong = await refused("user", "create", "\udcff", *node, client.node_id, "--role", "USER")
    assert "the name '\\udcff' is no text in UTF-8" in wrong
    wrong = await refused(
        "user", "create", "Bea", *node, client.node_id, "--role", "USER", "--email", "\udcff"
    )
    assert "the email '\\udcff' is no text in UTF-8" in wrong
    assert "user not found 2147483647" in await refused("user", "revoke", "2147483647")


async def test_the_database_is_found_or_asked_for(hub: Hub, tmp_path: Path) -> None:
    create = ("workspace", "create", "x", "--slug", uuid.uuid4().hex)

    async def run(**environ: str) -> Done:
        return await headwater(*create, HEADWATER_HOME=str(tmp_path), **environ)

    missing = await run()
    assert missing.status == 1
    assert "HEADWATER_DATABASE_URL is not set" in missing.error
    assert str(tmp_path) in missing.error
    (tmp_path / "servers.env").write_text(f"HEADWATER_DATABASE_URL={hub.postgres.url}\n")
    assert (await run()).status == 0
    closed = await run(HEADWATER_DATABASE_URL="postgresql://a@127.0.0.1:9/b")
    assert (closed.status, "Connect call failed" in closed.error) == (1, True), closed
    unknown = await run(HEADWATER_DATABASE_URL=hub.postgres.url_of("nothing"))
    assert (unknown.status, '"nothing" does not exist' in unknown.error) == (1, True), unknown
    empty = await run(HEADWATER_DATABASE_URL=hub.postgres.url_of("postgres"))
    assert (empty.status, "headwater migrate" in empty.error) == (1, True), empty
    odd = await run(HEADWATER_DATABASE_URL="http://example.com")
    assert odd.status == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("up",), ("fetch",), ("migrate",), ("ingest",), ("processor",), ("stream-api",),
        ("control-api",), ("workspace",), ("workspace", "create"), ("node", "create"),
        ("source", "create"), ("user",), ("user", "create"), ("user", "revoke"), ("tail",), ("feed",),
        ("load",), ("load", "cdnow"), ("doctor",),
    ],
)  # fmt: skip
async def test_everything_has_help(arguments: tuple[str, ...]) -> None:
    for option in ("--help", "-h"):
        done = await headwater(*arguments, option)
        assert (done.status, done.error) == (0, "")
        assert "Usage:" in done.out


async def test_migrate_says_what_it_did(hub: Hub, database_url: str) -> None:
    done = await headwater("migrate", HEADWATER_DATABASE_URL=database_url)
    assert (done.status, done.out) == (0, "nothing to do\n")


@pytest.mark.parametrize("service", ["ingest", "processor", "stream-api", "control-api"])
def test_a_service_names_a_wrong_setting(service: str) -> None:
    done = subprocess.run(
        [*HEADWATER, service],
        env={**os.environ, "HEADWATER_POSTGRES_STATEMENT_CACHE": "many"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "headwater: HEADWATER_POSTGRES_STATEMENT_CACHE is 'many', expected a whole number\n",
    )


SERVERS = {
    "HEADWATER_DATABASE_URL": "postgresql://a@127.0.0.1:9/b",
    "HEADWATER_KAFKA_BOOTSTRAP": "127.0.0.1:9",
}


@pytest.mark.parametrize(
    ("service", "needed"),
    [
        ("ingest", SERVERS), ("processor", SERVERS),
        ("stream-api", ["HEADWATER_DATABASE_URL"]), ("control-api", ["HEADWATER_DATABASE_URL"]),
    ],
)  # fmt: skip
def test_a_service_names_a_server_that_it_is_not_told(service: str, needed: list[str]) -> None:
    """It would wait for ever for a server that nobody can start."""
    for name in needed:
        done = subprocess.run(
            [*HEADWATER, service],
            env={**os.environ, **SERVERS, name: ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, f"headwater: {name} is not set" in done.stderr) == (2, True), done


@pytest.mark.parametrize("service", ["ingest", "stream-api", "control-api"])
def test_a_service_names_a_port_that_it_can_not_have(service: str) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*HEADWATER, service],
            env={**os.environ, **SERVERS, "HEADWATER_HTTP_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    (line,) = [each for each in log_lines(done.stderr.encode()) if each["level"] == "error"]
    assert (done.returncode, line["event"]) == (1, "the port can't be had")
    assert f"127.0.0.1:{port} can't be had" in line["error"]
    assert "address already in use" in line["error"]
    assert "Traceback" not in done.stderr
