"""OWASP API Security Top 10 (2023): which tests stand for which item, and what no other file tests."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headwater.auth
from headwater.postgres.config import new_token
from headwater.postgres.pool import open_pool
from headwater.settings import HttpSettings, MetricsSettings, PostgresSettings
from tests.http.callers import (
    FORBIDDEN,
    UNAUTHORIZED,
    acting_as,
    operator,
    person,
    refused,
    untrusted,
)
from tests.http.test_roles import ALLOWED, Things
from tests.hub import Client, Hub, eventually
from tests.servers import web_beside

TESTS = Path(__file__).parent.parent
ITEMS = {
    "API1 object level authorization": [
        "security/test_owasp.py::test_ids_of_others_are_as_unknown_as_ids_of_nobody",
        "http/test_roles.py::test_no_route_is_open_without_a_token_of_the_workspace",
        "http/test_roles.py::test_a_user_needs_permission_on_the_node",
    ],
    "API2 authentication": [
        "security/test_owasp.py::test_a_token_is_long_and_stored_as_its_digest_only",
        "security/test_owasp.py::test_a_token_is_taken_from_the_header_and_as_it_is",
        "security/test_owasp.py::test_digests_of_tokens_are_compared_in_constant_time",
        "http/test_bad_input.py::test_no_token_or_a_bad_one",
        "test_logs.py::test_no_write_and_no_fault_leaves_personal_data_in_the_logs",
    ],
    "API3 object property level authorization": [
        "security/test_owasp.py::test_tokens_are_shown_once_and_never_listed",
        "http/customers/test_create_customer.py::test_system_members_are_ignored",
        "http/test_bad_input.py::test_unknown_members_of_the_envelope",
    ],
    "API4 resource consumption": [
        "security/test_owasp.py::test_what_one_request_may_ask_for_is_bounded",
        "security/test_slow_clients.py::test_a_body_that_trickles_is_answered_408",
        "security/test_slow_clients.py::test_a_reader_that_takes_nothing_is_cut",
        "security/test_slow_clients.py::test_a_head_that_grows_is_refused",
        "security/test_connections.py::test_an_honest_client_is_served_beside_10_000_connections",
        "security/test_parsers.py::test_the_same_over_and_over_costs_little",
        "http/test_bad_input.py::test_100_mb_are_refused_and_memory_stays_flat",
    ],
    "API5 function level authorization": [
        "http/test_roles.py::test_a_role_may_do_what_it_may_and_nothing_else",
        "security/test_owasp.py::test_a_named_method_gives_no_other_rights",
    ],
    "API6 sensitive business flows": [
        # none of its own: what a client repeats by fault or on purpose is made once
        "http/test_retry.py",
    ],
    "API7 server side request forgery": [
        "security/test_owasp.py::test_no_url_of_a_client_is_called",
    ],
    "API8 misconfiguration": [
        "security/test_owasp.py::test_answers_tell_nothing_of_what_runs",
        "security/test_owasp.py::test_nothing_listens_to_the_network_unless_it_is_told_to",
        "http/test_errors.py::test_what_is_no_http_request",
    ],
    "API9 inventory": [
        "test_docs.py::test_every_route_is_in_the_api_document_and_back",
        "http/test_roles.py::test_every_route_says_who_may_use_it",
    ],
    "API10 consumption of other APIs": [
        # the hub calls none; what it reads from Kafka and fetches once is not trusted either
        "security/test_records.py::test_the_front_door_goes_on_behind_foreign_records",
        "security/test_parsers.py::test_what_is_mutated_is_read_or_refused",
        "embedded/test_jars.py",
    ],
}


def test_every_item_names_tests_that_exist() -> None:
    assert [item.split(" ")[0] for item in ITEMS] == [f"API{number}" for number in range(1, 11)]
    for name in (name for names in ITEMS.values() for name in names):
        path, _, function = name.partition("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        found = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert function in found or (not function and found), name


async def test_ids_of_others_are_as_unknown_as_ids_of_nobody(
    client: Client, stranger: Client
) -> None:
    """API1: in the path of one's own workspace; the answers differ in nothing but the id."""
    theirs = await Things.make(stranger)
    mine = Things(
        client=client,
        customer_id=theirs.customer_id,
        event_id=theirs.event_id,
        source_ids=theirs.source_ids,
        rejection_ids=theirs.rejection_ids,
    )
    nobody = str(uuid.uuid4())
    none = Things(
        client=client,
        customer_id=nobody,
        event_id=nobody,
        source_ids=[nobody],
        rejection_ids=[nobody],
    )
    ids = [theirs.customer_id, theirs.event_id, theirs.source_ids[0], theirs.rejection_ids[0]]
    compared = 0
    for caller in (await person(client, "ADMIN"), client, operator(client)):
        for method, path in ALLOWED:
            if "{" in path and not path.startswith("/workspaces") and "{nodeId}" not in path:
                answer = await mine.call(caller, method, path)
                unknown = await none.call(caller, method, path)
                assert answer.status in {403, 404}, (method, path, answer)
                message = answer.body["message"]
                for theirs_id in ids:
                    message = message.replace(theirs_id, nobody)
                assert (answer.status, message) == (unknown.status, unknown.body["message"])
                compared += 1
    assert compared > 30
    # and nothing of theirs was touched
    assert (await stranger.call("GET", f"/customers/{theirs.customer_id}")).status == 200
    kept = await stranger.call("GET", "/rejections", params={"status": "OPEN"})
    assert kept.body["page"]["totalElements"] == len(theirs.rejection_ids)


async def test_a_token_is_long_and_stored_as_its_digest_only(hub: Hub, client: Client) -> None:
    """API2: 384 random bits, so that a plain digest can't be searched."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {64}
    pool = await open_pool(PostgresSettings(database_url=hub.postgres.url), max_size=1)
    try:
        async with pool.connection() as conn:
            rows = await conn.fetch(
                "SELECT s::text AS text, token_hash FROM sources s WHERE workspace_id = $1",
                uuid.UUID(client.workspace_id),
            )
    finally:
        await pool.close()
    assert [row["token_hash"] for row in rows] == [hashlib.sha256(client.token.encode()).digest()]
    assert not [row for row in rows if client.token in row["text"]]


async def test_a_token_is_taken_from_the_header_and_as_it_is(client: Client) -> None:
    """API2: not from a URL, which ends up in logs, nor from a cookie, which a foreign page would send."""
    nobody = acting_as(client, "nobody")
    for name in ("token", "access_token", "Authorization"):
        answer = await nobody.call("GET", "/updates", params={name: client.token})
        refused(answer, 401, UNAUTHORIZED)
    for headers in (
        {"Cookie": f"token={client.token}"},
        {"Authorization": client.token},
        {"Authorization": f"Basic {client.token}"},
        {"Authorization": f"Bearer {client.token.swapcase()}"},
        {"Authorization": f"Bearer {client.token[:-1]}"},
        {"Authorization": f"Bearer {client.token}, Bearer {client.token}"},
        {"Authorization": f"Bearer {hashlib.sha256(client.token.encode()).hexdigest()}"},
    ):
        refused(await nobody.call("GET", "/updates", headers=headers), 401, UNAUTHORIZED)


def test_digests_of_tokens_are_compared_in_constant_time() -> None:
    """API2: `==` ends at the first byte that differs. (Why the lookup by digest is harmless is said there.)"""
    tree = ast.parse(Path(headwater.auth.__file__).read_text(encoding="utf-8"))
    compared = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
        and "token" in ast.unparse(node)
    ]
    assert compared == []


async def test_tokens_are_shown_once_and_never_listed(client: Client) -> None:
    """API3"""
    above = operator(client)
    listed = await above.call("GET", "/configuration/sources")
    assert [source["token"] for source in listed.body["elements"]] == [None]
    source_id = listed.body["elements"][0]["id"]
    assert (await above.call("GET", f"/configuration/sources/{source_id}")).body["token"] is None
    me = await client.http.get("/hub/v1/me", headers={"Authorization": f"Bearer {client.token}"})
    assert client.token not in await me.text()


async def test_what_one_request_may_ask_for_is_bounded(client: Client) -> None:
    """API4"""
    node = f"nodeId={client.node_id}"
    for path in (
        f"/customers?{node}&size=51",
        f"/customers?{node}&" + "&".join(["sort=id"] * 11),
        f"/customers?{node}&page=99999999999",
        "/events?size=51",
        "/events?" + "&".join(["sort=date"] * 11),
        "/rejections?size=51",
        "/updates?size=4001",
        "/updates?wait=61",
        "/updates?offset=9223372036854775808",
    ):
        answer = await client.call("GET", path)
        assert answer.status == 400, (path, answer)
        assert answer.body["message"].startswith("invalid parameter ")
    for path, name in (("/events/batch", "events"), ("/customers/batch", "customers")):
        answer = await client.call("POST", path, {name: [{}] * 1_001})
        refused(
            answer,
            400,
            "source batch is not valid",
            ("expected 1 to 1000 items, not 1001", f"/{name}"),
        )


async def test_a_named_method_gives_no_other_rights(client: Client) -> None:
    """API5: `X-HTTP-Method-Override` leads to the same checks."""
    made = await client.customer(externalId="a1")
    outside = await untrusted(client)
    for method in ("GET", "PUT", "DELETE"):
        answer = await outside.call(
            "POST",
            f"/customers/{made['id']}",
            {"nodeId": client.node_id, "externalId": "a1"},
            headers={"X-HTTP-Method-Override": method},
        )
        refused(answer, 403, FORBIDDEN)
    assert (await client.call("GET", f"/customers/{made['id']}")).body == made


async def test_no_url_of_a_client_is_called(client: Client) -> None:
    """API7: wherever a URL or a host can be named."""
    callers: list[Any] = []

    def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/x"
    above = operator(client)
    headers = {"X-Forwarded-Host": f"127.0.0.1:{port}", "Forwarded": f"host=127.0.0.1:{port}"}
    base = {"pictureUrl": url, "socialProfile": {"facebook": url}}
    made = await client.call(
        "POST",
        "/customers",
        {"nodeId": client.node_id, "externalId": url, "base": base},
        headers={**headers, "Referer": url, "Host": f"127.0.0.1:{port}"},
    )
    assert made.status == 201
    event = client.event(properties={"url": url, "referer": url, "title": url})
    event["customerId"] = made.body["id"]
    del event["bringBackProperties"]
    assert (await client.call("POST", "/events", event)).status == 202
    configuration = {"name": "x", "logo": url}
    assert (await above.call("PUT", "/configuration", configuration)).status == 200
    node = {"name": "x", "imageUrl": url}
    assert (await above.call("POST", "/configuration/nodes/entries", node)).status == 201

    async def both() -> bool:
        return len(await client.feed()) == 2

    await eventually(both)
    server.close()
    await server.wait_closed()
    assert callers == []


async def test_answers_tell_nothing_of_what_runs(client: Client) -> None:
    """API8: no versions, no traces, no rights for pages that the browser is logged in to, no metrics."""
    for method, path in (("GET", "/nothing"), ("GET", "/updates"), ("OPTIONS", "/updates")):
        answer = await client.call(method, path)
        assert answer.headers["Server"] == "Headwater"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert b"Traceback" not in answer.raw
    async with client.http.get(
        client.path("/updates?offset=0"),
        headers={"Authorization": f"Bearer {client.token}", "Accept": "application/x-ndjson"},
    ) as lines:
        assert lines.headers["Server"] == "Headwater"
    for path in ("/metrics", "/debug", "/.env", "/hub/v1/../../metrics"):
        async with client.http.get(path) as none:
            assert none.status == 404
            assert json.loads(await none.read())["message"] == "Not Found"
    refused(await client.call("TRACE", "/updates"), 405, "Request method 'TRACE' not supported")


def test_nothing_listens_to_the_network_unless_it_is_told_to() -> None:
    """API8"""
    assert HttpSettings().host == "127.0.0.1"
    assert (MetricsSettings().host, MetricsSettings().port) == ("127.0.0.1", 0)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
async def test_an_address_in_a_header_passes_no_list_of_addresses(
    client: Client, header: str
) -> None:
    """API2: `allowedIPs` is about who connects."""
    above = operator(client)
    body = {"name": "s", "provider": "API", "nodes": [client.node_id]}
    made = await above.call(
        "POST",
        "/configuration/sources",
        {**body, "properties": {"allowedIPs": ["203.0.113.7"]}},
    )
    outside = acting_as(client, made.body["token"])
    value = "for=203.0.113.7" if header == "Forwarded" else "203.0.113.7"
    answer = await outside.call("GET", "/updates", headers={header: value})
    refused(answer, 401, UNAUTHORIZED)


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        (["203.0.113.7"], 200),
        (["198.51.100.1, 203.0.113.7"], 200),
        (["203.0.113.7, 127.0.0.9"], 200),
        # what the client itself has claimed stands before what the proxy has added
        (["203.0.113.7, 198.51.100.1"], 401),
        (["203.0.113.7", "198.51.100.1"], 401),
        (["203.0.113.7, nonsense"], 401),
        (["203.0.113.7,"], 401),
        ([], 401),
    ],
)
async def test_the_address_that_a_trusted_proxy_names_is_the_client_s(
    client: Client, behind_proxy: Hub, forwarded: list[str], status: int
) -> None:
    """API2: and nobody else's word counts."""
    body = {"name": "s", "provider": "API", "nodes": [client.node_id]}
    made = await operator(client).call(
        "POST",
        "/configuration/sources",
        {**body, "properties": {"allowedIPs": ["203.0.113.7"]}},
    )
    headers = [("Authorization", f"Bearer {made.body['token']}")]
    headers += [("X-Forwarded-For", value) for value in forwarded]
    url = f"{behind_proxy.url}{client.path('/updates')}"
    async with client.http.get(url, headers=headers) as answer:
        assert answer.status == status


@pytest.fixture(scope="module")
def behind_proxy(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    settings = {"HEADWATER_HTTP_TRUSTED_PROXIES": "127.0.0.0/8, ::1"}
    with web_beside(hub, server_folder / "behind-proxy", settings) as beside:
        yield beside
