"""Rejections: list, read, replay, discard. Source: event-model 3a."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace

from aiohttp import web

from headwater import clock, wire
from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.commands import Command, RecordEvent
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import NIL_WORKSPACE, NodeId, RejectionId, WorkspaceId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.moment import format_datetime
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.errors import Refused, Unavailable
from headwater.http.answer import empty_answer, json_answer
from headwater.http.body import as_object, parse_json, read_body
from headwater.http.caller import READERS, WRITERS, authenticate, require_role, workspace_of
from headwater.http.keys import CONFIGS, POOL
from headwater.http.parameters import (
    moment_parameter,
    page_object,
    page_parameters,
    text_parameter,
)
from headwater.judge import judge
from headwater.postgres.outcomes_read import (
    KeptRejection,
    RejectionFilter,
    count_matching_rejections,
    discard_rejection,
    list_rejections,
    read_rejections_after,
)
from headwater.topics import CUSTOMERS, EVENTS, key_of_customer
from ingest.write import DOOR, topic_and_key

REPLAY_PAGE = 100
"""Rejections in memory at once: each may hold 64 kB."""

PARAMETERS_BYTES = 64 * 1024
"""Of a body that holds parameters."""

_FILTERS = ("entity", "type", "reason", "from", "to", "status")
_STATES = ("OPEN", "REPLAYED", "DISCARDED")


async def list_rejected(request: web.Request) -> web.Response:
    """Kept refusals, newest first."""
    caller, workspace_id = await _enter(request)
    require_role(caller, READERS)
    page = page_parameters(request, default_size=10)
    wanted = _filter(request.query, caller)
    async with request.app[POOL].connection() as conn:
        kept, total = await list_rejections(
            conn, workspace_id, wanted, limit=page.size, skip=page.number * page.size
        )
        if not kept:
            total = await count_matching_rejections(conn, workspace_id, wanted)
        unfiltered = await count_matching_rejections(conn, workspace_id, _visible(caller))
    return json_answer(
        {
            "elements": [_shown(rejection) for rejection in kept],
            "page": page_object(page, total=total, unfiltered=unfiltered),
        }
    )


async def read_rejected(request: web.Request) -> web.Response:
    """One kept refusal."""
    caller, workspace_id = await _enter(request)
    rejection = await _find(request, caller, workspace_id, caller.readable)
    require_role(caller, READERS)
    return json_answer(_shown(rejection))


async def replay_one(request: web.Request) -> web.Response:
    """Put a rejected write into the pipeline again, under its first id."""
    caller, workspace_id = await _enter(request, write=True)
    rejection = await _find(request, caller, workspace_id, caller.writable)
    require_role(caller, WRITERS)
    dry_run = _is_dry_run(await _given(request, {"dryRun"}))
    if dry_run or rejection.state != "OPEN":
        return json_answer({"matched": 1, "replayed": 0}, status=200 if dry_run else 202)
    replayed = await _put_back(request, workspace_id, [rejection])
    return json_answer({"matched": 1, "replayed": replayed}, status=202)


async def replay_many(request: web.Request) -> web.Response:
    """As `replay_one`, for all open ones that the filters match, in the order of their acceptance.

    When Kafka goes away in between, 503 says how many were put back until then; they stay so, and the same
    call goes on with the others.
    """
    caller, workspace_id = await _enter(request, write=True)
    require_role(caller, WRITERS)
    given = await _given(request, {"dryRun", *_FILTERS})
    wanted = replace(_filter(given, caller), nodes=caller.writable)
    if wanted.state is None:
        wanted = replace(wanted, state="OPEN")
    dry_run = _is_dry_run(given)
    if dry_run or wanted.state != "OPEN":
        async with request.app[POOL].connection() as conn:
            matched = await count_matching_rejections(conn, workspace_id, wanted)
        return json_answer({"matched": matched, "replayed": 0}, status=200 if dry_run else 202)
    # what is refused from now on is not meant, or a busy workspace would never come to an end
    limit = clock.now()
    wanted = replace(wanted, received_to=min(wanted.received_to or limit, limit))
    matched = replayed = 0
    try:
        async for page in _pages(request, workspace_id, wanted):
            replayed += await _put_back(request, workspace_id, page)
            matched += len(page)
    except Unavailable as exc:
        explanation = f"{replayed} writes were replayed until then, repeat the call for the others"
        fault = FieldError(message=explanation, path="")
        raise Refused(replace(refusals.try_again_later(), errors=(fault,))) from exc
    return json_answer({"matched": matched, "replayed": replayed}, status=202)


async def discard(request: web.Request) -> web.Response:
    """Give a rejected write up."""
    caller, workspace_id = await _enter(request, write=True)
    rejection = await _find(request, caller, workspace_id, caller.writable)
    require_role(caller, WRITERS)
    async with request.app[POOL].connection() as conn:
        await discard_rejection(conn, workspace_id, rejection.id)
    return empty_answer(204)


async def _enter(request: web.Request, *, write: bool = False) -> tuple[Caller, WorkspaceId]:
    """As `enter`. Records that name no workspace are kept under the nil UUID, for the operator alone."""
    caller = await authenticate(request)
    if caller.is_operator and request.match_info["workspaceId"] == str(NIL_WORKSPACE):
        return caller, NIL_WORKSPACE
    config = await workspace_of(request, caller, write=write)
    return caller, config.id


async def _given(request: web.Request, names: Collection[str]) -> Mapping[str, str]:
    """The parameters of the query, and those of a JSON object in the body, if there is one.

    What is asked of a replay must not be overlooked: it puts everything back that isn't filtered out.

    Raises:
        Refused: 400 for a member that is none of `names`, is no text, or says something else than the query does.
    """
    given = dict(request.query)
    raw = await read_body(request, PARAMETERS_BYTES) if request.body_exists else b""
    if not raw:
        return given
    for name, value in as_object(parse_json(raw), raw, _refuse_replay).items():
        if name not in names:
            fault = FieldError(message="property is not defined", path=pointer_of([name]))
            raise Refused(_refuse_replay(fault))
        if value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else value
        if not isinstance(text, str):
            raise Refused(refusals.invalid_parameter(name, "expected type string"))
        if given.setdefault(name, text) != text:
            explanation = "the body says something else than the query"
            raise Refused(refusals.invalid_parameter(name, explanation))
    return given


def _refuse_replay(error: FieldError) -> refusals.Refusal:
    return refusals.request_not_valid("source replay is not valid", error)


def _is_dry_run(given: Mapping[str, str]) -> bool:
    text = given.get("dryRun", "false").lower()
    if text not in {"true", "false"}:
        raise Refused(refusals.invalid_parameter("dryRun", f"{text!r} is not true or false"))
    return text == "true"


async def _pages(
    request: web.Request, workspace_id: WorkspaceId, wanted: RejectionFilter
) -> AsyncIterator[list[KeptRejection]]:
    last: KeptRejection | None = None
    while True:
        async with request.app[POOL].connection() as conn:
            page = await read_rejections_after(conn, workspace_id, wanted, last, limit=REPLAY_PAGE)
        if not page:
            return
        yield page
        last = page[-1]


async def _put_back(
    request: web.Request, workspace_id: WorkspaceId, kept: list[KeptRejection]
) -> int:
    """Put them into Kafka, in their order; returns how many could be."""
    config = await request.app[CONFIGS].of(workspace_id)
    shares: dict[str, list[tuple[Command, bytes]]] = defaultdict(list)
    for rejection in kept:
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
        topic, key = _topic_and_key(command, config, request)
        shares[topic].append((command, key))
    for topic, share in shares.items():
        await request.app[DOOR].acceptor.accept_many(share, topic)
    return sum(map(len, shares.values()))


def _topic_and_key(
    command: Command, config: WorkspaceConfig | None, request: web.Request
) -> tuple[str, bytes]:
    if config is not None:
        verdict = judge(command, config, None, request.app[DOOR].validator)
        if verdict.refusal is None:
            return topic_and_key(command, verdict)
    # it will be refused again, with the reasons of now; order doesn't matter for that
    if isinstance(command, RecordEvent):
        return EVENTS, command.event_id.bytes
    return CUSTOMERS, key_of_customer(command.envelope.workspace_id, command.customer_id)


async def _find(
    request: web.Request,
    caller: Caller,
    workspace_id: WorkspaceId,
    nodes: frozenset[NodeId] | None,
) -> KeptRejection:
    text = request.match_info["id"]
    rejection_id = find_uuid(text)
    kept: list[KeptRejection] = []
    if rejection_id is not None:
        wanted = RejectionFilter(id=rejection_id, nodes=caller.readable, caller=caller.name)
        async with request.app[POOL].connection() as conn:
            kept, _ = await list_rejections(conn, workspace_id, wanted, limit=1)
            if not kept or nodes != caller.readable:
                seen, wanted = kept, replace(wanted, nodes=nodes)
                kept, _ = await list_rejections(conn, workspace_id, wanted, limit=1)
                if seen and not kept:
                    raise Refused(refusals.permission_missing())
    if not kept:
        raise Refused(refusals.entity_not_found("rejection", text))
    return kept[0]


def _filter(query: Mapping[str, str], caller: Caller) -> RejectionFilter:
    entity, state = query.get("entity"), query.get("status")
    if entity not in {None, "CUSTOMER", "EVENT"}:
        raise Refused(refusals.invalid_parameter("entity", "expected CUSTOMER or EVENT"))
    if state is not None and state not in _STATES:
        raise Refused(refusals.invalid_parameter("status", f"expected one of {', '.join(_STATES)}"))
    return replace(
        _visible(caller),
        entity_type=entity,
        type=text_parameter(query, "type"),
        reason=text_parameter(query, "reason"),
        received_from=moment_parameter(query, "from"),
        received_to=moment_parameter(query, "to"),
        state=state,
    )


def _visible(caller: Caller) -> RejectionFilter:
    return RejectionFilter(nodes=caller.readable, caller=caller.name)


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
