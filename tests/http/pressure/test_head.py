"""What may be refused by its first bytes: only what nobody can read in two ways."""

from __future__ import annotations

import uuid

import pytest

from headwater.auth import Authenticator, Caller
from headwater.configuration import ConfigCache
from headwater.domain.configuration import Role, WorkspaceConfig
from headwater.domain.ids import WorkspaceId
from headwater.http.gate import Gate, Place
from headwater.http.head import Doorkeeper, Head
from headwater.postgres.config import hash_token
from headwater.postgres.pool import open_pool
from headwater.settings import PostgresSettings

TOKEN = "a-token"
WORKSPACE = WorkspaceId(uuid.uuid4())
USUAL = b"POST /hub/v1/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture
async def keeper() -> Doorkeeper:
    """At the door of a process that is full of one workspace's requests."""
    pool = await open_pool(PostgresSettings())
    configs = ConfigCache(pool)
    config = WorkspaceConfig(id=WORKSPACE, version=1, name="x", nodes={}, sources={})
    configs._keep(config)
    auth = Authenticator(pool, configs)
    caller = Caller(
        name="x",
        roles=frozenset({Role.TRUSTED_APPLICATION}),
        workspace_id=WORKSPACE,
        readable=None,
        writable=None,
    )
    auth._callers[hash_token(TOKEN)] = (config, caller)
    gate = Gate(places=2, size_bytes=1_000)
    gate.enter(WORKSPACE)
    return Doorkeeper(gate, auth)


async def test_a_usual_request_is_refused_by_its_head(keeper: Doorkeeper) -> None:
    for sent, rest in ((b"", 5), (b"ab", 3), (b"abcde", 0)):
        found = keeper.look(USUAL + sent)
        assert isinstance(found, Head)
        assert (found.party, found.rest_bytes) == (WORKSPACE, rest)
    traced = USUAL.replace(b"Host: x", b"contactlab-tracing-id: t-1\r\nConnection: keep-alive")
    found = keeper.look(traced)
    assert isinstance(found, Head)
    assert found.tracing_id == "t-1"


async def test_it_gets_a_place_as_soon_as_there_is_one(keeper: Doorkeeper) -> None:
    keeper._gate.shares[WORKSPACE].places = 0
    keeper._gate.places = 0
    assert isinstance(keeper.look(USUAL), Place)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Content-Length: 5", b"Content-Length:\t5"),
        (b"Content-Length: 5", b"Content-Length : 5"),
        (b"Content-Length: 5", b"Content-Length: +5"),
        (b"Content-Length: 5", b"Content-Length: 5, 5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6"),
        (b"Content-Length: 5", b"Content-Length: 5\r\ncontent-length:\t6"),
        (b"Content-Length: 5", b"X: y\nContent-Length: 5"),
        (b"Content-Length: 5", b"X: y\rContent-Length: 5"),
        (b"Content-Length: 5", b"X: y\r\n Content-Length: 5"),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding : chunked"),
        (b"Content-Length: 5", b"Expect: 100-continue\r\nContent-Length: 5"),
        (b"Content-Length: 5", b"Connection: close\r\nContent-Length: 5"),
        (b"Content-Length: 5", b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 5"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"POST", b"OPTIONS"),
        (b"POST", b"HEAD"),
        (b"Bearer a-token", b"Bearer another"),
        (b"Bearer a-token", b"Basic a-token"),
        (b"\r\n\r\n", b"\r\n"),
        (b"\r\n\r\n", b"\r\n\r\nabcdePOST / HTTP/1.1\r\n"),
    ],
)
async def test_all_else_is_parsed_first(keeper: Doorkeeper, old: bytes, new: bytes) -> None:
    assert old in USUAL
    assert keeper.look(USUAL.replace(old, new)) is None
