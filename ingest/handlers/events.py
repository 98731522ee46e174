"""Events: operation 94, the batch, and D3. Source: contacthub 3.10, event-model 2 to 3a."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import orjson
from aiohttp import web

from headwater import clock, wire
from headwater.domain import refusal as refusals
from headwater.domain.commands import RecordEvent
from headwater.domain.configuration import DEFAULT_EVENT_BYTES
from headwater.domain.ids import EventId, find_uuid, was_minted
from headwater.domain.json import JsonObject
from headwater.errors import Refused
from headwater.http.answer import json_answer
from headwater.http.body import read_body
from headwater.http.caller import POSTERS, READERS, enter, require_role
from headwater.http.keys import POOL
from headwater.judge import Judged
from headwater.postgres.outcomes_read import find_event_status
from ingest.batch import (
    Item,
    SentItem,
    accept_and_wait_for_items,
    batch_answer,
    good_item,
    item_fingerprint,
    item_result,
    judge_items,
    keys_claimed,
    leave_items_waiting,
    read_batch,
    read_item,
    send_items,
    split_batch,
)
from ingest.write import (
    Writing,
    accept_and_wait,
    begin,
    envelope_of,
    identify_event,
    judged,
    key_claimed,
    leave_waiting,
    preference_applied,
    topic_and_key,
)


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
    accepted = orjson.dumps({"id": ids.entity_id})
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


async def record_events(request: web.Request) -> web.Response:
    """A batch of events: 202 with an outcome per item; with `Prefer: wait` 200 with the verdicts."""
    caller, config = await enter(request, write=True)
    require_role(caller, POSTERS)
    body = await read_batch(request)
    writing = begin(request, caller, config, body)
    items = split_batch(request, body, "events")
    waits = _waits(writing)
    accepted_at = clock.now()
    judge = partial(_judge_item, writing, answered=not waits, at=accepted_at)
    good, results = await judge_items(request, writing, items, judge)
    if good:
        async with keys_claimed(request, writing, good, results) as taken:
            if waits:
                await _wait_for_items(request, writing, taken, results)
            else:
                await _accept_items(writing, taken, results)
    return batch_answer(writing, results, 200 if waits else 202)


def _judge_item(
    writing: Writing, place: int, sent: SentItem, *, answered: bool, at: datetime
) -> Item[RecordEvent]:
    event, raw, own_key = read_item(sent, refusals.event_not_valid)
    if own_key is None:
        ids = identify_event(writing, item=str(place))
        fingerprint = None
    else:
        ids = identify_event(writing, key=own_key)
        fingerprint = item_fingerprint(raw)
    envelope = envelope_of(writing, ids, answered=answered, accepted_at=at, fingerprint=fingerprint)
    command = RecordEvent(envelope=envelope, event_id=EventId(ids.entity_id), body=raw)
    return good_item(place, own_key, command, judged(writing, command, event))


async def _accept_items(
    writing: Writing, good: list[Item[RecordEvent]], results: list[JsonObject]
) -> None:
    for item in good:
        results[item.place] = _accepted(item)
    await send_items(writing, [item.command for item in good], good)


async def _wait_for_items(
    request: web.Request,
    writing: Writing,
    good: list[Item[RecordEvent]],
    results: list[JsonObject],
) -> None:
    outcomes = await accept_and_wait_for_items(writing, good)
    late = [item for item, outcome in zip(good, outcomes, strict=True) if outcome is None]
    for item, outcome in zip(good, outcomes, strict=True):
        results[item.place] = item_result(request, outcome, _accepted(item))
    await leave_items_waiting(writing, late)


def _accepted(item: Item[RecordEvent]) -> JsonObject:
    return {"status": 202, "id": item.command.event_id}


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
