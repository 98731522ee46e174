"""The update feed: a page, a wait for one, server-sent events, or lines of JSON (ops 107 and 108).

Pages are put together from stored JSON text; no document is parsed on its way out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.ids import FeedOffset, WorkspaceId
from headwater.errors import Contended, Refused, Unavailable
from headwater.http.answer import json_answer
from headwater.http.app import CORS, TRACING_ID
from headwater.http.caller import FOLLOWERS
from headwater.http.keys import POOL
from headwater.http.parameters import integer_parameter
from headwater.postgres import feed
from headwater.postgres.feed import FeedFilter, FeedPage, FeedRow
from stream_api.follow import Follower
from stream_api.keys import FOLLOWER, STREAM
from stream_api.reader import Reader, enter_reader

MAX_SIZE = 4000
MAX_WAIT_SECONDS = 60

_STREAM_ROWS = 250
"""Updates that a stream reads at once; documents reach 64 kB each."""

_LOOK_SECONDS = 1.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MILLISECONDS = 253_402_300_799_999  # the end of the year 9999


async def read_last_offset(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/updates/last-offset."""
    reader = await enter_reader(request)
    wanted = _wanted(request, reader)
    async with request.app[POOL].connection() as conn:
        last_offset = await feed.read_last_offset(conn, reader.workspace_id, wanted)
    return json_answer({"lastOffset": last_offset})


async def list_updates(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/updates."""
    reader = await enter_reader(request)
    wanted = _wanted(request, reader)
    size = integer_parameter(request, "size", 50, 0, MAX_SIZE)
    wait_seconds = integer_parameter(request, "wait", 0, 0, MAX_WAIT_SECONDS)
    form = _preferred_form(request.headers.getall("Accept", []))
    after = _offset(request)
    if form is _EVENTS and "Last-Event-ID" in request.headers:
        after = _last_event_id(request)
    moment = None if after is not None else _timestamp(request)
    if moment is not None:
        async with request.app[POOL].connection() as conn:
            after = await feed.find_position(conn, reader.workspace_id, moment)

    reading = _Reading(request=request, workspace_id=reader.workspace_id, wanted=wanted)
    if form is not None:
        return await form(reading, after, wait_seconds)
    if size == 0:
        return json_answer(_page_json((await reading.next_page(after, 0)).position, ()))
    page = await reading.next_page(after, size)
    deadline = time.monotonic() + wait_seconds
    while not page.rows and (left := deadline - time.monotonic()) > 0:
        if not await reading.wait_beyond(page.next_offset, left):
            break
        page = await reading.next_page(page.next_offset, size)
    return json_answer(_page_json(page.next_offset, page.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What one request reads, and where from. No connection is held between two pages."""

    request: web.Request
    workspace_id: WorkspaceId
    wanted: FeedFilter

    @property
    def follower(self) -> Follower:
        return self.request.app[FOLLOWER]

    async def wait_beyond(self, after: FeedOffset, seconds: float) -> bool:
        """Wait until the feed grows; False if the time is over, or nobody listens any more.

        aiohttp doesn't tell a handler that its client has gone, so it is looked at every second.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.follower.closed:
            if self.request.transport is None:
                return False
            if await self.follower.wait_beyond(self.workspace_id, after, min(left, _LOOK_SECONDS)):
                return True
        return False

    async def next_page(self, after: int | None, limit: int) -> FeedPage:
        """The next updates that pass the filters, or an empty page that ends where the feed does.

        Each statement looks at a bounded number of rows. An empty page before the end would tell a
        reader that loops until one comes that it has seen everything, so the search goes on.

        Raises:
            Refused: 410, `after` lies behind retention.
        """
        settings = self.request.app[STREAM]
        start = after
        while True:
            async with self.request.app[POOL].connection() as conn:
                page = await feed.read_page(
                    conn,
                    self.workspace_id,
                    start,
                    limit=limit,
                    scan_rows=settings.scan_rows,
                    wanted=self.wanted,
                )
            if page.is_expired:
                raise Refused(refusals.offset_expired(page.earliest_offset))
            if page.rows or page.is_end or not limit:
                return page
            start = page.next_offset


def _page_json(next_offset: int, rows: Sequence[FeedRow]) -> bytes:
    updates = ",".join([f'{{"operation":"{r.operation}","entity":{r.entity}}}' for r in rows])
    return f'{{"nextOffset":{next_offset},"updates":[{updates}]}}'.encode()


def _row_json(row: FeedRow) -> str:
    return f'{{"offset":{row.feed_offset},"operation":"{row.operation}","entity":{row.entity}}}'


def _wanted(request: web.Request, reader: Reader) -> FeedFilter:
    node = request.query.get("nodeId")
    node_id = None if node is None else reader.find_node(node)
    reader.require(FOLLOWERS, node_id)
    entity = request.query.get("entity")
    if entity not in {None, "CUSTOMER", "EVENT"}:
        explanation = f"{entity!r} is neither CUSTOMER nor EVENT"
        raise Refused(refusals.invalid_parameter("entity", explanation))
    nodes = reader.visible_nodes if node_id is None else frozenset({node_id})
    return FeedFilter(entity_type=entity, nodes=nodes)


def _offset(request: web.Request) -> int | None:
    text = request.query.get("offset")
    if text is None:
        return None
    number = _natural(text)
    if number is None:
        explanation = f"{text!r} is not a whole number of 0 or more"
        raise Refused(refusals.invalid_parameter("offset", explanation))
    return number


def _last_event_id(request: web.Request) -> int:
    text = request.headers["Last-Event-ID"].strip()
    number = _natural(text)
    if number is None:
        explanation = f"{text!r} is not a whole number of 0 or more"
        raise Refused(refusals.invalid_header("Last-Event-ID", explanation))
    return number


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _timestamp(request: web.Request) -> datetime | None:
    """Milliseconds since the epoch, of any sign; what no datetime can hold is clamped."""
    text = request.query.get("timestamp")
    if text is None:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        explanation = f"{text!r} is not a whole number of milliseconds since 1970"
        raise Refused(refusals.invalid_parameter("timestamp", explanation))
    return _EPOCH + timedelta(milliseconds=min(max(int(text), 0), _LATEST_MILLISECONDS))


class _Form(Protocol):
    """A way to stream the feed."""

    async def __call__(
        self, reading: _Reading, after: int | None, wait_seconds: int, /
    ) -> web.StreamResponse: ...


async def _stream_events(
    reading: _Reading, after: int | None, _wait_seconds: int
) -> web.StreamResponse:
    """Server-sent events without end. A `position` tells how far the feed was scanned."""
    page = await reading.next_page(after, _STREAM_ROWS)
    answer = await _begin(reading.request, "text/event-stream; charset=utf-8")
    heartbeat_seconds = min(reading.request.app[STREAM].heartbeat_seconds, 15.0)
    sent_at = time.monotonic()
    told = page.position
    try:
        while not reading.follower.closed and reading.request.transport is not None:
            chunk = [
                f"id: {row.feed_offset}\nevent: update\ndata: {_row_json(row)}\n\n"
                for row in page.rows
            ]
            if page.rows:
                told = page.rows[-1].feed_offset
            now = time.monotonic()
            if not chunk and (now - sent_at >= heartbeat_seconds or told < page.next_offset - 1000):
                chunk.append(_position_event(page.next_offset))
                told = page.next_offset
            if chunk:
                await answer.write("".join(chunk).encode())
                sent_at = time.monotonic()
            if page.is_end:
                left = sent_at + heartbeat_seconds - time.monotonic()
                await reading.wait_beyond(page.next_offset, max(left, 0.01))
            await enter_reader(reading.request)  # the token may have been revoked meanwhile
            page = await reading.next_page(page.next_offset, _STREAM_ROWS)
    except (Refused, Unavailable, Contended, ConnectionError):
        return answer  # the client comes back with Last-Event-ID and is told why
    return answer


def _position_event(next_offset: FeedOffset) -> str:
    return f'id: {next_offset}\nevent: position\ndata: {{"nextOffset":{next_offset}}}\n\n'


async def _stream_lines(
    reading: _Reading, after: int | None, wait_seconds: int
) -> web.StreamResponse:
    """A line per update up to the present end, then `{"nextOffset":n}`, which says it is complete."""
    page = await reading.next_page(after, _STREAM_ROWS)
    answer = await _begin(reading.request, "application/x-ndjson; charset=utf-8")
    quiet_since = time.monotonic()
    try:
        while True:
            if page.rows:
                await answer.write("".join([_row_json(row) + "\n" for row in page.rows]).encode())
                quiet_since = time.monotonic()
            if page.is_end:
                left = quiet_since + wait_seconds - time.monotonic()
                if not await reading.wait_beyond(page.next_offset, left):
                    break
                await enter_reader(reading.request)  # the token may have been revoked meanwhile
            page = await reading.next_page(page.next_offset, _STREAM_ROWS)
        await answer.write(f'{{"nextOffset":{page.next_offset}}}\n'.encode())
    except (Refused, Unavailable, Contended, ConnectionError):
        # without its last line the answer is known to be cut: the connection must not end well either
        _cut(reading.request)
        return answer
    await answer.write_eof()
    return answer


def _cut(request: web.Request) -> None:
    transport: asyncio.Transport | None = request.transport
    if transport is not None:
        transport.abort()


async def _begin(request: web.Request, content_type: str) -> web.StreamResponse:
    answer = web.StreamResponse(
        headers={
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy in between must not collect the events
            "X-Tracing-ID": request[TRACING_ID],
            **CORS,
        }
    )
    await answer.prepare(request)
    return answer


_EVENTS: _Form = _stream_events
_LINES: _Form = _stream_lines
_FORMS = {"text/event-stream": _EVENTS, "application/x-ndjson": _LINES}


def _preferred_form(accept: Sequence[str]) -> _Form | None:
    """The first media type of `Accept` that we know; None for a page of JSON."""
    for media_range in ",".join(accept).split(","):
        media_type = media_range.partition(";")[0].strip().lower()
        if media_type in _FORMS:
            return _FORMS[media_type]
        if media_type in {"application/json", "application/*", "*/*"}:
            return None
    return None
