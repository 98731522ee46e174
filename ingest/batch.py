"""What the two batches have in common: reading items, identifying them, claiming their keys, accepting and
waiting for them all.

Source: event-model 3a.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

import orjson
from aiohttp import web

from headwater import wire
from headwater.domain import refusal as refusals
from headwater.domain.commands import Command
from headwater.domain.configuration import DEFAULT_EVENT_BYTES
from headwater.domain.ids import mint, mint_from_digest, space_of
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.answer import error_body, json_answer
from headwater.http.body import (
    MAX_DEPTH,
    as_object,
    check_depth,
    find_forbidden_character,
    media_type_of,
    parse_json,
    parse_shallow,
    read_body,
)
from headwater.http.keys import GATE, POOL
from headwater.judge import Judged
from ingest.results import Identifiers
from ingest.write import (
    Writing,
    item_error,
    no_longer_awaited,
    preference_applied,
    topic_and_key,
)

MAX_BATCH_BYTES = 5_242_880
MAX_BATCH_ITEMS = 1_000
NDJSON = "application/x-ndjson"
_LEVELS_ABOVE = 2
"""An item of a batch stands in an array in an object."""

ITEMS_OF_A_TURN = 4
"""A batch lets other workspaces go first after so many."""

C = TypeVar("C", bound=Command)


@dataclass(slots=True, kw_only=True)  # not frozen: a quarter of the time, one for each event
class Item(Generic[C]):
    """A good item: its place in the request, and the command that it became; `has_key`: a key of its own.

    What was read of it is not kept while the batch waits for Kafka, only where the command goes.
    """

    place: int
    has_key: bool
    command: C
    topic: str
    key: bytes


def good_item(place: int, own_key: str | None, command: C, verdict: Judged) -> Item[C]:
    """The item of a command that was judged to be good."""
    topic, key = topic_and_key(command, verdict)
    return Item(place=place, has_key=own_key is not None, command=command, topic=topic, key=key)


SentItem: TypeAlias = tuple[JsonValue, bytes] | bytes
"""An item with its text, or a line that is yet to be read."""

Sent: TypeAlias = list[JsonValue] | list[bytes]
"""The items of a batch as they were found in it."""

_OPENING = re.compile(
    rb'[ \t\r\n]*{[ \t\r\n]*"(\w+)":([ \t\r\n]*)\[([ \t\r\n]*)({[ \t\r\n]*"[^"\\]*":)'
)
_SPACE = b" \t\r\n"


@dataclass(slots=True, kw_only=True)
class Pieces:
    """Texts that are the items of the list `name` in `body`, if each of them is JSON by itself."""

    texts: list[bytes]
    body: bytes
    name: str


class _WrongGuess(Exception):
    """A piece is no JSON by itself: the batch has to be read as a whole."""


async def read_batch(request: web.Request) -> bytes:
    """The body of a batch.

    Raises:
        Refused: 415, 413, or 400 as `read_body`.
    """
    return await read_body(request, MAX_BATCH_BYTES, media_types=("application/json", NDJSON))


def split_batch(request: web.Request, body: bytes, name: str) -> Sent | Pieces:
    """The items of a batch: members of the list `name`, or the lines of NDJSON.

    Raises:
        Refused: 400, no JSON, or no list of 1 to 1,000 items.
    """
    if media_type_of(request) == NDJSON:
        return _lines(body, name)
    return _find_pieces(body, name) or _elements(body, name)


def _lines(body: bytes, name: str) -> list[bytes]:
    # the line's end is no part of the item, whose bytes are counted
    lines = [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]
    _check_count(len(lines), name)
    return lines


def _find_pieces(body: bytes, name: str) -> Pieces | None:
    """The texts of the items, if they are written as most are: `{"events": [{"type": ...}, {"type": ...}]}`.

    Where the beginning of the first item comes again behind a comma, the next one is taken to begin. If each
    piece is JSON by itself, they are the elements of the list: nothing but commas is left between them. So each
    is read, judged and forgotten before the next one, in memory that is still in the CPU's cache, and need not be
    written again: a fifth of a batch's time.
    """
    opening = _OPENING.match(body)
    if opening is None or opening[1] != name.encode():
        return None
    end = body.rfind(b"]")
    if body[end + 1 :].strip(_SPACE) != b"}":
        return None
    # between items stands what stands before the first or, as Python writes them, what stands before the list
    beginning = opening[4]
    separator = b"," + (opening[3] or opening[2]) + beginning
    first, *others = body[opening.start(4) : end].split(separator)
    if len(others) >= MAX_BATCH_ITEMS:
        return None
    return Pieces(texts=[first, *[beginning + other for other in others]], body=body, name=name)


def _elements(body: bytes, name: str) -> list[JsonValue]:
    value = parse_shallow(body)
    try:
        return _read_list(value, name, body)
    except Refused:
        check_depth(body)
        raise


def _with_text(item: JsonValue) -> SentItem:
    """An item as it is judged.

    Raises:
        Refused: 400 of the whole batch, it nests too deep.
    """
    if isinstance(item, bytes):
        return item
    try:
        text = orjson.dumps(item)
    except orjson.JSONEncodeError as exc:  # deeper than orjson writes
        raise Refused(refusals.malformed_json(f"more than {MAX_DEPTH} levels")) from exc
    check_depth(text, MAX_DEPTH - _LEVELS_ABOVE)
    return item, text


def _read_piece(text: bytes, *, most_bytes: int) -> SentItem:
    """An item as it is judged.

    Raises:
        _WrongGuess: it is none.
        Refused: as `_with_text`.
    """
    try:
        item = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise _WrongGuess from exc
    if len(text) > most_bytes:
        return _with_text(item)
    check_depth(text, MAX_DEPTH - _LEVELS_ABOVE)
    return item, text


def _refuse_batch(error: FieldError) -> refusals.Refusal:
    return refusals.request_not_valid("source batch is not valid", error)


def _read_list(value: JsonValue, name: str, body: bytes) -> list[JsonValue]:
    if not isinstance(value, dict):
        raise Refused(_refuse_batch(FieldError(message="expected type object", path="")))
    # the list's own items are looked at one by one
    around = {member: inner for member, inner in value.items() if member != name}
    forbidden = find_forbidden_character(around, body)
    if forbidden is not None:
        raise Refused(_refuse_batch(forbidden))
    for member in around:
        fault = FieldError(message="property is not defined", path=pointer_of([member]))
        raise Refused(_refuse_batch(fault))
    items = value.get(name)
    if items is None:
        fault = FieldError(message="required property is missing", path=f"/{name}")
        raise Refused(_refuse_batch(fault))
    if not isinstance(items, list):
        raise Refused(_refuse_batch(FieldError(message="expected type array", path=f"/{name}")))
    _check_count(len(items), name)
    return items


def _check_count(count: int, name: str) -> None:
    if not 1 <= count <= MAX_BATCH_ITEMS:
        message = f"expected 1 to {MAX_BATCH_ITEMS} items, not {count}"
        raise Refused(_refuse_batch(FieldError(message=message, path=f"/{name}")))


def read_item(
    sent: SentItem, refuse: Callable[[FieldError], refusals.Refusal]
) -> tuple[JsonObject, bytes, str | None]:
    """An item, its text, and its own idempotency key, which is no part of either.

    Raises:
        Refused: 400 of this item.
    """
    value, raw = (parse_json(sent), sent) if isinstance(sent, bytes) else sent
    item = as_object(value, raw, refuse)
    if "idempotencyKey" not in item:
        return item, raw, None
    own_key = _item_key(item, refuse)
    item = {name: inner for name, inner in item.items() if name != "idempotencyKey"}
    return item, orjson.dumps(item), own_key


def _item_key(item: JsonObject, refuse: Callable[[FieldError], refusals.Refusal]) -> str | None:
    key = item.get("idempotencyKey")
    if key is None:
        return None
    if (
        not isinstance(key, str)
        or not 1 <= len(key) <= 255
        or not key.isascii()
        or not key.isprintable()
    ):
        message = "expected 1 to 255 printable ASCII characters"
        raise Refused(refuse(FieldError(message=message, path="/idempotencyKey")))
    return key


async def judge_items(
    request: web.Request,
    writing: Writing,
    sent: Sent | Pieces,
    judge: Callable[[int, SentItem], Item[C]],
) -> tuple[list[Item[C]], list[JsonObject]]:
    """The good items, and a result for each item: those of the good ones are to be set. `sent` is used up. Lets other
    workspaces go first now and then.

    One item after the other is read or written, judged and forgotten.

    Raises:
        Refused: 400, an item nests too deep, or the batch is no JSON.
    """
    if not isinstance(sent, Pieces):
        return await _judge_each(request, writing, sent, _with_text, judge)
    # not longer than any limit, so that white space and escapes don't count
    most_bytes = min([DEFAULT_EVENT_BYTES, *writing.config.event_max_bytes.values()])
    read = partial(_read_piece, most_bytes=most_bytes)
    try:
        return await _judge_each(request, writing, sent.texts, read, judge)
    except _WrongGuess:
        whole = _elements(sent.body, sent.name)
    return await _judge_each(request, writing, whole, _with_text, judge)


async def _judge_each(
    request: web.Request,
    writing: Writing,
    sent: Sent,
    read: Callable[[JsonValue], SentItem],
    judge: Callable[[int, SentItem], Item[C]],
) -> tuple[list[Item[C]], list[JsonObject]]:
    good: list[Item[C]] = []
    results: list[JsonObject] = [{} for _ in sent]
    refused: list[tuple[int, refusals.Refusal]] = []
    gate = request.app[GATE]
    sent.reverse()
    for place in range(len(sent)):
        if place % ITEMS_OF_A_TURN == ITEMS_OF_A_TURN - 1 and gate.is_mixed:
            await gate.pause(writing.config.id)
        item = read(sent.pop())
        try:
            good.append(judge(place, item))
        except Refused as exc:
            refused.append((place, exc.refusal))
    # told and counted at the end: after a wrong guess all are judged once more
    for place, refusal in refused:
        results[place] = item_error(refusal, error_body(refusal, request))
    return good, results


def item_result(
    request: web.Request, outcome: wire.Result | None, pending: JsonObject
) -> JsonObject:
    """The result of an item whose outcome was waited for; `pending` if there is none yet."""
    if outcome is None:
        return pending
    if outcome.refusal is not None:
        return item_error(outcome.refusal, error_body(outcome.refusal, request))
    return {"status": 201, "id": outcome.entity_id}


def batch_answer(writing: Writing, results: Sequence[JsonObject], status: int) -> web.Response:
    """The answer to a batch: how many, and an outcome per item in request order."""
    rejected = sum(1 for result in results if result["status"] >= 400)
    answer = {"accepted": len(results) - rejected, "rejected": rejected, "results": results}
    return json_answer(answer, status=status, headers=preference_applied(writing))


def item_fingerprint(body: bytes) -> str:
    """What tells another body under the same key of an item."""
    return hashlib.sha256(body).hexdigest()[:32]


def item_ids(writing: Writing, batch: Identifiers, place: int) -> Identifiers:
    """The ids of an item, from those of its batch: who repeats or joins the batch finds its operations again."""
    workspace_id = writing.config.id
    digest = hashlib.sha512(batch.operation_id.bytes + place.to_bytes(4, "big")).digest()
    operation_id, entity_id, session_id = digest[:16], digest[16:32], digest[32:48]
    # as of single writes: the time first, so that inserts into the indexes stay local
    milliseconds = batch.entity_id.int >> 80
    named = mint(workspace_id, milliseconds, int.from_bytes(entity_id[:8], "big") >> 6)
    return replace(
        batch,
        operation_id=mint_from_digest(space_of(workspace_id, writing.caller.name), operation_id),
        entity_id=named,
        session_id=mint_from_digest(workspace_id, session_id),
    )


@asynccontextmanager
async def keys_claimed(
    request: web.Request,
    writing: Writing,
    good: list[Item[C]],
    results: list[JsonObject],
) -> AsyncIterator[list[Item[C]]]:
    """The items whose own keys are free, for as long as they are being accepted; the others' results
    are set, those of the free ones by the caller.

    Raises:
        Refused: 422, the key of the request was used with another body: that counts for all items.
    """
    whole = writing.batch
    wanted: dict[UUID, str] = {}
    if whole is not None:
        wanted[whole.operation_id] = whole.fingerprint
    reused: set[int] = set()
    for item in good:
        if not item.has_key:
            continue  # it stands and falls with the request
        envelope = item.command.envelope
        if wanted.setdefault(envelope.operation_id, envelope.fingerprint) != envelope.fingerprint:
            reused.add(item.place)
    if not wanted:
        yield good
        return
    claims = writing.door.claims
    taken = await claims.claim(request.app[POOL], writing.config.id, wanted)
    claimed = {operation: mark for operation, mark in wanted.items() if operation not in taken}
    try:
        if whole is not None and whole.operation_id in taken:
            raise Refused(refusals.idempotency_key_reused())
        free = []
        for item in good:
            if item.place in reused or item.command.envelope.operation_id in taken:
                refusal = refusals.idempotency_key_reused()
                results[item.place] = item_error(refusal, error_body(refusal, request))
            else:
                free.append(item)
        yield free
    except BaseException:
        claims.release(claimed)
        raise
    if all(results[item.place]["status"] != 202 for item in free):
        claims.release(claimed)  # decided: from now on Postgres knows


async def accept_items(writing: Writing, items: Sequence[Item[C]]) -> None:
    """Accept commands that nobody waits for, in request order.

    Raises:
        Unavailable: Kafka can't take them all; some may get there.
    """
    answered = [
        replace(item.command, envelope=replace(item.command.envelope, answered=True))
        for item in items
    ]
    await send_items(writing, answered, items)


async def leave_items_waiting(writing: Writing, items: Sequence[Item[C]]) -> None:
    """As `leave_waiting`, for items whose client is told 202.

    Raises:
        Unavailable: as `accept_items`.
    """
    await send_items(writing, [no_longer_awaited(item.command) for item in items], items)


async def accept_and_wait_for_items(
    writing: Writing, items: Sequence[Item[C]]
) -> list[wire.Result | None]:
    """Accept commands in request order and wait for their outcomes; None where there is none in time.

    Raises:
        Unavailable: as `accept_items`.
    """
    seconds = writing.preference.wait_seconds or writing.door.settings.wait_seconds
    with ExitStack() as stack:
        commands, futures = [], []
        for item in items:
            reply_to, future = stack.enter_context(writing.door.results.expect(writing.config.id))
            envelope = replace(
                item.command.envelope,
                reply_to=reply_to,
                answer_by=item.command.envelope.accepted_at + timedelta(seconds=seconds),
            )
            commands.append(replace(item.command, envelope=envelope))
            futures.append(future)
        await send_items(writing, commands, items)
        if futures:
            await asyncio.wait(futures, timeout=seconds)
        return [future.result() if future.done() else None for future in futures]


async def send_items(
    writing: Writing, commands: Sequence[Command], items: Sequence[Item[C]]
) -> None:
    """Accept what became of the items' commands, in request order.

    Raises:
        Unavailable: as `accept_items`.
    """
    by_topic: dict[str, list[tuple[Command, bytes]]] = defaultdict(list)
    for command, item in zip(commands, items, strict=True):
        by_topic[item.topic].append((command, item.key))
    for topic, share in by_topic.items():
        await writing.door.acceptor.accept_many(share, topic)
