"""Reading customers: one by id, and the search of a node (ops 77 and 79)."""

from __future__ import annotations

import orjson
from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.ids import CustomerId, find_uuid
from headwater.errors import Refused
from headwater.http.answer import json_answer
from headwater.http.caller import READERS
from headwater.http.keys import POOL
from headwater.http.parameters import page_object, page_parameters, sort_parameters
from headwater.postgres import search
from headwater.postgres.search import Kind, SortKey
from stream_api.properties import Tree, find_projection, find_sort_key, project
from stream_api.reader import Reader, enter_reader

_NEWEST_FIRST = SortKey(kind=Kind.COLUMN, path=("updated_at",), descending=True)


async def read_customer(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/customers/{customerId}."""
    reader = await enter_reader(request)
    text = request.match_info["customerId"]
    customer_id = find_uuid(text)
    found = None
    if customer_id is not None:
        async with request.app[POOL].connection() as conn:
            found = await search.find_customer(conn, reader.workspace_id, CustomerId(customer_id))
    if found is None or not reader.knows(found.node_id):
        raise Refused(refusals.entity_not_found("customer", text))
    reader.require(READERS, found.node_id)
    return json_answer(found.document.encode())


async def list_customers(request: web.Request) -> web.StreamResponse:
    """GET /workspaces/{workspaceId}/customers."""
    reader = await enter_reader(request)
    node = request.query.get("nodeId")
    node_id = None if node is None else reader.find_node(node)
    reader.require(READERS, node_id)
    if node_id is None:
        raise Refused(refusals.invalid_parameter("nodeId", "required property is missing"))
    if "query" in request.query:
        raise Refused(refusals.invalid_parameter("query", "the query language is not available"))
    external_id = request.query.get("externalId")
    if external_id is not None and "\x00" in external_id:
        raise Refused(refusals.invalid_parameter("externalId", "character not allowed"))
    page = page_parameters(request, default_size=10)
    order = _order(request, reader)
    fields = _fields(request, reader)
    skip = page.number * page.size
    async with request.app[POOL].connection() as conn:
        found = await search.search_customers(
            conn,
            reader.workspace_id,
            node_id,
            external_id=external_id,
            order=order,
            limit=max(0, min(page.size, search.MAX_ELEMENTS - skip)),
            skip=min(skip, search.MAX_ELEMENTS),
        )
    documents = found.documents
    if fields is not None:
        documents = tuple(
            orjson.dumps(project(orjson.loads(document), fields)).decode() for document in documents
        )
    return list_answer(documents, page_object(page, total=found.total, unfiltered=found.unfiltered))


def list_answer(documents: tuple[str, ...], page: dict[str, int]) -> web.Response:
    """`{"elements":[..],"page":{..}}` of JSON texts."""
    body = f'{{"elements":[{",".join(documents)}],"page":'.encode() + orjson.dumps(page) + b"}"
    return json_answer(body)


def _order(request: web.Request, reader: Reader) -> list[SortKey]:
    order = []
    for wanted in sort_parameters(request):
        key = find_sort_key(wanted.path, descending=wanted.descending, config=reader.config)
        if key is None:
            explanation = f"{wanted.path!r} is no property to sort by"
            raise Refused(refusals.invalid_parameter("sort", explanation))
        order.append(key)
    return order or [_NEWEST_FIRST]


def _fields(request: web.Request, reader: Reader) -> Tree | None:
    texts = request.query.getall("fields", [])
    if not texts:
        return None
    paths = [path.strip() for path in ",".join(texts).split(",")]
    found = find_projection(paths, reader.config)
    if isinstance(found, str):
        raise Refused(refusals.invalid_parameter("fields", f"{found!r} is no property"))
    return found
