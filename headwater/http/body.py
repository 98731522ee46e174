"""Request bodies: limits before memory, then JSON by the rules of contacthub 2.11."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from dataclasses import replace

import orjson
from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError, Refusal
from headwater.errors import Refused
from headwater.http.gate import Place, Seat
from headwater.http.keys import SETTINGS

MAX_DEPTH = 64
MAX_MEMBERS = 1_000
"""Of a gzip stream: as many as a batch has items. Each costs, also those that hold nothing."""
_GZIP = 16 + zlib.MAX_WBITS
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


async def read_body(
    request: web.Request, limit_bytes: int, *, media_types: tuple[str, ...] = ("application/json",)
) -> bytes:
    """The unpacked body. A body over the limit is refused before it is read; memory stays flat.

    Raises:
        Refused: 415 another media type or coding, 413 too long, 400 a broken gzip stream, 408 too slow, 503 the
            workspace's bodies are its share of this process's memory already.
    """
    headers = request.headers
    if headers.get("Content-Type") != media_types[0]:
        _check_media_type(request, media_types)
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", "x-gzip", ""}:
        raise Refused(refusals.media_type_not_supported(coding, "gzip or identity"))
    length = request.content_length
    if length is not None and length > limit_bytes and coding in {"identity", ""}:
        raise Refused(refusals.payload_exceeds(limit_bytes))
    seat = request.protocol
    place = seat.place if isinstance(seat, Seat) else None
    held = 0
    if place is not None and length is not None:
        held = min(length, limit_bytes)
        place.take_bytes(held)
    if request.content.is_eof():
        if length is not None and coding == "identity":
            return _read_whole(request)
        return await _read_all(request, coding, limit_bytes, place, held)
    seconds = request.app[SETTINGS].http.body_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _read_all(request, coding, limit_bytes, place, held)
    except TimeoutError as exc:
        raise _ending(request, refusals.request_timeout("the body", seconds)) from exc


def _read_whole(request: web.Request) -> bytes:
    """The body, which is here already, and not longer than its head says."""
    try:
        return request.content.read_nowait()
    except web.RequestPayloadError as exc:
        raise _broken(request) from exc


async def _read_all(
    request: web.Request, coding: str, limit_bytes: int, place: Place | None, held: int
) -> bytes:
    """The body, for which `held` bytes of the workspace's share are held already."""
    parts: list[bytes] = []
    size = 0
    unpacker: _Unpacker | None = None
    try:
        async for chunk in request.content.iter_any():
            # a server that unpacks by itself leaves the header: the magic number tells them apart
            if not parts and coding in {"gzip", "x-gzip"} and chunk[:1] == b"\x1f":
                unpacker = _Unpacker()
            plain = chunk if unpacker is None else unpacker.unpack(chunk, limit_bytes - size)
            size += len(plain)
            if size > limit_bytes:
                raise Refused(refusals.payload_exceeds(limit_bytes))
            if size > held and place is not None:  # it is packed, or comes in chunks of any number
                place.take_bytes(size - held)
                held = size
            parts.append(plain)
    except web.RequestPayloadError as exc:
        raise _broken(request) from exc
    if unpacker is not None:
        unpacker.finish()
    return b"".join(parts)


def _broken(request: web.Request) -> Refused:
    explanation = "the body can't be read: broken gzip stream or chunks"
    return _ending(request, refusals.malformed_json(explanation))


def _ending(request: web.Request, refusal: Refusal) -> Refused:
    """The refusal of a body whose end can't be found: answer, then close."""
    request.content.feed_eof()
    request.protocol.close()
    return Refused(replace(refusal, headers=(("Connection", "close"),)))


class _Unpacker:
    """A gzip stream that comes in pieces; of a bomb no more is unpacked than tells that it is one.

    It may have several members (RFC 1952), as of files that were put one behind the other.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._members = 1

    def unpack(self, chunk: bytes, room: int) -> bytes:
        """What the chunk holds, cut off one byte beyond `room`.

        Raises:
            Refused: 400 a broken stream.
        """
        parts: list[bytes] = []
        while chunk and room >= 0:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
                self._members += 1
                if self._members > MAX_MEMBERS:
                    explanation = f"the gzip stream has more than {MAX_MEMBERS} members"
                    raise Refused(refusals.malformed_json(explanation))
            try:
                parts.append(self._member.decompress(chunk, room + 1))
            except zlib.error as exc:
                raise Refused(refusals.malformed_json(f"the gzip stream is broken: {exc}")) from exc
            room -= len(parts[-1])
            chunk = self._member.unused_data
        return b"".join(parts)

    def finish(self) -> None:
        """Refuse a stream that ends early."""
        if not self._member.eof:
            raise Refused(refusals.malformed_json("the gzip stream ends early"))


def media_type_of(request: web.Request) -> str:
    """What `Content-Type` says without its parameters; empty if it says nothing."""
    return request.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()


def _check_media_type(request: web.Request, media_types: tuple[str, ...]) -> None:
    media_type = media_type_of(request)
    if media_type and media_type not in media_types:
        raise Refused(refusals.media_type_not_supported(media_type, " or ".join(media_types)))


def parse_json(raw: bytes) -> JsonValue:
    """The value of a JSON text.

    Of duplicate members the last wins; integers beyond 64 bits become floats (and fail `integer`).

    Raises:
        Refused: 400 `malformed JSON`: empty, not UTF-8, no JSON, lone surrogates, numbers beyond a
            double, more than 64 levels.
    """
    if not raw:
        raise Refused(refusals.malformed_json("the body is empty"))
    check_depth(raw)
    return _load(raw)


def parse_shallow(raw: bytes) -> JsonValue:
    """As `parse_json`, but how deep the parts are is left to the caller (`check_depth` of each).

    The strings of a body of 96 kB take a millisecond to skip, and the items of a batch are short.
    """
    if not raw:
        raise Refused(refusals.malformed_json("the body is empty"))
    return _load(raw)


def check_depth(raw: bytes, levels: int = MAX_DEPTH) -> None:
    """Refuse JSON that nests deeper than `levels`.

    Raises:
        Refused: 400 `malformed JSON`.
    """
    if raw.count(b"[") + raw.count(b"{") > levels and _is_deep(raw, levels):
        raise Refused(refusals.malformed_json(f"more than {MAX_DEPTH} levels"))


def _load(raw: bytes) -> JsonValue:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise Refused(refusals.malformed_json(str(exc))) from exc


def _is_deep(raw: bytes, levels: int) -> bool:
    """Whether brackets nest too deep; each pass takes the innermost pairs away, all at C speed."""
    brackets = _STRINGS.sub(b"", raw).translate(_AS_SQUARE, _NO_BRACKETS)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    # text that is no JSON at all may end here too: it is refused in the same words
    return True


def find_forbidden_character(value: JsonValue, raw: bytes) -> FieldError | None:
    """The first string or member name with U+0000, which no column can hold."""
    if b"\\u0000" not in raw:
        return None
    path = _path_of_nul(value, "")
    return None if path is None else FieldError(message="character not allowed", path=path)


def _path_of_nul(value: JsonValue, path: str) -> str | None:
    if isinstance(value, str):
        return path if "\x00" in value else None
    if isinstance(value, dict):
        for name, inner in value.items():
            here = path + pointer_of([name])
            if "\x00" in name:
                return here.replace("\x00", "\\u0000")
            found = _path_of_nul(inner, here)
            if found is not None:
                return found
    if isinstance(value, list):
        for place, inner in enumerate(value):
            found = _path_of_nul(inner, f"{path}/{place}")
            if found is not None:
                return found
    return None


def as_object(value: JsonValue, raw: bytes, refuse: Callable[[FieldError], Refusal]) -> JsonObject:
    """`value` if it is an object that can be stored.

    Raises:
        Refused: the 400 of its kind, made by `refuse`.
    """
    if not isinstance(value, dict):
        raise Refused(refuse(FieldError(message="expected type object", path="")))
    forbidden = find_forbidden_character(value, raw)
    if forbidden is not None:
        raise Refused(refuse(forbidden))
    return value


async def read_object(
    request: web.Request, limit_bytes: int, refuse: Callable[[FieldError], Refusal]
) -> tuple[bytes, JsonObject]:
    """The body as it came, and the object in it."""
    raw = await read_body(request, limit_bytes)
    return raw, as_object(parse_json(raw), raw, refuse)
