"""The application factory and its one middleware: tracing, CORS, errors, method override.

One, because each costs 1 to 2 % of every request. Source: contacthub 2.1, 2.3, 2.4, 2.9.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

from headwater import metrics
from headwater.clock import monotonic
from headwater.domain import refusal as refusals
from headwater.errors import Contended, Refused, Unavailable
from headwater.http.answer import Answer, error_answer, set_common_headers
from headwater.http.keys import DRAINING
from headwater.log import loggable_path, loggable_word
from headwater.randomness import random_digits

log = structlog.get_logger()

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRACING_ID = web.RequestKey("tracing_id", str)
WORDS = web.AppKey("words", frozenset[str])
"""The fixed parts of all routes: what of a URL may be logged."""

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Accept, Contactlab-ClientId, Contactlab-Tracing-ID, "
        "X-Tracing-ID, X-HTTP-Method-Override, Idempotency-Key, Prefer, Last-Event-ID"
    ),
    "Access-Control-Max-Age": "86400",
}
CLIENT_GONE = 499
"""For the counters only: no client gets it."""

_OVERRIDES = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_PARAMETER = re.compile(r"\{(\w+)\}")
_TRACEABLE = re.compile(r"[\x21-\x7e]{1,128}")
_UNKNOWN_METHOD = re.compile(r"\n  b'([A-Z][A-Z0-9-]{0,31}) [^ ]+ HTTP/1\.[01]'\n")
"""Where aiohttp tells of a method that it doesn't know: as Python writes the first line of the request. What looks
like no method, as `get`, is no request at all."""


def build_app(
    routes: Iterable[web.AbstractRouteDef], *, state: Mapping[web.AppKey[Any], Any]
) -> web.Application:
    """An application with these routes; `state` is what their handlers need, by key."""
    app = web.Application(middlewares=[envelope], client_max_size=0)
    app.add_routes(_with_any_ids(routes))
    app[WORDS] = frozenset(
        word for resource in app.router.resources() for word in resource.canonical.split("/")
    )
    app[DRAINING] = asyncio.Event()
    for key, value in state.items():
        app[key] = value
    return app


def _with_any_ids(routes: Iterable[web.AbstractRouteDef]) -> Iterator[web.AbstractRouteDef]:
    """What is no id is an unknown one, also with the braces that aiohttp's own pattern leaves out."""
    for route in routes:
        assert isinstance(route, web.RouteDef)
        path = _PARAMETER.sub(r"{\1:[^/]+}", route.path)
        yield web.RouteDef(route.method, path, route.handler, route.kwargs)


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What every answer has, whatever happens inside."""
    started = monotonic()
    tracing_id = _tracing_id(request)
    request[TRACING_ID] = tracing_id
    if request.method == "OPTIONS":
        answer: web.StreamResponse = web.Response(status=204, headers=_PREFLIGHT)
    else:
        answer = await _answer(request, handler, tracing_id)
    if isinstance(answer, Answer):
        answer.tracing_id = tracing_id
    elif not answer.prepared:
        set_common_headers(answer, tracing_id)
    metrics.answered(request, answer.status, monotonic() - started)
    return answer


async def _answer(request: web.Request, handler: Handler, tracing_id: str) -> web.StreamResponse:
    try:
        if request.method == "POST" and "X-HTTP-Method-Override" in request.headers:
            return await _as_named_method(request)
        return await handler(request)
    except Refused as exc:
        return _refused(exc.refusal, request, tracing_id)
    except (Unavailable, Contended) as exc:
        log.warning(
            "unavailable",
            path=_path_of(request),
            tracing_id=loggable_word(tracing_id),
            error=str(exc),
        )
        return _refused(refusals.try_again_later(), request, tracing_id)
    except web.HTTPMethodNotAllowed as exc:
        refusal = refusals.method_not_supported(exc.method.upper())
        answer = _refused(refusal, request, tracing_id)
        answer.headers["Allow"] = ", ".join(sorted(exc.allowed_methods))
        return answer
    except web.HTTPNotFound:
        return _refused(refusals.route_not_found(), request, tracing_id)
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        refusal = refusals.Refusal(status=exc.status, reason="http", message=exc.reason)
        return _refused(refusal, request, tracing_id)
    except Exception as exc:
        if isinstance(exc, ConnectionError) and _is_gone(request):
            # it went away in the middle of its body: nothing was written, nobody reads the answer
            log.info(
                "client went away", path=_path_of(request), tracing_id=loggable_word(tracing_id)
            )
            return web.Response(status=CLIENT_GONE)
        logref = str(uuid.uuid4())
        log.exception(
            "request failed",
            path=_path_of(request),
            tracing_id=loggable_word(tracing_id),
            logref=logref,
        )
        return error_answer(refusals.internal_error(), request, logref)


class HeadTooSlow(HttpProcessingError):
    """The head of a request did not come in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(code=408, message="")
        self.seconds = seconds


def answer_to_no_request(
    request: web.Request, status: int, exc: BaseException | None
) -> web.Response:
    """For what aiohttp can't make a request of, so that nothing above has seen it; ends the connection."""
    refusal = refusals.internal_error()
    if isinstance(exc, HeadTooSlow):
        refusal = refusals.request_timeout("the head of the request", exc.seconds)
    elif isinstance(exc, BadHttpMethod) and (line := _UNKNOWN_METHOD.search(exc.message)):
        refusal = refusals.method_not_supported(line[1])
    elif status < 500:
        is_long = isinstance(exc, LineTooLong)
        refusal = refusals.malformed_request("the URL or a header is too long" if is_long else "")
    return _answer_and_close(request, refusal)


def answer_to_expectation(request: web.Request) -> web.Response:
    """For an `Expect` that is not `100-continue`: its client sends no body before it is told."""
    return _answer_and_close(request, refusals.expectation_failed())


def _answer_and_close(request: web.Request, refusal: refusals.Refusal) -> web.Response:
    tracing_id, logref = new_tracing_id(), str(uuid.uuid4())
    metrics.REFUSALS.inc(refusal.reason)
    log.info(
        "refused",
        status=refusal.status,
        reason=refusal.reason,
        tracing_id=tracing_id,
        logref=logref,
    )
    answer = error_answer(refusal, request, logref)
    set_common_headers(answer, tracing_id)
    answer.force_close()
    return answer


def _is_gone(request: web.Request) -> bool:
    transport = request.transport
    return transport is None or transport.is_closing()


def _refused(refusal: refusals.Refusal, request: web.Request, tracing_id: str) -> web.Response:
    metrics.REFUSALS.inc(refusal.reason)
    logref = str(uuid.uuid4())
    client = request.headers.get("Contactlab-ClientId")
    log.info(
        "refused",
        status=refusal.status,
        reason=refusal.reason,
        method=request.method,
        path=_path_of(request),
        tracing_id=loggable_word(tracing_id),
        logref=logref,
        client=None if client is None else loggable_word(client),
    )
    return error_answer(refusal, request, logref)


def _path_of(request: web.Request) -> str:
    words = request.app[WORDS]
    return loggable_path(request.path, words)


async def _as_named_method(request: web.Request) -> web.StreamResponse:
    named = request.headers["X-HTTP-Method-Override"].strip().upper() or "POST"
    if named not in _OVERRIDES:
        raise Refused(refusals.method_not_supported(named))
    renamed = request.clone(method=named)
    match_info = await request.app.router.resolve(renamed)
    match_info.add_app(request.app)
    match_info.freeze()
    renamed._match_info = match_info  # noqa: SLF001  # aiohttp has no public way to dispatch again
    renamed[TRACING_ID] = request[TRACING_ID]
    return await match_info.handler(renamed)


def _tracing_id(request: web.Request) -> str:
    given = request.headers.get("X-Tracing-ID") or request.headers.get("Contactlab-Tracing-ID")
    if given and _TRACEABLE.fullmatch(given):
        return given
    return new_tracing_id()


def new_tracing_id() -> str:
    """For a request whose client gave it none."""
    return random_digits()
