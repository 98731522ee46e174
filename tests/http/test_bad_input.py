"""Input that is no use, on every route that writes. Source: contacthub 2.1 to 2.4, 2.8, 2.11."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import orjson
import psutil
import pytest

from tests.http.callers import UNAUTHORIZED, acting_as, raw_call, refused, refused_loosely
from tests.hub import OPERATOR_TOKEN, Answer, Client, Hub

LIMIT = 65_535
BATCH_LIMIT = 5_242_880

KINDS = {
    "create": "source customer is not valid",
    "patch": "source customer is not valid",
    "put": "source customer is not valid",
    "session": "source session is not valid",
    "customers": "source batch is not valid",
    "event": "source event is not valid",
    "events": "source batch is not valid",
}
WRITES = pytest.mark.parametrize("kind", KINDS)
SINGLE = pytest.mark.parametrize("kind", ["create", "patch", "put", "session", "event"])


class Write:
    """One kind of write: where it goes, and a body that is good."""

    def __init__(self, client: Client, kind: str, customer: Any) -> None:
        path = f"/customers/{customer['id']}"
        whole = {"nodeId": client.node_id, "externalId": customer["externalId"]}
        self.kind = kind
        self.client = client
        self.method, self.path, self.body = {
            "create": ("POST", "/customers", whole),
            "patch": ("PATCH", path, {"extra": "x"}),
            "put": ("PUT", path, whole),
            "session": ("POST", f"{path}/sessions", {"value": "s1"}),
            "customers": ("POST", "/customers/batch", {"customers": [whole]}),
            "event": ("POST", "/events", client.event()),
            "events": ("POST", "/events/batch", {"events": [client.event()]}),
        }[kind]

    async def send(self, raw: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Type", "application/json")
        return await raw_call(self.client, self.method, self.path, data=raw, headers=named)

    async def good(self) -> None:
        """The good body is taken, so that it is the bad one that is refused."""
        answer = await self.client.call(self.method, self.path, self.body)
        assert 200 <= answer.status < 300, answer


@pytest.fixture
async def write(client: Client, kind: str) -> Write:
    return Write(client, kind, await client.customer(externalId="a1"))


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"nothing",
    b"{'a':1}",
    b'{"a":1,}',
    b'{"a":NaN}',
    b'{"a":"\xff"}',
    b'\xef\xbb\xbf{"a":1}',
    b'{"a":"\x00"}',
    b'{"a":"\\ud800"}',
    b'{"\\udc00":1}',
    b'{"a":1e400}',
    b'{"a":-1e400}',
    b"[" * 65 + b"]" * 65,
    b'{"a":' * 65 + b"1" + b"}" * 65,
]


@WRITES
async def test_malformed(write: Write) -> None:
    for raw in MALFORMED:
        refused_loosely(await write.send(raw), 400, "malformed JSON")


@WRITES
async def test_a_top_level_that_is_no_object(write: Write, kind: str) -> None:
    for raw in (b"[]", b"null", b"5", b'"x"', b"[" * 64 + b"]" * 64):
        refused(await write.send(raw), 400, KINDS[kind], ("expected type object", ""))


@WRITES
async def test_unknown_members_of_the_envelope(write: Write, kind: str) -> None:
    await write.good()
    answer = await write.send(orjson.dumps({**write.body, "surprise": 1}))
    refused(answer, 400, KINDS[kind], ("property is not defined", "/surprise"))


@WRITES
async def test_a_nul_beside_the_members_of_the_envelope(write: Write, kind: str) -> None:
    for name, value, path in (
        ("a\0", 1, "/a\\u0000"),
        ("a", "\0", "/a"),
        ("a", [{"b": "\0"}], "/a/0/b"),
    ):
        answer = await write.send(orjson.dumps({**write.body, name: value}))
        refused(answer, 400, KINDS[kind], ("character not allowed", path))


@WRITES
async def test_of_duplicate_members_the_last_wins(write: Write, kind: str) -> None:
    name = next(iter(write.body))
    bad = b'{"%s":5,' % name.encode() + orjson.dumps(write.body)[1:]
    assert 200 <= (await write.send(bad)).status < 300
    worse = orjson.dumps(write.body)[:-1] + b',"%s":[5]}' % name.encode()
    answer = await write.send(worse)
    if kind in {"customers", "events"}:
        assert answer.body["results"][0]["status"] == 400
    else:
        refused_loosely(answer, 400, KINDS[kind])


@WRITES
async def test_media_types(write: Write) -> None:
    for media_type in ("text/plain", "application/xml", "multipart/form-data", "application/jsonx"):
        answer = await write.send(orjson.dumps(write.body), Content_Type=media_type)
        assert answer.status == 415
        refused_loosely(answer, 415, answer.body["message"])
    for media_type in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/json;"):
        answer = await write.send(orjson.dumps(write.body), Content_Type=media_type)
        assert 200 <= answer.status < 300, answer
    answer = await raw_call(write.client, write.method, write.path, data=orjson.dumps(write.body))
    assert 200 <= answer.status < 300, answer


@SINGLE
async def test_the_limit_is_65535_bytes(write: Write) -> None:
    fitting = orjson.dumps(write.body)
    fitting += b" " * (LIMIT - len(fitting))
    assert 200 <= (await write.send(fitting)).status < 300
    refused(await write.send(fitting + b" "), 413, f"payload exceeds {LIMIT} bytes")
    packed = await write.send(gzip.compress(fitting), Content_Encoding="gzip")
    assert 200 <= packed.status < 300
    packed = await write.send(gzip.compress(fitting + b" "), Content_Encoding="gzip")
    refused(packed, 413, f"payload exceeds {LIMIT} bytes")


async def test_a_body_that_grows_when_packed(client: Client) -> None:
    """Limits count the unpacked bytes, also of what can't be packed."""
    noise = random.Random(7).randbytes(LIMIT)  # no secret
    text = "".join(chr(0x21 + byte % 90) for byte in noise).replace("\\", "x")
    body = orjson.dumps({"nodeId": client.node_id, "externalId": "a1", "extra": text})[:LIMIT]
    body = body[:-2] + b'"}'
    packed = gzip.compress(body, compresslevel=0)
    assert len(packed) > LIMIT
    answer = await raw_call(
        client, "POST", "/customers", data=packed, headers={"Content-Encoding": "gzip"}
    )
    assert answer.status == 201


@WRITES
async def test_codings(write: Write) -> None:
    plain = orjson.dumps(write.body)
    packed = gzip.compress(plain)
    for coding in ("br", "deflate", "gzip, gzip", "zstd"):
        answer = await write.send(plain, Content_Encoding=coding)
        assert answer.status == 415
        refused_loosely(answer, 415, answer.body["message"])
    torn = packed[:12] + b"\xff\xff\xff" + packed[15:]
    for broken in (packed[:-4], torn, packed + b"more", b""):
        answer = await write.send(broken, Content_Encoding="gzip")
        refused_loosely(answer, 400, "malformed JSON")
    for coding in ("gzip", "x-gzip", "GZIP"):
        assert 200 <= (await write.send(packed, Content_Encoding=coding)).status < 300


@WRITES
async def test_gzip_of_several_members(write: Write) -> None:
    """As `cat a.gz b.gz` makes it; the limit counts what all of them hold."""
    plain = orjson.dumps(write.body)
    members = [gzip.compress(plain[:20]), gzip.compress(b""), gzip.compress(plain[20:])]
    packed = b"".join(members)
    assert 200 <= (await write.send(packed, Content_Encoding="gzip")).status < 300
    many = members[1] * 998 + packed
    for broken in (packed[:-4], packed + members[0][:5], packed + b"\x00", many):
        answer = await write.send(broken, Content_Encoding="gzip")
        refused_loosely(answer, 400, "malformed JSON")
    blanks = gzip.compress(b" " * 1_000_000)
    answer = await write.send(packed + 6 * blanks, Content_Encoding="gzip")
    assert answer.status == 413


async def test_64_levels_are_not_too_many(client: Client) -> None:
    def nested(levels: int) -> Any:
        return {"a": nested(levels - 1)} if levels else 1

    # the event, its properties, and extraProperties are the first three
    for levels, status in [(62, 202), (63, 400)]:
        event = client.event()
        event["properties"]["extraProperties"] = nested(levels)
        answer = await client.call("POST", "/events", event)
        assert answer.status == status, answer
    refused_loosely(answer, 400, "malformed JSON")


INTEGERS = [
    ("9223372036854775807", True),
    ("18446744073709551615", True),
    ("18446744073709551616", False),
    ("-9223372036854775808", True),
    ("-9223372036854775809", False),
    ("1.5", False),
    ("1.0", True),
    ("1e2", True),
    ("1e300", False),
    ('"1984"', True),
    ('"x"', False),
]


async def test_what_is_an_integer(client: Client) -> None:
    raw = '{"nodeId":"%s","externalId":"a1","base":{"educations":[{"id":"e","startYear":%s}]}}'
    for number, fits in INTEGERS:
        answer = await raw_call(client, "POST", "/customers", data=raw % (client.node_id, number))
        assert answer.status == (201 if fits else 400), (number, answer)
        if fits:  # a typed client can read it, whatever the spelling was
            assert isinstance(answer.body["base"]["educations"][0]["startYear"], int)
        else:
            refused_loosely(answer, 400, "source customer is not valid")
            assert answer.body["errors"][0]["path"] == "/base/educations/0/startYear"


@WRITES
async def test_headers_that_are_none(write: Write) -> None:
    for key in ("", "x" * 256, "schlüssel", "a\tb"):
        answer = await write.send(orjson.dumps(write.body), Idempotency_Key=key)
        explanation = ("expected 1 to 255 printable ASCII characters", "")
        refused(answer, 400, "invalid header Idempotency-Key", explanation)
    for value in ("wait=0", "wait=61", "wait=-1", "wait=x", "wait=1.5"):
        answer = await write.send(orjson.dumps(write.body), Prefer=value)
        explanation = (f"{value} is no number of seconds between 1 and 60", "")
        refused(answer, 400, "invalid header Prefer", explanation)


@WRITES
async def test_no_token_or_a_bad_one(write: Write) -> None:
    for value in (None, "", "Bearer", "Bearer ", "Bearer nobody", "Basic eA==", "Bearer \xfc"):
        headers = {} if value is None else {"Authorization": value}
        async with write.client.http.request(
            write.method, write.client.path(write.path), data=b"{", headers=headers
        ) as answer:
            raw = await answer.read()
            found = Answer(answer.status, await answer.json(), dict(answer.headers), raw)
        refused(found, 401, UNAUTHORIZED)


@WRITES
async def test_a_workspace_that_is_not_the_callers(
    write: Write, stranger: Client, unknown_id: str
) -> None:
    own = write.client
    for workspace_id in (stranger.workspace_id, unknown_id, "123", "%20"):
        there = Client(own.hub, own.http, workspace_id, own.node_id, own.token)
        answer = await there.call(write.method, write.path, data=b"{")
        shown = workspace_id.replace("%20", " ")
        refused(answer, 403, f"workspace not found: {shown}")


@WRITES
async def test_a_suspended_workspace_is_not_written_to(write: Write) -> None:
    above = acting_as(write.client, OPERATOR_TOKEN)
    try:
        assert (await above.call("PUT", "/status", {"status": "SUSPENDED"})).status == 200
        answer = await write.send(b"{")
        refused(answer, 403, f"workspace suspended: {write.client.workspace_id}")
    finally:
        await above.call("PUT", "/status", {"status": "ENABLED"})
    await write.good()


@WRITES
async def test_methods_that_are_not_there(write: Write, kind: str) -> None:
    missing = "PATCH" if kind in {"create", "session", "event"} else "TRACE"
    answer = await write.client.call(missing, write.path)
    refused(answer, 405, f"Request method '{missing}' not supported")
    assert write.method in answer.headers["Allow"]
    async with write.client.http.head(write.client.path("/operations/x")) as head:
        assert (head.status, await head.read()) == (405, b"")


@WRITES
async def test_a_preflight(write: Write) -> None:
    async with write.client.http.options(write.client.path(write.path)) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
        names = (
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Methods",
            "Access-Control-Allow-Headers",
            "Access-Control-Expose-Headers",
            "Access-Control-Max-Age",
        )
        assert [answer.headers[name] for name in names] == [
            "*",
            "GET, POST, PUT, PATCH, DELETE, OPTIONS",
            (
                "Authorization, Content-Type, Accept, Contactlab-ClientId, Contactlab-Tracing-ID, "
                "X-Tracing-ID, X-HTTP-Method-Override, Idempotency-Key, Prefer, Last-Event-ID"
            ),
            "X-Tracing-ID, Retry-After, Location, Preference-Applied",
            "86400",
        ]


async def test_a_method_is_overridden_only_by_post(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}"

    async def override(named: str, body: Any = None, method: str = "POST") -> Answer:
        return await client.call(method, path, body, headers={"X-HTTP-Method-Override": named})

    assert (await override("GET")).body == made
    patched = await override("patch", {"extra": "x"})
    assert (patched.status, patched.body["extra"]) == (200, "x")
    whole = {"nodeId": client.node_id, "externalId": "a1"}
    put = await override("PUT", whole)
    assert (put.status, put.body["extra"]) == (200, None)
    for named in ("POST", "HEAD", "OPTIONS", "FOO"):
        refused(await override(named, whole), 405, f"Request method '{named}' not supported")
    assert (await override("DELETE", method="GET")).status == 200
    gone = await override("DELETE")
    assert (gone.status, gone.raw) == (200, b"")
    assert (await client.call("GET", path)).status == 404


async def test_post_may_name_itself(client: Client) -> None:
    """Some clients send the header with every request, or leave it empty."""
    for named in ("POST", "post", ""):
        body = {"nodeId": client.node_id, "externalId": f"a{named}"}
        headers = {"X-HTTP-Method-Override": named}
        answer = await client.call("POST", "/customers", body, headers=headers)
        assert (answer.status, answer.body["externalId"]) == (201, body["externalId"])


async def test_a_route_that_is_none(client: Client) -> None:
    for method, path in [
        ("POST", "/customers/"),
        ("POST", "/customer"),
        ("PUT", "/customers/x/y/z"),
        ("POST", "/rejections/x/replay/y"),
    ]:
        refused(await client.call(method, path, {}), 404, "Not Found")
    async with client.http.get("/") as answer:
        assert (answer.status, (await answer.json())["message"]) == (404, "Not Found")


# bodies that are too large by far


async def _blanks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65_536):
        yield b" " * 65_536


def _bomb(size: int) -> bytes:
    return gzip.compress(b" " * size)


def _resident(hub: Hub) -> int:
    """Bytes of the web process and its children."""
    assert hub.web is not None
    process = psutil.Process(hub.web.pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


@pytest.mark.parametrize("path", ["/customers", "/events", "/customers/batch", "/events/batch"])
@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (lambda: BytesIO(b" " * 100_000_000), "identity"),
        (lambda: _blanks(100_000_000), "identity"),
        (lambda: _bomb(1_000_000_000 // 10), "gzip"),
        (lambda: gzip.compress(_bomb(100_000_000)), "gzip"),
    ],
    ids=["length", "chunked", "bomb", "bomb in a bomb"],
)
async def test_100_mb_are_refused_and_memory_stays_flat(
    hub: Hub, client: Client, path: str, body: Callable[[], Any], coding: str
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    before, peak = _resident(hub), 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, _resident(hub))
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    try:
        answer = await raw_call(client, "POST", path, data=body(), headers=headers)
    finally:
        watching.cancel()
    limit = BATCH_LIMIT if "batch" in path else LIMIT
    if answer.status == 413:
        refused(answer, 413, f"payload exceeds {limit} bytes")
    else:  # what the outer bomb holds is short, and no JSON
        refused_loosely(answer, 400, "malformed JSON")
    room = 4 * limit + 16_000_000
    assert peak - before < room, f"{(peak - before) / 1e6:.0f} MB more"


@pytest.mark.parametrize(
    ("header", "status", "message"),
    [
        (b"Content-Type: \xff", 415, "media type ? not supported, expected application/json"),
        (b"Content-Encoding: \xff", 415, "media type ? not supported, expected gzip or identity"),
        (b"Prefer: wait=\xff", 400, "invalid header Prefer"),
        (b"Host: \xff", 409, "Conflict with exiting customer "),
    ],
    ids=["type", "coding", "prefer", "host"],
)
async def test_a_header_that_is_no_utf_8_is_told_in_json(
    client: Client, header: bytes, status: int, message: str
) -> None:
    await client.customer(externalId="a1")
    made = await client.customer(externalId="b1")
    body = b'{"externalId":"a1"}'  # a conflict, whose answer names the host
    lines = [
        f"PATCH {client.path('/customers/' + made['id'])} HTTP/1.1".encode(),
        f"Authorization: Bearer {client.token}".encode(),
        f"Content-Length: {len(body)}".encode(),
        b"Connection: close",
        header,
        *([] if header.startswith(b"Host") else [b"Host: hub"]),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", client.hub.port)
    writer.write(b"\r\n".join([*lines, b"", body]))
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
    assert orjson.loads(answer)["message"].startswith(message)
