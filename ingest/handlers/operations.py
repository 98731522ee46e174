"""Operations: D4, what became of a write that was answered 202."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from headwater import wire
from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import find_uuid, space_of, was_minted
from headwater.domain.json import JsonObject
from headwater.errors import Refused
from headwater.http.answer import error_body, json_answer
from headwater.http.caller import POSTERS, READERS, enter, require_role
from headwater.http.keys import POOL
from headwater.postgres.outcomes_read import find_operation


async def read_operation(request: web.Request) -> web.Response:
    """PENDING, APPLIED or REJECTED; nothing of the document.

    A source is told of the operations that it started, an untrusted one too: it was given their Location.
    """
    caller, config = await enter(request)
    text = request.match_info["id"]
    operation_id = find_uuid(text)
    if operation_id is None or not _may_be_told(caller, config, operation_id):
        raise Refused(refusals.entity_not_found("operation", text))
    async with request.app[POOL].connection() as conn:
        found = await find_operation(conn, config.id, operation_id)
    if found is None and not _was_started(caller, config, operation_id):
        raise Refused(refusals.entity_not_found("operation", text))
    require_role(caller, READERS | POSTERS)
    return json_answer({"id": str(operation_id), **_state(found, request)})


def _may_be_told(caller: Caller, config: WorkspaceConfig, operation_id: UUID) -> bool:
    return not caller.is_source or was_minted(space_of(config.id, caller.name), operation_id)


def _was_started(caller: Caller, config: WorkspaceConfig, operation_id: UUID) -> bool:
    """Whether somebody of the workspace, or the caller, can have started it."""
    callers = [str(source_id) for source_id in config.sources]
    callers += [f"user:{user_id}" for user_id in config.users]
    return any(
        was_minted(space_of(config.id, name), operation_id) for name in (caller.name, *callers)
    )


def _state(found: JsonObject | None, request: web.Request) -> JsonObject:
    state: JsonObject = {"status": "PENDING", "httpStatus": None, "entity": None, "error": None}
    if found is None:
        return state
    state |= {"status": found["state"], "httpStatus": found["http_status"]}
    if found["state"] == "REJECTED":
        state["error"] = error_body(wire.refusal_from_json(found["outcome"]), request)
    elif found["entity_id"] is not None:  # a batch as a whole is about none
        state["entity"] = {"type": found["entity_type"], "id": str(found["entity_id"])}
    return state
