"""Answers: JSON, nothing, or the error body of contacthub 2.3."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import orjson
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.refusal import Refusal
from headwater.http.keys import SETTINGS

_JSON = "application/json; charset=utf-8"


class Answer(web.Response):
    """An answer that is whole.

    aiohttp asks in turn for cookies, compression, chunks, hooks and versions. An answer with a body on a connection
    that goes on has none of these, so its headers are written at once; all others go aiohttp's way.
    """

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        if (
            not isinstance(self._body, bytes)
            or self._must_be_empty_body
            or self._keep_alive is not None
            or self._compression
            or self._chunked
            or self._cookies
            or request.version != HttpVersion11
            or not request.keep_alive
        ):
            return await super()._start(request)
        self._req, self._keep_alive = request, True
        headers = self._headers
        headers[hdrs.CONTENT_LENGTH] = str(len(self._body))
        headers[hdrs.DATE] = rfc822_formatted_time()
        writer = self._payload_writer = request.writer
        await writer.write_headers(f"HTTP/1.1 {self._status} {self._reason}", headers)
        return writer


def json_answer(
    body: bytes | JsonValue, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`body` as it is if it is bytes, else as JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer(body=raw, status=status, headers={"Content-Type": _JSON, **(headers or {})})


def empty_answer(status: int = 200) -> web.Response:
    """No body at all: some clients take any body of a DELETE for a failure."""
    return web.Response(status=status, headers={"Content-Length": "0"} if status != 204 else None)


def base_url(request: web.Request) -> str:
    """Scheme and host as the client sees them, without a slash at the end."""
    settings = request.app.get(SETTINGS)
    public = None if settings is None else settings.http.public_url
    return public.rstrip("/") if public else f"{request.scheme}://{_encodable(request.host)}"


def _encodable(text: str) -> str:
    """`text` with a question mark for what JSON can't hold: bytes of a header that are no UTF-8."""
    return text.encode(errors="replace").decode()


def error_body(refusal: Refusal, request: web.Request, logref: str = "") -> JsonObject:
    """The four members that every error has."""
    data = refusal.data
    if data is not None and "customer" in data:
        workspace_id = request.match_info.get("workspaceId", "")
        customer_id = data["customer"]["id"]
        path = f"/hub/v1/workspaces/{workspace_id}/customers/{customer_id}"
        data = {"customer": {"id": customer_id, "href": base_url(request) + path}}
    return {
        "message": _encodable(refusal.message),
        "logref": logref or str(uuid.uuid4()),
        "data": data,
        "errors": [
            {
                "message": _encodable(error.message),
                "path": error.path,
                "code": None,
                "data": None,
            }
            for error in refusal.errors
        ],
    }


def error_answer(refusal: Refusal, request: web.Request, logref: str = "") -> web.Response:
    """The answer to a refused request."""
    headers = dict(refusal.headers)
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return json_answer(error_body(refusal, request, logref), status=refusal.status, headers=headers)
