"""Reading events: one by id, and the search (ops 93 and 95)."""

from __future__ import annotations

import orjson
from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.ids import CustomerId, EventId, NodeId, find_uuid
from headwater.errors import Refused
from headwater.http.answer import json_answer
from headwater.http.caller import READERS
from headwater.http.keys import POOL
from headwater.http.parameters import (
    moment_parameter,
    page_object,
    page_parameters,
    sort_parameters,
)
from headwater.postgres import search
from headwater.postgres.search import EventFilter
from headwater.validation import Schemas
from stream_api.handlers.customers import list_answer
from stream_api.keys import SCHEMAS
from stream_api.reader import Reader, enter_reader

_SORTABLE = ("date", "registeredAt", "updatedAt", "type")


async def read_event(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/events/{id}."""
    reader = await enter_reader(request)
    text = request.match_info["id"]
    event_id = find_uuid(text)
    found = None
    if event_id is not None:
        async with request.app[POOL].connection() as conn:
            found = await search.find_event(conn, reader.workspace_id, EventId(event_id))
    if event_id is None or found is None or not reader.knows(found.node_id):
        raise Refused(refusals.entity_not_found("event", text))
    reader.require(READERS, found.node_id)
    nav = request.query.get("nav")
    if nav not in {None, "CUSTOMER"}:
        raise Refused(refusals.invalid_parameter("nav", f"{nav!r} is not CUSTOMER"))
    if nav is None or found.customer_id is None:
        return json_answer(found.document.encode())
    async with request.app[POOL].connection() as conn:
        previous, following = await search.find_neighbours(
            conn, reader.workspace_id, found.customer_id, found.date, EventId(event_id)
        )
    document = orjson.loads(found.document)
    document["prev"] = None if previous is None else str(previous)
    document["next"] = None if following is None else str(following)
    return json_answer(document)


async def list_events(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/events."""
    reader = await enter_reader(request)
    node = request.query.get("nodeId")
    node_id = None if node is None else reader.find_node(node)
    reader.require(READERS, node_id)
    page = page_parameters(request, default_size=10)
    order = [(key.path, key.descending) for key in sort_parameters(request)]
    for path, _ in order:
        if path not in _SORTABLE:
            explanation = f"{path!r} is none of {', '.join(_SORTABLE)}"
            raise Refused(refusals.invalid_parameter("sort", explanation))
    schemas = request.app[SCHEMAS]
    types, contexts = _types(request, schemas), _contexts(request, schemas)
    query = request.query
    date_from, date_to = moment_parameter(query, "dateFrom"), moment_parameter(query, "dateTo")
    customer = request.query.get("customerId")
    customer_id = None if customer is None else find_uuid(customer)
    if customer is not None and customer_id is None:
        return list_answer((), page_object(page, total=0, unfiltered=0))
    wanted = EventFilter(
        customer_id=None if customer_id is None else CustomerId(customer_id),
        nodes=_nodes(reader) if node_id is None else frozenset({node_id}),
        types=types,
        contexts=contexts,
        date_from=date_from,
        date_to=date_to,
    )
    skip = page.number * page.size
    async with request.app[POOL].connection() as conn:
        found = await search.search_events(
            conn,
            reader.workspace_id,
            wanted,
            order=order or [("date", True)],
            limit=max(0, min(page.size, search.MAX_ELEMENTS - skip)),
            skip=min(skip, search.MAX_ELEMENTS),
        )
    return list_answer(
        found.documents, page_object(page, total=found.total, unfiltered=found.unfiltered)
    )


def _nodes(reader: Reader) -> frozenset[NodeId]:
    # all nodes by name, so that the index by node serves the order
    return (
        reader.visible_nodes if reader.visible_nodes is not None else frozenset(reader.config.nodes)
    )


def _types(request: web.Request, schemas: Schemas) -> frozenset[str] | None:
    """The types that `type` lists and `mode` allows; None if neither is asked for."""
    mode = request.query.get("mode")
    if mode not in {None, "ACTIVE", "PASSIVE"}:
        explanation = f"{mode!r} is neither ACTIVE nor PASSIVE"
        raise Refused(refusals.invalid_parameter("mode", explanation))
    listed = _listed(request, "type")
    known = schemas.event_types
    for name in listed or ():
        if name not in known:
            raise Refused(refusals.invalid_parameter("type", f"{name!r} is no event type"))
    if listed is None and mode is None:
        return None
    names = known if listed is None else listed
    return frozenset(name for name in names if mode is None or known[name].mode == mode)


def _contexts(request: web.Request, schemas: Schemas) -> frozenset[str] | None:
    listed = _listed(request, "context")
    for name in listed or ():
        if name not in schemas.contexts:
            raise Refused(refusals.invalid_parameter("context", f"{name!r} is no context"))
    return listed


def _listed(request: web.Request, name: str) -> frozenset[str] | None:
    texts = request.query.getall(name, [])
    return frozenset(part.strip() for part in ",".join(texts).split(",")) if texts else None
