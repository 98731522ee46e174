"""Events: operation 94, the batch, and D3. Source: contacthub 3.10, event-model 2 to 3a."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import orjson
from aiohttp import web

from headwater import clock, wire
from headwater.domain import refusal as refusals
from headwater.domain.commands import Command, RecordEvent
from headwater.domain.configuration import DEFAULT_EVENT_BYTES
from headwater.domain.ids import EventId, find_uuid, was_minted
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.answer import error_body, json_answer
from headwater.http.body import (
    MAX_DEPTH,
    as_object,
    check_depth,
    parse_json,
    parse_shallow,
    read_body,
)
from headwater.http.caller import POSTERS, READERS, enter, require_role
from headwater.http.keys import POOL
from headwater.judge import Judged
from headwater.postgres.outcomes_read import find_event_status
from headwater.topics import EVENTS
from ingest.batch import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ITEMS,
    item_fingerprint,
    item_key,
    read_items,
)
from ingest.write import (
    Writing,
    accept_and_wait,
    begin,
    envelope_of,
    identify_event,
    item_error,
    judged,
    key_claimed,
    leave_waiting,
    no_longer_awaited,
    preference_applied,
    topic_and_key,
)

NDJSON = "application/x-ndjson"
_LEVELS_ABOVE = 2
"""An item of a batch stands in an array in an object."""


async def record_event(request: web.Request) -> web.Response:
    """Accept an event: 202 once Kafka has it; with `Prefer: wait` the verdict."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_body(request, DEFAULT_EVENT_BYTES)
    writing = begin(request, caller, config, body)
    waits = _waits(writing)
    ids = identify_event(writing)
    command = RecordEvent(
        envelope=envelope_of(writing, ids, answered=not waits),
        event_id=EventId(ids.entity_id),
        body=body,
    )
    verdict = judged(writing, command)
    if writing.idempotency_key is None:
        result = await _accept(writing, command, verdict, waits)
    else:
        async with key_claimed(request, writing):
            result = await _accept(writing, command, verdict, waits)
    headers = preference_applied(writing)
    accepted = b'{"id":"%b"}' % str(ids.entity_id).encode()
    if result is None:
        return json_answer(accepted, status=202, headers=headers)
    if result.refusal is not None:
        raise Refused(result.refusal)
    return json_answer(result.body or accepted, status=result.status, headers=headers)


def _waits(writing: Writing) -> bool:
    preference = writing.preference
    return preference.wait_seconds is not None and not preference.respond_async


async def _accept(
    writing: Writing, command: RecordEvent, verdict: Judged, waits: bool
) -> wire.Result | None:
    if waits:
        result = await accept_and_wait(writing, command, verdict)
        if result is None:
            await leave_waiting(writing, command, verdict)
        return result
    await writing.door.acceptor.accept(command, *topic_and_key(command, verdict))
    return None


@dataclass(slots=True, kw_only=True)  # not frozen: a quarter of the time, one for each event
class _Good:
    """An item that the front door takes, at its place in the request; `has_key`: a key of its own."""

    place: int
    has_key: bool
    command: RecordEvent
    verdict: Judged


async def record_events(request: web.Request) -> web.Response:
    """A batch of events: 202 with an outcome per item; with `Prefer: wait` 200 with the verdicts."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_body(request, MAX_BATCH_BYTES, media_types=("application/json", NDJSON))
    writing = begin(request, caller, config, body)
    media_type = request.headers.get("Content-Type", "").split(";")[0].strip().lower()
    items = _lines(body) if media_type == NDJSON else _elements(body)
    if not 1 <= len(items) <= MAX_BATCH_ITEMS:
        message = f"expected 1 to {MAX_BATCH_ITEMS} items, not {len(items)}"
        fault = FieldError(message=message, path="/events")
        raise Refused(refusals.request_not_valid("source batch is not valid", fault))
    waits = _waits(writing)
    accepted_at = clock.now()
    results: list[JsonObject | None] = [None] * len(items)
    good: list[_Good] = []
    for place, item in enumerate(items):
        try:
            good.append(_judge_item(writing, place, item, answered=not waits, at=accepted_at))
        except Refused as exc:
            results[place] = item_error(exc.refusal, error_body(exc.refusal, request))
    if good:
        async with _keys_claimed(request, writing, good, results) as taken:
            if waits:
                await _wait_for_items(request, writing, taken, results)
            else:
                await _accept_items(writing, taken, results)
    rejected = sum(1 for result in results if result is not None and result["status"] >= 400)
    answer = {"accepted": len(results) - rejected, "rejected": rejected, "results": results}
    return json_answer(answer, status=200 if waits else 202, headers=preference_applied(writing))


_Item: TypeAlias = tuple[JsonValue, bytes] | bytes
"""An element of `events` with its text, or a line that is yet to be read."""


def _elements(body: bytes) -> list[_Item]:
    value = parse_shallow(body)
    try:
        items = read_items(value, "events")
    except Refused:
        check_depth(body)
        raise
    try:
        texts = [orjson.dumps(item) for item in items]
    except orjson.JSONEncodeError as exc:  # deeper than orjson writes
        raise Refused(refusals.malformed_json(f"more than {MAX_DEPTH} levels")) from exc
    for text in texts:
        check_depth(text, MAX_DEPTH - _LEVELS_ABOVE)
    return list(zip(items, texts, strict=True))


def _lines(body: bytes) -> list[_Item]:
    # the line's end is no part of the event, whose bytes are counted
    return [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]


def _judge_item(
    writing: Writing, place: int, item: _Item, *, answered: bool, at: datetime
) -> _Good:
    value, raw = (parse_json(item), item) if isinstance(item, bytes) else item
    event = as_object(value, raw, refusals.event_not_valid)
    own_key = None
    if "idempotencyKey" in event:
        own_key = item_key(event, refusals.event_not_valid)
        # the key is the request's, not the event's
        event = {name: inner for name, inner in event.items() if name != "idempotencyKey"}
        raw = orjson.dumps(event)
    if own_key is None:
        ids = identify_event(writing, item=str(place))
        fingerprint = None
    else:
        ids = identify_event(writing, key=own_key)
        fingerprint = item_fingerprint(raw)
    envelope = envelope_of(writing, ids, answered=answered, accepted_at=at, fingerprint=fingerprint)
    command = RecordEvent(envelope=envelope, event_id=EventId(ids.entity_id), body=raw)
    verdict = judged(writing, command, event)
    return _Good(place=place, has_key=own_key is not None, command=command, verdict=verdict)


@asynccontextmanager
async def _keys_claimed(
    request: web.Request,
    writing: Writing,
    good: list[_Good],
    results: list[JsonObject | None],
) -> AsyncIterator[list[_Good]]:
    """The items whose own keys are free, for as long as they are being accepted; the others' results
    are set.

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


async def _accept_items(
    writing: Writing, good: list[_Good], results: list[JsonObject | None]
) -> None:
    commands = []
    for item in good:
        command = item.command
        _, key = topic_and_key(command, item.verdict)
        commands.append((command, key))
        results[item.place] = {"status": 202, "id": command.event_id}
    await writing.door.acceptor.accept_many(commands, EVENTS)


async def _wait_for_items(
    request: web.Request,
    writing: Writing,
    good: list[_Good],
    results: list[JsonObject | None],
) -> None:
    late: list[tuple[Command, bytes]] = []

    async def one(item: _Good) -> None:
        result = await accept_and_wait(writing, item.command, item.verdict)
        if result is None:
            _, key = topic_and_key(item.command, item.verdict)
            late.append((no_longer_awaited(item.command), key))
            results[item.place] = {"status": 202, "id": item.command.event_id}
        elif result.refusal is not None:
            results[item.place] = item_error(result.refusal, error_body(result.refusal, request))
        else:
            results[item.place] = {"status": 201, "id": item.command.event_id}

    await asyncio.gather(*(one(item) for item in good))
    await writing.door.acceptor.accept_many(late, EVENTS)


async def read_event_status(request: web.Request) -> web.Response:
    """What has become of an accepted event (D3)."""
    caller, config = await enter(request)
    text = request.match_info["id"]
    event_id = find_uuid(text)
    found = None
    if event_id is not None:
        async with request.app[POOL].connection() as conn:
            found = await find_event_status(conn, config.id, event_id)
    is_foreign = (
        found is not None
        and found.node_id is not None
        and not (caller.may_read(found.node_id) or caller.may_write(found.node_id))
    )
    if found is not None and (found.gone or (is_foreign and caller.is_source)):
        event_id = found = None
    if event_id is None or (found is None and not was_minted(config.id, event_id)):
        raise Refused(refusals.entity_not_found("event", text))
    # also an untrusted source: it was given the id, and the state says nothing of the profile
    require_role(caller, READERS | POSTERS)
    if is_foreign:
        raise Refused(refusals.permission_missing())
    return json_answer(
        {
            "id": str(event_id),
            "status": "PENDING" if found is None else found.status,
            "reason": None if found is None else found.reason,
        }
    )
