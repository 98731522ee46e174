"""Rejections: list, read, replay, discard. Source: event-model 3a."""

from __future__ import annotations

import base64
from dataclasses import replace

from aiohttp import web

from headwater import wire
from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.commands import Command, RecordEvent
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import NodeId, RejectionId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.moment import format_datetime
from headwater.errors import Refused
from headwater.http.answer import empty_answer, json_answer
from headwater.http.caller import READERS, WRITERS, enter, require_role
from headwater.http.keys import POOL
from headwater.http.parameters import moment_parameter, page_object, page_parameters
from headwater.judge import judge
from headwater.postgres.outcomes_read import (
    KeptRejection,
    RejectionFilter,
    count_rejections,
    discard_rejection,
    list_rejections,
)
from headwater.topics import CUSTOMERS, EVENTS, key_of_customer
from ingest.write import DOOR, topic_and_key

MAX_REPLAY = 10_000
_STATES = ("OPEN", "REPLAYED", "DISCARDED")


async def list_rejected(request: web.Request) -> web.Response:
    """Kept refusals, newest first."""
    caller, config = await enter(request)
    require_role(caller, READERS)
    page = page_parameters(request, default_size=10)
    wanted = _filter(request, caller)
    async with request.app[POOL].connection() as conn:
        kept, total = await list_rejections(
            conn, config.id, wanted, limit=page.size, skip=page.number * page.size
        )
        if not kept:
            _, total = await list_rejections(conn, config.id, wanted, limit=1)
        unfiltered = await count_rejections(conn, config.id)
    return json_answer(
        {
            "elements": [_shown(rejection) for rejection in kept],
            "page": page_object(page, total=total, unfiltered=unfiltered),
        }
    )


async def read_rejected(request: web.Request) -> web.Response:
    """One kept refusal."""
    caller, config = await enter(request)
    rejection = await _find(request, caller, config, caller.readable)
    require_role(caller, READERS)
    return json_answer(_shown(rejection))


async def replay_one(request: web.Request) -> web.Response:
    """Put a rejected write into the pipeline again, under its first id."""
    caller, config = await enter(request, write=True)
    rejection = await _find(request, caller, config, caller.writable)
    require_role(caller, WRITERS)
    return await _replay(request, config, [rejection])


async def replay_many(request: web.Request) -> web.Response:
    """As `replay_one`, for all open ones that the filters match."""
    caller, config = await enter(request, write=True)
    require_role(caller, WRITERS)
    wanted = replace(_filter(request, caller), nodes=caller.writable)
    if wanted.state is None:
        wanted = replace(wanted, state="OPEN")
    async with request.app[POOL].connection() as conn:
        kept, _ = await list_rejections(conn, config.id, wanted, limit=MAX_REPLAY)
    return await _replay(request, config, kept)


async def discard(request: web.Request) -> web.Response:
    """Give a rejected write up."""
    caller, config = await enter(request, write=True)
    rejection = await _find(request, caller, config, caller.writable)
    require_role(caller, WRITERS)
    async with request.app[POOL].connection() as conn:
        await discard_rejection(conn, config.id, rejection.id)
    return empty_answer(204)


async def _replay(
    request: web.Request, config: WorkspaceConfig, kept: list[KeptRejection]
) -> web.Response:
    text = request.query.get("dryRun", "false").lower()
    if text not in {"true", "false"}:
        raise Refused(refusals.invalid_parameter("dryRun", f"{text!r} is not true or false"))
    if text == "true":
        return json_answer({"matched": len(kept), "replayed": 0})
    door = request.app[DOOR]
    replayed = 0
    for rejection in kept:
        if rejection.state != "OPEN":
            continue
        try:
            command = wire.decode_envelope(rejection.envelope, rejection.payload)
        except wire.Undecodable:
            continue  # it never was a command: it can only be discarded
        envelope = replace(
            command.envelope,
            replay_of=RejectionId(rejection.id),
            reply_to=None,
            answer_by=None,
            answered=True,
        )
        command = replace(command, envelope=envelope)
        await door.acceptor.accept(command, *_topic_and_key(command, config, request))
        replayed += 1
    return json_answer({"matched": len(kept), "replayed": replayed}, status=202)


def _topic_and_key(
    command: Command, config: WorkspaceConfig, request: web.Request
) -> tuple[str, bytes]:
    verdict = judge(command, config, None, request.app[DOOR].validator)
    if verdict.refusal is None:
        return topic_and_key(command, verdict)
    # it will be refused again, with the reasons of now; order doesn't matter for that
    if isinstance(command, RecordEvent):
        return EVENTS, command.event_id.bytes
    entity = command.customer_id
    return CUSTOMERS, key_of_customer(config.id, entity)


async def _find(
    request: web.Request,
    caller: Caller,
    config: WorkspaceConfig,
    nodes: frozenset[NodeId] | None,
) -> KeptRejection:
    text = request.match_info["id"]
    rejection_id = find_uuid(text)
    kept: list[KeptRejection] = []
    if rejection_id is not None:
        wanted = RejectionFilter(id=rejection_id, nodes=nodes, caller=caller.name)
        async with request.app[POOL].connection() as conn:
            kept, _ = await list_rejections(conn, config.id, wanted, limit=1)
    if not kept:
        raise Refused(refusals.entity_not_found("rejection", text))
    return kept[0]


def _filter(request: web.Request, caller: Caller) -> RejectionFilter:
    query = request.query
    entity, state = query.get("entity"), query.get("status")
    if entity not in {None, "CUSTOMER", "EVENT"}:
        raise Refused(refusals.invalid_parameter("entity", "expected CUSTOMER or EVENT"))
    if state is not None and state not in _STATES:
        raise Refused(refusals.invalid_parameter("status", f"expected one of {', '.join(_STATES)}"))
    return RejectionFilter(
        entity_type=entity,
        type=query.get("type"),
        reason=query.get("reason"),
        received_from=moment_parameter(request, "from"),
        received_to=moment_parameter(request, "to"),
        state=state,
        nodes=caller.readable,
        caller=caller.name,
    )


def _shown(rejection: KeptRejection) -> JsonObject:
    shown: JsonObject = {
        "id": str(rejection.id),
        "entity": rejection.entity_type,
        "type": rejection.type,
        "receivedAt": format_datetime(rejection.received_at),
        "reason": rejection.reason,
        "errors": rejection.errors,
        "sourceId": rejection.caller,
        "status": rejection.state,
    }
    try:
        shown["payload"] = rejection.payload.decode()
    except UnicodeDecodeError:
        shown["payloadBase64"] = base64.b64encode(rejection.payload).decode()
    return shown
