"""Every parser of ours as a function of bytes, for fuzzing.

Each returns when the input is read or refused as documented; anything else is an exception, and so a fault.
What is read has to hold what the parser promises. The headers and parameters of requests are read from real
requests of aiohttp.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias
from uuid import UUID

import click
import orjson
from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from control_api.handlers import nodes, sources, workspaces
from headwater import wire
from headwater.auth import find_network, forwarded_address
from headwater.cli.feed import _Age, _before
from headwater.cli.hub import read_env
from headwater.cli.load import _read_orders
from headwater.domain import refusal as refusals
from headwater.domain.commands import (
    CreateCustomer,
    CreateSession,
    Envelope,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
)
from headwater.domain.configuration import Node, WorkspaceConfig
from headwater.domain.ids import (
    CustomerId,
    EventId,
    NodeId,
    OperationId,
    SessionId,
    WorkspaceId,
    find_uuid,
    was_minted,
)
from headwater.domain.moment import find_date, find_datetime, format_datetime
from headwater.errors import Refused, SettingInvalid
from headwater.http import parameters
from headwater.http.answer import error_body
from headwater.http.app import _tracing_id
from headwater.http.body import _Unpacker, as_object, parse_json
from headwater.http.prefer import MAX_WAIT, parse_prefer
from headwater.judge import Judged, judge
from headwater.log import loggable_path
from headwater.postgres.feed import Form
from headwater.settings import Settings
from headwater.topics import HEADER
from headwater.validation import Validator, load_schemas
from ingest import batch as posted
from ingest.results import decode_pending
from ingest.write import is_strict, session_value_of
from stream_api.handlers import customers, events, updates
from stream_api.properties import find_projection, find_sort_key, project

Parser: TypeAlias = Callable[[bytes], None]

PARSERS: dict[str, Parser] = {}
"""By name; each has a folder of that name in `corpus`."""

_ID = UUID("0195f0aa-0000-7000-8000-000000000001")
_DEFINITIONS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "year": {"type": "integer"},
    "words": {"type": "array", "items": {"type": "string"}},
    "when": {"type": "string", "format": "date-time"},
}
CONFIG = WorkspaceConfig(
    id=WorkspaceId(_ID),
    version=1,
    name="demo",
    nodes={NodeId(_ID): Node(id=NodeId(_ID), name="shop")},
    sources={},
    customer_extended=_DEFINITIONS,
    event_extended={"viewedPage": _DEFINITIONS},
)
SCHEMAS = load_schemas()
VALIDATOR = Validator(SCHEMAS)
ENVELOPE = Envelope(
    workspace_id=WorkspaceId(_ID),
    operation_id=OperationId(_ID),
    caller="a",
    accepted_at=datetime(2026, 1, 2, tzinfo=UTC),
    tracing_id="t",
    fingerprint="f",
)


def _parser(parse: Parser) -> Parser:
    PARSERS[parse.__name__] = parse
    return parse


def _request(*, query: str = "", path: str = "/", **headers: str) -> web.Request:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    message = RawRequestMessage(
        "GET", path, HttpVersion11, CIMultiDictProxy(named), (), False, None, False, False,
        URL.build(path=path, query_string=query, encoded=True),
    )  # fmt: skip
    connection: Any = SimpleNamespace(
        ssl_context=None, peername=None, sockname=None, transport=None
    )
    nothing: Any = None
    return web.Request(message, EMPTY_PAYLOAD, connection, nothing, nothing, nothing)


def _query(data: bytes) -> str:
    """As a URL may hold it: aiohttp lets no other bytes through."""
    return "".join(chr(byte) for byte in data if 0x21 <= byte < 0x7F and byte != 0x23)


def _header(data: bytes) -> str:
    """As aiohttp hands a header on."""
    kept = bytes(byte for byte in data if byte not in b"\r\n\x00")
    return kept.decode("utf-8", "surrogateescape").strip(" \t")


def _check_refusal(refusal: refusals.Refusal) -> None:
    """It can be answered, and is no fault of ours."""
    assert 400 <= refusal.status < 500, refusal
    shown = error_body(refusal, SimpleNamespace(match_info={}))  # type: ignore[arg-type]
    assert orjson.loads(orjson.dumps(shown))["message"]


def _refused_or(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except Refused as exc:
        _check_refusal(exc.refusal)
        return None


# bodies --------------------------------------------------------------------------------------------------


@_parser
def json_body(data: bytes) -> None:
    value = _refused_or(lambda: as_object(parse_json(data), data, refusals.event_not_valid))
    assert value is None or orjson.loads(orjson.dumps(value)) == value


@_parser
def gzip_body(data: bytes) -> None:
    room, unpacker, size = 65_535, _Unpacker(), 0

    def unpack() -> None:
        nonlocal size
        for start in range(0, len(data), 1_000):
            size += len(unpacker.unpack(data[start : start + 1_000], room - size))
            if size > room:
                raise Refused(refusals.payload_exceeds(room))
        unpacker.finish()

    _refused_or(unpack)
    assert size <= room + 1


@_parser
def batch_body(data: bytes) -> None:
    for item in _refused_or(lambda: posted._elements(data, "events")) or ():
        found = _refused_or(partial(posted._with_text, item))
        if found is not None:
            value, text = found
            assert orjson.loads(text) == value


@_parser
def batch_pieces(data: bytes) -> None:
    """What is read piece by piece is what is read as a whole."""
    pieces = posted._find_pieces(data, "events")
    if pieces is None:
        return
    try:
        items = [posted._read_piece(text, most_bytes=65_535)[0] for text in pieces.texts]
    except (posted._WrongGuess, Refused):
        return
    assert {"events": items} == orjson.loads(data)


@_parser
def lines_body(data: bytes) -> None:
    for line in _refused_or(lambda: posted._lines(data, "events")) or ():
        assert isinstance(line, bytes)
        _refused_or(partial(parse_json, line))


def _check_verdict(verdict: Judged) -> None:
    assert (verdict.refusal is None) is (verdict.document is not None)
    if verdict.refusal is not None:
        _check_refusal(verdict.refusal)
    else:
        assert orjson.loads(orjson.dumps(verdict.document)) == verdict.document


@_parser
def customer(data: bytes) -> None:
    customer_id = CustomerId(_ID)
    for command in (
        CreateCustomer(envelope=ENVELOPE, customer_id=customer_id, body=data),
        PatchCustomer(envelope=ENVELOPE, customer_id=customer_id, body=data),
        ReplaceCustomer(envelope=ENVELOPE, customer_id=customer_id, body=data, strict=True),
    ):
        _check_verdict(judge(command, CONFIG, None, VALIDATOR))


@_parser
def event(data: bytes) -> None:
    command = RecordEvent(envelope=ENVELOPE, event_id=EventId(_ID), body=data)
    _check_verdict(judge(command, CONFIG, None, VALIDATOR))


@_parser
def session(data: bytes) -> None:
    command = CreateSession(
        envelope=ENVELOPE, customer_id=CustomerId(_ID), session_id=SessionId(_ID), body=data
    )
    _check_verdict(judge(command, CONFIG, None, VALIDATOR))


@_parser
def configuration_body(data: bytes) -> None:
    value = _refused_or(lambda: as_object(parse_json(data), data, refusals.event_not_valid))
    if value is None:
        return
    for shape in (
        sources._NEW, sources._CHANGED, nodes._NEW, nodes._CHANGED,
        workspaces._NEW, workspaces._STATUS, workspaces._CONFIGURATION,
    ):  # fmt: skip
        read, errors = shape._check(value, "")
        if errors:
            _check_refusal(shape.refuse(*errors))
        else:
            orjson.dumps(read)
    for provider in ("API", "CONTACTSEND", "CONTACTPLAN", "x"):
        stored, errors_of = sources._checked(provider, value)
        orjson.dumps(stored)
        _check_refusal(sources._NEW.refuse(*errors_of))


# headers -------------------------------------------------------------------------------------------------


@_parser
def prefer(data: bytes) -> None:
    found = _refused_or(lambda: parse_prefer(_request(Prefer=_header(data))))
    if found is not None and found.wait_seconds is not None:
        assert 1 <= found.wait_seconds <= MAX_WAIT


@_parser
def accept(data: bytes) -> None:
    assert updates._preferred_form([_header(data)]) in Form


@_parser
def last_event_id(data: bytes) -> None:
    number = _refused_or(lambda: updates._last_event_id(_request(Last_Event_ID=_header(data))))
    assert number is None or 0 <= number < 2**63


@_parser
def tracing_id(data: bytes) -> None:
    found = _tracing_id(_request(X_Tracing_ID=_header(data)))
    assert 1 <= len(found) <= 128
    assert found.isascii()
    assert found.isprintable()


# parameters ----------------------------------------------------------------------------------------------


@_parser
def customer_parameters(data: bytes) -> None:
    request = _request(query=_query(data))
    reader: Any = SimpleNamespace(config=CONFIG)
    for key in _refused_or(lambda: customers._order(request, reader)) or ():
        assert all(isinstance(step, str) for step in key.path)
    tree = _refused_or(lambda: customers._fields(request, reader))
    if tree is not None:
        orjson.dumps(project({"id": "a", "base": None, "tags": {"auto": ["x"]}}, tree))


@_parser
def paths_of_properties(data: bytes) -> None:
    path = data.decode(errors="replace")
    key = find_sort_key(path, descending=True, config=CONFIG)
    tree = find_projection(path.split(","), CONFIG)
    if key is not None:
        assert tree != path, "what can be sorted by can be shown"


@_parser
def page_parameters(data: bytes) -> None:
    request = _request(query=_query(data))
    page = _refused_or(lambda: parameters.page_parameters(request, default_size=10))
    if page is not None:
        assert 0 <= page.number <= 2**31
        assert 0 <= page.size <= 50
        parameters.page_object(page, total=7, unfiltered=9)
    keys = _refused_or(lambda: parameters.sort_parameters(request)) or ()
    assert len(keys) <= parameters.MAX_SORT_KEYS
    text = _refused_or(lambda: parameters.text_parameter(request.query, "type"))
    assert text is None or "\x00" not in text


@_parser
def feed_parameters(data: bytes) -> None:
    request = _request(query=_query(data))
    number = _refused_or(lambda: updates._natural_parameter(request, "offset"))
    assert number is None or 0 <= number < 2**63
    moment = _refused_or(lambda: updates._timestamp(request))
    assert moment is None or moment.tzinfo is not None


@_parser
def event_parameters(data: bytes) -> None:
    request = _request(query=_query(data))
    found = _refused_or(lambda: events._types(request, SCHEMAS))
    assert found is None or found <= SCHEMAS.event_types.keys()
    found = _refused_or(lambda: events._contexts(request, SCHEMAS))
    assert found is None or found <= set(SCHEMAS.contexts)
    moment = _refused_or(lambda: parameters.moment_parameter(request.query, "dateFrom"))
    assert moment is None or moment.tzinfo is not None


@_parser
def write_parameters(data: bytes) -> None:
    request = _request(query=_query(data))
    assert _refused_or(lambda: is_strict(request)) in {None, True, False}
    value = _refused_or(lambda: session_value_of(request))
    if value is not None:
        assert 1 <= len(value) <= 255
        value.encode()


# words ---------------------------------------------------------------------------------------------------


@_parser
def moment(data: bytes) -> None:
    text = data.decode(errors="replace")
    found = find_datetime(text)
    if found is not None:
        assert find_datetime(format_datetime(found)) == found.replace(
            microsecond=found.microsecond // 1_000 * 1_000
        )
    day = find_date(text)
    assert day is None or find_date(day) == day


@_parser
def uuid(data: bytes) -> None:
    text = data.decode(errors="replace")
    found = find_uuid(text)
    if found is not None:
        assert str(found) == text.lower()
        was_minted(_ID, found)


@_parser
def forwarded_for(data: bytes) -> None:
    address = forwarded_address("::1", [data.decode(errors="replace")], [ip_network("::/0")])
    assert address is None or find_network(address.partition("%")[0]) is not None


@_parser
def network(data: bytes) -> None:
    found = find_network(data.decode(errors="replace"))
    assert found is None or find_network(str(found)) == found


@_parser
def path_for_the_log(data: bytes) -> None:
    words = {"", "hub", "v1", "customers"}
    parts = loggable_path(data.decode(errors="replace"), words).split("/")
    assert all(part in words or part == "*" or find_uuid(part) for part in parts)


# records -------------------------------------------------------------------------------------------------


@_parser
def command(data: bytes) -> None:
    header, _, body = data.partition(b"\n")
    with suppress(wire.Undecodable):
        found = wire.decode([(HEADER, header)], body)
        _check_types(found)
        assert wire.decode(*wire.encode(found)) == found


@_parser
def result(data: bytes) -> None:
    with suppress(wire.Undecodable):
        found = wire.decode_result(data)
        _check_types(found)
        assert wire.decode_result(wire.encode_result(found)).correlation == found.correlation


@_parser
def pending_write(data: bytes) -> None:
    with suppress(wire.Undecodable):
        caller, fingerprint, until, ids = decode_pending(data)
        assert isinstance(caller, str)
        assert isinstance(fingerprint, str)
        assert isinstance(until, float)
        _check_types(ids)


_SCALARS = {"str": str, "int": int, "bool": bool, "bytes": bytes, "datetime": datetime}


def _check_types(value: Any) -> None:
    """Fields of simple types hold what they are declared to hold; of others, what is in them."""
    for field in fields(value):
        inner = getattr(value, field.name)
        declared = str(field.type)
        if inner is None:
            assert "None" in declared, (field.name, declared)
        elif is_dataclass(inner):
            _check_types(inner)
        else:
            named = declared.removesuffix(" | None")
            expected = _SCALARS.get(named, UUID if named.endswith("Id") else object)
            assert isinstance(inner, expected), (field.name, declared, inner)


# files and settings --------------------------------------------------------------------------------------


@_parser
def orders_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(data)
        with suppress(click.ClickException):
            for order in _read_orders(path):
                assert order.customer
                assert 0 <= order.quantity < 10**9
                assert order.amount >= 0
                float(order.amount)


@_parser
def variables_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        # the standard library takes its time for long ones; it is a file of the operator's own
        path.write_bytes(data[:2_048])
        with suppress(click.ClickException):
            read_env(path)


@_parser
def age(data: bytes) -> None:
    with suppress(click.BadParameter):
        found = _Age().convert(data.decode(errors="replace"), None, None)
        assert found >= timedelta()
        _before(found)


@_parser
def environment(data: bytes) -> None:
    lines = data.decode("utf-8", "surrogateescape").replace("\x00", "").splitlines()
    named = dict(line.split("=", 1) for line in lines if "=" in line)
    with suppress(SettingInvalid):
        found = Settings.from_env(named)
        with suppress(SettingInvalid):
            found.check_servers(needs_kafka=True)
