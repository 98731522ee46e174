"""The server's side of a connection: what aiohttp leaves open to clients that mean no good, or are lost.

aiohttp waits for the head of a request as long as for the next request, and for a reader for ever; it takes
any number of connections. Here each has a limit. The limit of a body is in `body.py`, where it can be
answered like other refusals.
"""

from __future__ import annotations

import asyncio
import fcntl
import resource
import socket
import struct
import termios
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo  # the only way to answer before there is a request

from headwater import metrics
from headwater.http.app import HeadTooSlow, answer_to_no_request
from headwater.http.gate import Place, Seat
from headwater.http.head import Doorkeeper, Head
from headwater.settings import HttpSettings

log = structlog.get_logger()

MAX_HEAD_BYTES = 65_536
"""Of a head that is not complete yet. The parser bounds each line and their number, not their sum."""

MIN_SENT_BYTES = 16_384
"""What a reader has to take within `send_seconds` while more waits for it."""

SPARE_FILES = 256
"""Open files that are left to everything but clients: Postgres, Kafka, logs, and those being closed."""

_ROOM_SHARE = 20
_LOG_EVERY_SECONDS = 60.0


class LimitedServer(web.Server):
    """Holds at most `limit` connections: beyond that, those go that have been idle for longest."""

    def __init__(
        self, inner: web.Server, settings: HttpSettings, doorkeeper: Doorkeeper, **kwargs: Any
    ) -> None:
        super().__init__(inner.request_handler, request_factory=inner.request_factory, **kwargs)
        self.settings = settings
        self.doorkeeper = doorkeeper
        self.limit = connections_that_fit(settings.connections)
        self._next_log_at = 0.0
        if self.limit < settings.connections:
            log.warning(
                "the limit of open files is below the connections that are set",
                connections=self.limit,
                wanted=settings.connections,
            )
        metrics.CONNECTIONS.read_by(lambda: len(self._connections))

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self.limit:
            self._make_room(handler)

    def _make_room(self, newest: web.RequestHandler) -> None:
        """Let a twentieth go at once, so that the search for them costs little per connection.

        If all are busy, it is the newest that goes.
        """
        idle = [
            connection
            for connection in self._connections
            if isinstance(connection, Connection)
            and connection is not newest
            and connection.is_idle
        ]
        idle.sort(key=lambda connection: connection.idle_until)
        leaving: list[web.RequestHandler] = [*idle[: max(1, self.limit // _ROOM_SHARE)]]
        for connection in leaving or [newest]:
            # at once, as the loop tells of a lost connection only later
            transport = self._connections.pop(connection)
            if connection is newest:
                self._loop.call_soon(_reset, transport)  # aiohttp is about to start its task
            else:
                _reset(transport)
            metrics.CONNECTIONS_CUT.inc("crowded")
        now = self._loop.time()
        if now >= self._next_log_at:
            self._next_log_at = now + _LOG_EVERY_SECONDS
            log.warning("too many connections, cutting those that idle", connections=self.limit)


class Connection(web.RequestHandler, Seat):
    """One connection, whose client has to go on with what it does."""

    __slots__ = (
        "_doorkeeper", "_has_ended", "_head_at", "_head_bytes", "_head_timer", "_own_transport", "_send_timer",
        "_settings", "_skipped_bytes", "_unsent", "place",
    )  # fmt: skip

    def __init__(
        self, server: LimitedServer, *, loop: asyncio.AbstractEventLoop, **kwargs: Any
    ) -> None:
        super().__init__(server, loop=loop, **kwargs)
        self._settings = server.settings
        self._doorkeeper = server.doorkeeper
        self._skipped_bytes = 0
        """Of the body of a refused request, yet to come."""
        self.place: Place | None = None
        # aiohttp forgets its own when it closes
        self._own_transport: asyncio.Transport | None = None
        self._head_at: float | None = None
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._has_ended = False

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, or for the rest of a head."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def idle_until(self) -> float:
        """When it will have been idle for too long; what began to idle first has the least."""
        return self._next_keepalive_close_time

    # the head of a request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._own_transport = transport
        self._expect_head()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp asks itself whether it goes on, once a request
            super().data_received(data)
            return
        if self._skipped_bytes:
            skipped = min(self._skipped_bytes, len(data))
            self._skipped_bytes -= skipped
            data = data[skipped:]
            if not data:
                return
        # between two requests, and refusals are near
        if not self._head_bytes and self.is_idle and not self._doorkeeper.is_calm:
            self._leave()  # of a request that nobody could read
            found = self._doorkeeper.look(data)
            if isinstance(found, Head):
                self._refuse_unread(found)
                return
            self.place = found
        super().data_received(data)
        if not self.is_idle:
            self._head_at, self._head_bytes = None, 0
            return
        if self._head_at is None:
            self._expect_head()
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head(400, LineTooLong("the head", str(MAX_HEAD_BYTES)))

    def _expect_head(self) -> None:
        self._head_at = self._loop.time()
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(self._settings.head_seconds, self._check_head)

    def _check_head(self) -> None:
        self._head_timer = None
        if self._head_at is None or not self.is_idle:
            return
        due = self._head_at + self._settings.head_seconds
        if self._loop.time() < due:  # of another request than the timer was for
            self._head_timer = self._loop.call_at(due, self._check_head)
            return
        metrics.CONNECTIONS_CUT.inc("slow_head")
        if self._head_bytes:
            self._refuse_head(408, HeadTooSlow(self._settings.head_seconds))
        else:
            self.force_close()

    def _refuse_unread(self, head: Head) -> None:
        assert self._own_transport is not None
        self._head_at = None
        self._skipped_bytes = head.rest_bytes
        self._own_transport.write(self._doorkeeper.refuse(head))

    def _leave(self) -> None:
        """Give the place of the request back."""
        place, self.place = self.place, None
        if place is not None:
            place.leave()

    async def _handle_request(
        self, request: web.BaseRequest, *args: Any
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super()._handle_request(request, *args)
        finally:
            # behind the answer: as long as it isn't sent, it holds memory
            self._leave()

    def _refuse_head(self, status: int, exc: HttpProcessingError) -> None:
        """As aiohttp does with what it can't parse."""
        self._messages.append((_ErrInfo(status=status, exc=exc, message=""), EMPTY_PAYLOAD))
        assert self._waiter is not None
        self._waiter.set_result(None)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request as everything else is answered."""
        # aiohttp logs, and raises if a part of another answer is out already
        super().handle_error(request, status, exc, message)
        assert isinstance(request, web.Request)
        return answer_to_no_request(request, status, exc)

    # what is sent

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        # of what is left when the connection has ended, nobody else will ask
        if self._send_timer is not None and not self._has_ended:
            self._send_timer.cancel()
            self._send_timer = None

    async def start(self) -> None:
        try:
            await super().start()
        finally:
            self._has_ended = True
            # a transport that is closed waits for its reader without any limit
            if self._own_transport is not None and self._own_transport.get_write_buffer_size():
                self._expect_reader()

    def _expect_reader(self) -> None:
        assert self._own_transport is not None
        self._unsent = _unsent_bytes(self._own_transport)
        if self._send_timer is None:
            self._send_timer = self._loop.call_later(
                self._settings.send_seconds, self._check_reader
            )

    def _check_reader(self) -> None:
        self._send_timer = None
        if self._own_transport is None:
            return
        unsent = _unsent_bytes(self._own_transport)
        if unsent and unsent > self._unsent - MIN_SENT_BYTES:
            metrics.CONNECTIONS_CUT.inc("no_reader")
            log.info("cut off, the client takes nothing")
            _reset(self._own_transport)
        elif unsent:
            self._expect_reader()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._own_transport = None
        for timer in (self._head_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._send_timer = None
        if self._current_request is None:
            self._leave()
        super().connection_lost(exc)


def _unsent_bytes(transport: asyncio.Transport) -> int:
    """What the client has not taken yet: here and, where the system tells, in the kernel.

    The kernel takes more from us in steps of a megabyte, which a slow line needs long for.
    """
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (AttributeError, OSError, ValueError):
        return waiting
    return waiting + int(queued)


def _reset(transport: asyncio.Transport) -> None:
    """End a connection at once: the kernel must not keep what nobody reads either."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def connections_that_fit(wanted: int) -> int:
    """How many connections of `wanted` this process may hold; raises its limit of open files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        except (OSError, ValueError):
            raised = soft  # the system has another limit, that it doesn't tell
        soft = raised
    return min(wanted, max(soft - SPARE_FILES, soft // 2))
