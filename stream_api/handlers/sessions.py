"""Reading the sessions of a customer (ops 86 and 88)."""

from __future__ import annotations

from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.ids import CustomerId, find_uuid
from headwater.domain.json import JsonObject
from headwater.errors import Refused
from headwater.http.answer import json_answer
from headwater.http.caller import READERS
from headwater.http.keys import POOL
from headwater.postgres import search
from stream_api.reader import enter_reader


async def list_sessions(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/customers/{customerId}/sessions."""
    sessions = await _sessions_of(request)
    return json_answer({"elements": [_element(session) for session in sessions]})


async def read_session(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/customers/{customerId}/sessions/{sessionId}: by id, or by value."""
    sessions = await _sessions_of(request)
    text = request.match_info["sessionId"]
    session_id = find_uuid(text)
    by_id = [session for session in sessions if session.id == session_id]
    found = by_id or [session for session in sessions if session.value == text]
    if not found:
        raise Refused(refusals.entity_not_found("session", text))
    return json_answer(_element(found[0]))


def _element(session: search.StoredSession) -> JsonObject:
    return {"id": str(session.id), "value": session.value}


async def _sessions_of(request: web.Request) -> list[search.StoredSession]:
    reader = await enter_reader(request)
    text = request.match_info["customerId"]
    customer_id = find_uuid(text)
    node_id = None
    sessions: list[search.StoredSession] = []
    if customer_id is not None:
        async with request.app[POOL].connection() as conn:
            node_id = await search.find_customer_node(
                conn, reader.workspace_id, CustomerId(customer_id)
            )
            if node_id is not None:
                sessions = await search.read_sessions(
                    conn, reader.workspace_id, CustomerId(customer_id)
                )
    if node_id is None or not reader.knows(node_id):
        raise Refused(refusals.entity_not_found("customer", text))
    reader.require(READERS, node_id)
    return sessions
