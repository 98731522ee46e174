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

JSON = "application/json; charset=utf-8"

COMMON_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Tracing-ID, Retry-After, Location, Preference-Applied",
    "X-Content-Type-Options": "nosniff",
    "Server": "Headwater",  # aiohttp would name its version and Python's
}
"""What every answer has. Any page may call the hub: a token is what lets in, never a cookie."""

COMMON_LINES = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS.items())
"""The same as they are sent."""


def plain_head(status: str, more: str, tracing_id: str, length: int) -> str:
    """The head of an answer with a body on a connection that goes on; `more` are whole lines."""
    return (
        f"HTTP/1.1 {status}\r\n{more}X-Tracing-ID: {tracing_id}\r\n{COMMON_LINES}"
        f"Content-Length: {length}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
    )


class Answer(web.Response):
    """An answer that is whole; `tracing_id` is set before it is sent.

    aiohttp asks in turn for cookies, compression, chunks, hooks and versions. An answer with a body on a connection
    that goes on has none of these, so it is written at once; all others go aiohttp's way. So do those with more
    headers than `Content-Type`: aiohttp looks whether a value would begin another line.
    """

    tracing_id: str | None = None

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
            or self.tracing_id is None
            or len(self._headers) > 1
        ):
            if self.tracing_id is not None:
                set_common_headers(self, self.tracing_id)
            return await super()._start(request)
        self._keep_alive = self._eof_sent = True
        head = plain_head(
            f"{self._status} {self._reason}",
            f"Content-Type: {self._headers[hdrs.CONTENT_TYPE]}\r\n",
            self.tracing_id,
            len(self._body),
        )
        writer = request.writer
        await writer.write(head.encode() + self._body)
        await writer.drain()
        return writer


def set_common_headers(answer: web.StreamResponse, tracing_id: str) -> None:
    """Give an answer what every one has."""
    answer.headers["X-Tracing-ID"] = tracing_id
    answer.headers.update(COMMON_HEADERS)


def json_answer(
    body: bytes | JsonValue, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`body` as it is if it is bytes, else as JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Answer(body=raw, status=status, headers={"Content-Type": JSON, **(headers or {})})


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
