"""What one request reads of the feed: in steps of bounded size, and never holding a connection while
its client takes its time. How it is sent is in handlers/updates.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

from aiohttp import web

from headwater import metrics
from headwater.domain import refusal as refusals
from headwater.domain.ids import FeedOffset, WorkspaceId
from headwater.errors import Refused
from headwater.http.caller import FOLLOWERS
from headwater.http.gate import Seat
from headwater.postgres import feed
from headwater.postgres.feed import FeedFilter, FeedPage, Form
from headwater.postgres.pool import Connection
from stream_api.follow import Follower
from stream_api.keys import FEED_POOL, FOLLOWER, READERS, STREAM
from stream_api.reader import Reader, enter_reader

STEP_BYTES = 512 * 1024
"""A step ends with the document that reaches this: what a reader that takes nothing costs this process."""

_FULL_BYTES = STEP_BYTES // 2
"""Nor is it worth a further statement: one that brings little costs nearly as much as one that brings much."""

_STATEMENT_ROWS = 500
_MOST_STATEMENTS = 16
"""A connection is given back after so many, as a rare filter looks through many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next updates of a feed, as pieces ready to be sent; numbers as in `FeedPage`."""

    bodies: tuple[bytes, ...]
    updates: int
    reached: FeedOffset
    position: FeedOffset
    next_offset: FeedOffset
    is_end: bool

    def without_bodies(self) -> Step:
        """What is left of it once it is sent: who waits for hours holds no page meanwhile."""
        return replace(self, bodies=())


@dataclass(slots=True, kw_only=True)
class Reading:
    """Follows one feed for one request."""

    request: web.Request
    workspace_id: WorkspaceId
    wanted: FeedFilter
    form: Form
    rows: int = field(default=_STATEMENT_ROWS, init=False)
    """How many updates the next statement asks for: about what fits into a step."""

    @property
    def follower(self) -> Follower:
        return self.request.app[FOLLOWER]

    @property
    def is_over(self) -> bool:
        """Whether nobody listens any more, or the process ends."""
        return self.follower.closed or self._is_gone()

    def _is_gone(self) -> bool:
        return self.request.transport is None

    @contextmanager
    def following(self) -> Iterator[None]:
        """Change the place of a request at work for one of those who wait.

        Raises:
            Refused: 503, the workspace has its share of them.
        """
        place = self.request.app[READERS].enter(self.workspace_id)
        seat = self.request.protocol
        if isinstance(seat, Seat) and seat.place is not None:
            seat.place.leave()
        try:
            yield
        finally:
            place.leave()

    async def check_rights(self) -> None:
        """Look again at who reads: the token may be dead, or see other nodes than before.

        Raises:
            Refused: 401, 403 or 404, as at the beginning.
        """
        self.wanted = filter_of(self.request, await enter_reader(self.request))

    async def wait_beyond(self, after: FeedOffset, seconds: float) -> bool:
        """Wait until the feed grows; False if the time is over or `is_over`. Costs no query."""
        return await self.follower.wait_beyond(self.workspace_id, after, seconds, self._is_gone)

    def step_at_end(self, after: int | None) -> Step | None:
        """The empty step of a reader who comes to the end of a feed that others wait for already.

        Costs no query: thousands who ask again once their wait is over, or once they have got the last
        change, would queue up for the few connections.
        """
        if after is None or not self.follower.is_end(self.workspace_id, after):
            return None
        end = FeedOffset(after)
        return Step(
            bodies=(), updates=0, reached=FeedOffset(0), position=end, next_offset=end, is_end=True
        )

    async def next_step(self, after: int | None, limit: int, *, shared: bool = False) -> Step:
        """The next updates that pass the filters, or an empty step that ends where the feed does.

        Each statement looks at a bounded number of rows. An empty step before the end would tell a
        reader that loops until one comes that it has seen everything, so the search goes on.

        With `shared` it may be what another reader is just reading, and lack what was committed since that
        began: for those who wait at the end anyway, and are woken. A crowd that comes at once, or was
        woken at once, is then one look at the feed.

        Raises:
            Refused: 410, `after` lies behind retention.
        """
        if shared:
            question = (self.workspace_id, self.wanted, self.form, after, limit)
            pages = await self.follower.reads.ask(question, lambda: self._read(after, limit))
        else:
            pages = await self._read(after, limit)
        position = pages[0].position
        while limit and not (pages[-1].is_end or any(p.updates for p in pages) or self._is_gone()):
            pages = await self._read(pages[-1].next_offset, limit)
        updates = sum(page.updates for page in pages)
        metrics.PAGES.inc()
        metrics.UPDATES_SENT.inc(by=updates)
        return Step(
            bodies=tuple(page.body for page in pages if page.updates),
            updates=updates,
            reached=max(page.reached for page in pages),
            position=position,
            next_offset=pages[-1].next_offset,
            is_end=pages[-1].is_end,
        )

    @asynccontextmanager
    async def ahead(self, after: int, limit: int) -> AsyncIterator[asyncio.Task[Step]]:
        """`next_step`, under way while the step before it is being sent."""
        upcoming = asyncio.create_task(self.next_step(after, limit))
        try:
            # its question goes out first: else Postgres rests while this process sends
            await asyncio.sleep(0)
            yield upcoming
        finally:
            # to its end also if nobody wants it any more: a query that is cut costs its connection
            await asyncio.wait([upcoming])
            upcoming.cancelled() or upcoming.exception()

    async def _read(self, after: int | None, limit: int) -> list[FeedPage]:
        pages: list[FeedPage] = []
        left_bytes = STEP_BYTES
        async with self.request.app[FEED_POOL].connection() as conn:
            while True:  # ends: each page is the last one, or brings `after` forward
                page = await self._read_page(conn, after, min(limit, self.rows), left_bytes)
                if page.is_expired:
                    if any(read.updates for read in pages):
                        return pages  # what was read before the past was dropped is sound
                    raise Refused(refusals.offset_expired(page.earliest_offset))
                pages.append(page)
                limit -= page.updates
                left_bytes -= len(page.body)
                after = page.next_offset
                if page.updates:
                    # rows behind the bound on bytes are looked up for nothing: ask for what fits
                    fitting = page.updates * STEP_BYTES // len(page.body)
                    self.rows = max(1, min(fitting, _STATEMENT_ROWS))
                is_full = limit <= 0 or left_bytes <= _FULL_BYTES
                if page.is_end or is_full or len(pages) == _MOST_STATEMENTS:
                    return pages

    async def _read_page(
        self, conn: Connection, after: int | None, limit: int, limit_bytes: int
    ) -> FeedPage:
        return await feed.read_page(
            conn,
            self.workspace_id,
            after,
            form=self.form,
            limit=limit,
            limit_bytes=limit_bytes,
            scan_rows=self.request.app[STREAM].scan_rows,
            wanted=self.wanted,
        )


def filter_of(request: web.Request, reader: Reader) -> FeedFilter:
    """What the request asks for, of what its caller may see.

    Raises:
        Refused: 404 of the node, 403 of the role, 400 of `entity`.
    """
    node = request.query.get("nodeId")
    node_id = None if node is None else reader.find_node(node)
    reader.require(FOLLOWERS, node_id)
    entity = request.query.get("entity")
    if entity not in {None, "CUSTOMER", "EVENT"}:
        explanation = f"{entity!r} is neither CUSTOMER nor EVENT"
        raise Refused(refusals.invalid_parameter("entity", explanation))
    nodes = reader.visible_nodes if node_id is None else frozenset({node_id})
    return FeedFilter(entity_type=entity, nodes=nodes)
