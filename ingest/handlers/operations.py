"""Operations: D4, what became of a write that was answered 202."""

from __future__ import annotations

from aiohttp import web

from headwater import wire
from headwater.domain import refusal as refusals
from headwater.domain.ids import find_uuid, was_minted
from headwater.domain.json import JsonObject
from headwater.errors import Refused
from headwater.http.answer import error_body, json_answer
from headwater.http.caller import READERS, WRITERS, enter, require_role
from headwater.http.keys import POOL
from headwater.postgres.outcomes_read import find_operation


async def read_operation(request: web.Request) -> web.Response:
    """PENDING, APPLIED or REJECTED."""
    caller, config = await enter(request)
    text = request.match_info["id"]
    operation_id = find_uuid(text)
    found = None
    if operation_id is not None:
        async with request.app[POOL].connection() as conn:
            found = await find_operation(conn, config.id, operation_id)
    if operation_id is None or (found is None and not was_minted(config.id, operation_id)):
        raise Refused(refusals.entity_not_found("operation", text))
    require_role(caller, READERS | WRITERS)
    if found is None:
        state: JsonObject = {"status": "PENDING", "httpStatus": None, "entity": None, "error": None}
    elif found["state"] == "REJECTED":
        error = error_body(wire.refusal_from_json(found["outcome"]), request)
        state = {
            "status": "REJECTED",
            "httpStatus": found["http_status"],
            "entity": None,
            "error": error,
        }
    else:
        entity = {"type": found["entity_type"], "id": str(found["entity_id"])}
        state = {
            "status": "APPLIED",
            "httpStatus": found["http_status"],
            "entity": entity,
            "error": None,
        }
    return json_answer({"id": str(operation_id), **state})
