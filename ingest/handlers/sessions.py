"""Sessions: operation 87."""

from __future__ import annotations

from aiohttp import web

from headwater.domain.commands import CreateSession
from headwater.domain.configuration import MAX_CUSTOMER_BYTES
from headwater.domain.ids import SessionId
from headwater.http.answer import json_answer
from headwater.http.body import read_body
from headwater.http.caller import POSTERS, enter, require_role
from ingest.precedence import about_customer
from ingest.write import (
    answer_write,
    begin,
    envelope_of,
    identify,
    judged,
    preference_applied,
)


async def create_session(request: web.Request) -> web.Response:
    """Assign a session value to a customer; 201 with its id, also if the customer had it already."""
    caller, config = await enter(request, write=True)
    async with about_customer(request, caller, config) as customer_id:
        require_role(caller, POSTERS)
        body = await read_body(request, MAX_CUSTOMER_BYTES)
        writing = begin(request, caller, config, body)
        ids = identify(writing)
        command = CreateSession(
            envelope=envelope_of(writing, ids),
            customer_id=customer_id,
            session_id=SessionId(ids.session_id),
            body=body,
        )
        verdict = judged(writing, command)
    result = await answer_write(request, writing, command, verdict, ids)
    if isinstance(result, web.Response):
        return result
    return json_answer(
        result.body or b"{}", status=result.status, headers=preference_applied(writing)
    )
