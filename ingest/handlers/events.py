"""Events: operation 94, the batch, and D3. Source: contacthub 3.10, event-model 2 to 3a."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import orjson
from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.commands import RecordEvent
from headwater.domain.configuration import DEFAULT_EVENT_BYTES
from headwater.domain.ids import EventId, find_uuid, was_minted
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.refusal import FieldError
from headwater.errors import Refused, Unavailable
from headwater.http.answer import error_body, json_answer
from headwater.http.body import as_object, parse_json, read_body
from headwater.http.caller import POSTERS, READERS, enter, require_role
from headwater.http.keys import POOL
from headwater.judge import Judged
from headwater.postgres.outcomes_read import find_event_status, find_fingerprint
from headwater.topics import EVENTS
from ingest.batch import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ITEMS,
    item_fingerprint,
    item_key,
    read_items,
)
from ingest.results import Identifiers
from ingest.write import (
    Writing,
    accept_and_wait,
    begin,
    envelope_of,
    identify,
    item_error,
    judged,
    preference_applied,
    topic_and_key,
)

NDJSON = "application/x-ndjson"
KEY_SECONDS = 1.0
MAX_CHECKED = 3
"""Items of a keyed batch whose outcomes are asked for before it is accepted."""
"""How long an event waits for what Postgres knows of its key; it doesn't need to."""


async def record_event(request: web.Request) -> web.Response:
    """Accept an event: 202 once Kafka has it; with `Prefer: wait` the verdict."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_body(request, DEFAULT_EVENT_BYTES)
    writing = begin(request, caller, config, body)
    ids = identify(writing)
    command = RecordEvent(
        envelope=envelope_of(writing, ids), event_id=EventId(ids.entity_id), body=body
    )
    verdict = judged(writing, command)
    await _check_key(request, writing, ids, command.envelope.fingerprint)
    accepted = {"id": str(ids.entity_id)}
    if writing.preference.wait_seconds is None or writing.preference.respond_async:
        answered = replace(command, envelope=replace(command.envelope, answered=True))
        await writing.door.acceptor.accept(answered, *topic_and_key(command, verdict))
        return json_answer(accepted, status=202, headers=preference_applied(writing))
    result = await accept_and_wait(writing, command, verdict)
    if result is None:
        return json_answer(accepted, status=202, headers=preference_applied(writing))
    if result.refusal is not None:
        raise Refused(result.refusal)
    body = result.body or orjson.dumps(accepted)
    return json_answer(body, status=result.status, headers=preference_applied(writing))


async def _check_key(
    request: web.Request, writing: Writing, ids: Identifiers, fingerprint: str
) -> None:
    """422 if the key is known with another body. With Postgres away the processor finds it out."""
    if not ids.keyed:
        return
    try:
        async with asyncio.timeout(KEY_SECONDS), request.app[POOL].connection() as conn:
            known = await find_fingerprint(conn, writing.config.id, ids.operation_id)
    except (Unavailable, TimeoutError):
        return
    if known is not None and known != fingerprint:
        raise Refused(refusals.idempotency_key_reused())


async def record_events(request: web.Request) -> web.Response:
    """A batch of events: 202 with an outcome per item; with `Prefer: wait` 200 with the verdicts."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_body(request, MAX_BATCH_BYTES, media_types=("application/json", NDJSON))
    writing = begin(request, caller, config, body)
    media_type = request.headers.get("Content-Type", "").split(";")[0].strip().lower()
    items = list(_lines(body) if media_type == NDJSON else _elements(body))
    if not 1 <= len(items) <= MAX_BATCH_ITEMS:
        message = f"expected 1 to {MAX_BATCH_ITEMS} items, not {len(items)}"
        fault = FieldError(message=message, path="/events")
        raise Refused(refusals.request_not_valid("source batch is not valid", fault))
    waits = writing.preference.wait_seconds is not None and not writing.preference.respond_async
    results: list[JsonObject | None] = []
    good: list[tuple[int, RecordEvent, Judged, Identifiers]] = []
    for place, item in enumerate(items):
        try:
            command, verdict, ids = _judge_item(writing, place, item)
        except Refused as exc:
            results.append(item_error(exc.refusal, error_body(exc.refusal, request)))
        else:
            results.append(None)
            good.append((place, command, verdict, ids))
    if writing.idempotency_key is not None and good:
        # any item that was decided under the key tells, whichever were good then
        for place in range(min(len(items), MAX_CHECKED)):
            await _check_key(
                request, writing, identify(writing, item=str(place)), writing.fingerprint
            )
    if waits:
        await _wait_for_items(request, writing, good, results)
    else:
        await _accept_items(writing, good, results)
    rejected = sum(1 for result in results if result is not None and result["status"] >= 400)
    answer = {"accepted": len(results) - rejected, "rejected": rejected, "results": results}
    return json_answer(answer, status=200 if waits else 202, headers=preference_applied(writing))


def _elements(body: bytes) -> Iterator[tuple[JsonValue, bytes | None]]:
    for item in read_items(parse_json(body), "events"):
        yield item, None


def _lines(body: bytes) -> Iterator[tuple[JsonValue, bytes | None]]:
    for line in body.split(b"\n"):
        if line.strip():
            yield None, line


def _judge_item(
    writing: Writing, place: int, item: tuple[JsonValue, bytes | None]
) -> tuple[RecordEvent, Judged, Identifiers]:
    value, line = item
    raw = orjson.dumps(value) if line is None else line
    if line is not None:
        value = parse_json(line)
    event = as_object(value, raw, refusals.event_not_valid)
    own_key = item_key(event, refusals.event_not_valid)
    if own_key is not None:
        # the key is the request's, not the event's
        raw = orjson.dumps(
            {name: inner for name, inner in event.items() if name != "idempotencyKey"}
        )
    ids = identify(writing, item="" if own_key is not None else str(place), key=own_key)
    envelope = envelope_of(writing, ids)
    if own_key is not None:
        envelope = replace(envelope, fingerprint=item_fingerprint(raw))
    command = RecordEvent(envelope=envelope, event_id=EventId(ids.entity_id), body=raw)
    return command, judged(writing, command), ids


async def _accept_items(
    writing: Writing,
    good: list[tuple[int, RecordEvent, Judged, Identifiers]],
    results: list[JsonObject | None],
) -> None:
    commands = []
    for place, command, verdict, _ in good:
        answered = replace(command, envelope=replace(command.envelope, answered=True))
        _, key = topic_and_key(command, verdict)
        commands.append((answered, key))
        results[place] = {"status": 202, "id": str(command.event_id)}
    if commands:
        await writing.door.acceptor.accept_many(commands, EVENTS)


async def _wait_for_items(
    request: web.Request,
    writing: Writing,
    good: list[tuple[int, RecordEvent, Judged, Identifiers]],
    results: list[JsonObject | None],
) -> None:
    async def one(place: int, command: RecordEvent, verdict: Judged) -> None:
        result = await accept_and_wait(writing, command, verdict)
        if result is None:
            results[place] = {"status": 202, "id": str(command.event_id)}
        elif result.refusal is not None:
            results[place] = item_error(result.refusal, error_body(result.refusal, request))
        else:
            results[place] = {"status": 201, "id": str(command.event_id)}

    await asyncio.gather(*(one(*item[:3]) for item in good))


async def read_event_status(request: web.Request) -> web.Response:
    """What has become of an accepted event (D3)."""
    caller, config = await enter(request)
    text = request.match_info["id"]
    event_id = find_uuid(text)
    found = None
    if event_id is not None:
        async with request.app[POOL].connection() as conn:
            found = await find_event_status(conn, config.id, event_id)
    if found is not None and (
        found.gone or (found.node_id is not None and not caller.may_read(found.node_id))
    ):
        event_id = found = None
    if event_id is None or (found is None and not was_minted(config.id, event_id)):
        raise Refused(refusals.entity_not_found("event", text))
    # also an untrusted source: it was given the id, and the state says nothing of the profile
    require_role(caller, READERS | POSTERS)
    return json_answer(
        {
            "id": str(event_id),
            "status": "PENDING" if found is None else found.status,
            "reason": None if found is None else found.reason,
        }
    )
