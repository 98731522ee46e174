"""The update feed: a page, a wait for one, server-sent events, or lines of JSON (ops 107 and 108).

Updates come from Postgres ready to be sent; no document is parsed on its way out. What is sent is sent in
steps of bounded size, so that neither 4,000 large documents nor a reader that takes its time cost more
memory than one step.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.ids import FeedOffset
from headwater.errors import Contended, Refused, Unavailable
from headwater.http.answer import COMMON_HEADERS, json_answer
from headwater.http.app import TRACING_ID
from headwater.http.keys import POOL
from headwater.http.parameters import integer_parameter
from headwater.postgres import feed
from headwater.postgres.feed import Form, joined
from stream_api.keys import STREAM
from stream_api.reader import enter_reader
from stream_api.reading import Reading, Step, filter_of

MAX_SIZE = 4000
MAX_WAIT_SECONDS = 60
PAGE_BYTES = 16 * 1024 * 1024
"""A page ends once it holds so much, however many updates were asked for."""

_STREAM_ROWS = 1000
_MAX_NUMBER = 2**63 - 1
_MAX_HEARTBEAT_SECONDS = 12.0  # the contract wants a sign of life every 15 s

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MILLISECONDS = 253_402_300_799_999  # the end of the year 9999


async def read_last_offset(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/updates/last-offset."""
    reader = await enter_reader(request)
    wanted = filter_of(request, reader)
    async with request.app[POOL].connection() as conn:
        last_offset = await feed.read_last_offset(conn, reader.workspace_id, wanted)
    return json_answer({"lastOffset": last_offset})


async def list_updates(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/updates."""
    reader = await enter_reader(request)
    wanted = filter_of(request, reader)
    size = integer_parameter(request, "size", 50, 0, MAX_SIZE)
    wait_seconds = integer_parameter(request, "wait", 0, 0, MAX_WAIT_SECONDS)
    form = _preferred_form(request.headers.getall("Accept", []))
    after = _natural_parameter(request, "offset")
    if form is Form.EVENTS and "Last-Event-ID" in request.headers:
        after = _last_event_id(request)
    moment = None if after is not None else _timestamp(request)
    if moment is not None:
        async with request.app[POOL].connection() as conn:
            after = await feed.find_position(conn, reader.workspace_id, moment)

    reading = Reading(request=request, workspace_id=reader.workspace_id, wanted=wanted, form=form)
    send = _SENDERS[form]
    if form is Form.PAGE and not wait_seconds:
        return await send(reading, after, size, wait_seconds)
    with reading.following():
        return await send(reading, after, size, wait_seconds)


class _Sender(Protocol):
    """Answers a request in one of the forms."""

    async def __call__(
        self, reading: Reading, after: int | None, size: int, wait_seconds: int, /
    ) -> web.StreamResponse: ...


async def _send_page(
    reading: Reading, after: int | None, size: int, wait_seconds: int
) -> web.StreamResponse:
    """`{"updates":[..],"nextOffset":n}`, at once if it fits into one step, else step by step.

    The offset stands last, so that a page can end wherever trouble begins and still be a whole one.
    """
    at_end = reading.step_at_end(after) if size and wait_seconds else None
    step = at_end or await reading.next_step(after, size, shared=bool(size and wait_seconds))
    if size == 0:
        return json_answer(_end_of_page(b"", step.position))
    deadline = time.monotonic() + wait_seconds
    while not step.updates and (left := deadline - time.monotonic()) > 0:
        if not await reading.wait_beyond(step.next_offset, left):
            break
        await reading.check_rights()
        step = await reading.next_step(step.next_offset, size, shared=True)
    body = joined(step.bodies, Form.PAGE)
    left_rows, left_bytes = size - step.updates, PAGE_BYTES - len(body)
    if step.is_end or left_rows <= 0:
        return json_answer(_end_of_page(body, step.next_offset))
    async with _answering(reading.request, "application/json; charset=utf-8") as answer:
        sent = b'{"updates":[' + body
        while not step.is_end and left_rows > 0 and left_bytes > 0:
            try:
                async with reading.ahead(step.next_offset, left_rows) as upcoming:
                    if sent:
                        await answer.write(sent)
                        sent = b""
                    step = await upcoming
            except (Refused, Unavailable, Contended):
                break  # the reader goes on from here, and is told then
            body = joined(step.bodies, Form.PAGE)
            left_rows -= step.updates
            left_bytes -= len(body)
            sent = b"," + body if body else b""
        await answer.write(sent + b'],"nextOffset":%d}' % step.next_offset)
    return answer


def _end_of_page(body: bytes, next_offset: FeedOffset) -> bytes:
    return b'{"updates":[%b],"nextOffset":%d}' % (body, next_offset)


def _natural_parameter(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    number = _natural(text)
    if number is None:
        raise Refused(refusals.invalid_parameter(name, _no_natural(text)))
    return number


def _last_event_id(request: web.Request) -> int:
    text = request.headers["Last-Event-ID"].strip()
    number = _natural(text)
    if number is None:
        raise Refused(refusals.invalid_header("Last-Event-ID", _no_natural(text)))
    return number


def _natural(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 1000):
        return None
    number = int(text)
    return number if number <= _MAX_NUMBER else None


def _no_natural(text: str) -> str:
    return f"{text[:100]!r} is not a whole number between 0 and {_MAX_NUMBER}"


def _timestamp(request: web.Request) -> datetime | None:
    """Milliseconds since the epoch, of any sign; what no datetime can hold is clamped."""
    text = request.query.get("timestamp")
    if text is None:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 1000):
        explanation = f"{text[:100]!r} is not a whole number of milliseconds since 1970"
        raise Refused(refusals.invalid_parameter("timestamp", explanation))
    return _EPOCH + timedelta(milliseconds=min(max(int(text), 0), _LATEST_MILLISECONDS))


async def _send_events(
    reading: Reading, after: int | None, _size: int, _wait_seconds: int
) -> web.StreamResponse:
    """Server-sent events without end. A `position` tells how far the feed was scanned.

    A stream that can't go on ends: its client comes back with Last-Event-ID and is told why.
    """
    step = reading.step_at_end(after)
    if step is None:
        step = await reading.next_step(after, _STREAM_ROWS, shared=True)
    heartbeat_seconds = min(reading.request.app[STREAM].heartbeat_seconds, _MAX_HEARTBEAT_SECONDS)
    async with _answering(reading.request, "text/event-stream; charset=utf-8") as answer:
        told, told_at = step.position, time.monotonic()
        while not reading.is_over:
            for body in step.bodies:
                await answer.write(body)
            step = step.without_bodies()
            told = max(told, step.reached)
            now = time.monotonic()
            if now - told_at >= heartbeat_seconds or told < step.next_offset - 1000:
                await answer.write(_position_event(step.next_offset))
                told, told_at = step.next_offset, now
            woken = False
            try:
                if step.is_end:
                    left = max(told_at + heartbeat_seconds - time.monotonic(), 0.01)
                    woken = await reading.wait_beyond(step.next_offset, left)
                await reading.check_rights()
                if woken or not step.is_end:
                    step = await reading.next_step(step.next_offset, _STREAM_ROWS, shared=woken)
                else:
                    step = _nothing_after(step)
            except (Refused, Unavailable, Contended):
                break
    return answer


def _nothing_after(step: Step) -> Step:
    return Step(
        bodies=(),
        updates=0,
        reached=step.reached,
        position=step.next_offset,
        next_offset=step.next_offset,
        is_end=True,
    )


def _position_event(next_offset: FeedOffset) -> bytes:
    return b'id: %d\nevent: position\ndata: {"nextOffset":%d}\n\n' % (next_offset, next_offset)


async def _send_lines(
    reading: Reading, after: int | None, _size: int, wait_seconds: int
) -> web.StreamResponse:
    """A line per update up to the present end, then `{"nextOffset":n}`, which says it is complete.

    Trouble on the way cuts the connection: without that last line no answer may end well.
    """
    step = await reading.next_step(after, _STREAM_ROWS)
    async with _answering(reading.request, "application/x-ndjson; charset=utf-8") as answer:
        quiet_since = time.monotonic()
        try:
            while True:
                woken = False
                for body in step.bodies:
                    await answer.write(body)
                if step.updates:
                    quiet_since = time.monotonic()
                step = step.without_bodies()
                if step.is_end:
                    left = quiet_since + wait_seconds - time.monotonic()
                    woken = await reading.wait_beyond(step.next_offset, left)
                    if not woken:
                        break
                await reading.check_rights()
                step = await reading.next_step(step.next_offset, _STREAM_ROWS, shared=woken)
        except (Refused, Unavailable, Contended):
            _cut(reading.request)
            return answer
        await answer.write(b'{"nextOffset":%d}\n' % step.next_offset)
    return answer


_SENDERS: dict[Form, _Sender] = {
    Form.PAGE: _send_page,
    Form.EVENTS: _send_events,
    Form.LINES: _send_lines,
}


@asynccontextmanager
async def _answering(request: web.Request, content_type: str) -> AsyncIterator[web.StreamResponse]:
    """An answer whose headers are out. A client that goes away is no fault; any other trouble cuts
    the connection, as an error can't be told any more.
    """
    answer = web.StreamResponse(
        headers={
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy in between must not collect the events
            "X-Tracing-ID": request[TRACING_ID],
            **COMMON_HEADERS,
        }
    )
    try:
        await answer.prepare(request)
        yield answer
        await answer.write_eof()
    except ConnectionError:
        return
    except BaseException:
        _cut(request)
        raise


def _cut(request: web.Request) -> None:
    transport: asyncio.Transport | None = request.transport
    if transport is not None:
        transport.abort()


_FORMS = {
    "text/event-stream": Form.EVENTS,
    "application/x-ndjson": Form.LINES,
    "application/json": Form.PAGE,
    "application/*": Form.PAGE,
    "*/*": Form.PAGE,
}
_WEIGHT = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.ASCII | re.IGNORECASE)


def _preferred_form(accept: Sequence[str]) -> Form:
    """The form that `Accept` gives the greatest weight, of equal ones the first; a page without one."""
    preferred, greatest = Form.PAGE, 0.0
    for media_range in ",".join(accept).split(","):
        form = _FORMS.get(media_range.partition(";")[0].strip().lower())
        weight = _WEIGHT.search(media_range)
        if form is not None and (given := float(weight[1]) if weight else 1.0) > greatest:
            preferred, greatest = form, given
    return preferred
