"""Which refusal goes first: an unknown customer before the role and before the body (contacthub 2.4).

The front door judges role and body before anybody knows whether the customer exists. So only a refused
request pays for asking Postgres; all others learn it from the processor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import CustomerId, NodeId
from headwater.domain.refusal import Refusal
from headwater.errors import Contended, Refused, Unavailable
from headwater.http.keys import POOL
from headwater.postgres.search import find_customer_node
from ingest.write import customer_id_of

ASK_SECONDS = 1.0
"""A refusal waits no longer for Postgres: without it the plain one stands."""


@asynccontextmanager
async def about_customer(
    request: web.Request, caller: Caller, config: WorkspaceConfig
) -> AsyncIterator[CustomerId]:
    """The customer of the path, for the checks of the front door that are made inside.

    Raises:
        Refused: as inside, or what goes before it: 404 for a customer that the caller may not know, 403 for
            one of a node on which a user lacks the right to write.
    """
    customer_id = customer_id_of(request)
    if not caller.is_source and caller.writable is not None:
        # the processor knows only nodes: to a user it would deny a customer that it may read
        refusal = await _find_refusal(request, caller, config, customer_id)
        if refusal is not None and refusal.status == 403:
            raise Refused(refusal)
    try:
        yield customer_id
    except Refused as exc:
        before = await _find_refusal(request, caller, config, customer_id)
        if before is not None:
            raise Refused(before) from exc
        raise


async def _find_refusal(
    request: web.Request, caller: Caller, config: WorkspaceConfig, customer_id: CustomerId
) -> Refusal | None:
    try:
        async with asyncio.timeout(ASK_SECONDS), request.app[POOL].connection() as conn:
            node_id: NodeId | None = await find_customer_node(conn, config.id, customer_id)
    except (Unavailable, Contended, TimeoutError):
        return None
    if node_id is None or (caller.is_source and not caller.may_write(node_id)):
        return refusals.entity_not_found("customer", request.match_info["customerId"])
    return None if caller.may_write(node_id) else refusals.permission_missing()
