"""Nodes: operations 40 and 43 to 46."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from aiohttp import web

from control_api.body import Shape
from headwater import clock
from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.configuration import Node, NodeType, UniqueRule, WorkspaceConfig
from headwater.domain.ids import NodeId, SourceId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.answer import json_answer
from headwater.http.caller import CONFIG_READERS, CONFIG_WRITERS, enter, find_node, require_role
from headwater.http.keys import CONFIGS, POOL
from headwater.http.parameters import page_object, page_parameters
from headwater.postgres.config import write_node
from headwater.validation.paths import fault_of_path

DEFAULT_RULE = UniqueRule(properties=("externalId",), case_sensitive=False)
_STRINGS: JsonObject = {"type": "array", "items": {"type": "string"}}
_MEMBERS: JsonObject = {
    "id": {"type": "string"},
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": {"type": "string"},
    "imageUrl": {"type": "string"},
    "uniqueCustomer": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"properties": _STRINGS, "caseSensitive": {"type": "boolean"}},
    },
    "sourcePriority": _STRINGS,
    "mandatoryProperties": _STRINGS,
}
_NEW = Shape("node", _MEMBERS, ("name",))
_CHANGED = Shape("node", _MEMBERS, ("id", "name", "uniqueCustomer"))


async def list_nodes(request: web.Request) -> web.Response:
    """All nodes that the caller may know."""
    caller, config = await enter(request)
    require_role(caller, CONFIG_READERS)
    wanted = request.query.get("nodeType")
    if wanted is not None and wanted not in set(NodeType):
        raise Refused(refusals.invalid_parameter("nodeType", "expected ENTRY or AGGREGATE"))
    nodes = _visible(caller, config)
    shown = [
        {
            "id": str(node.id),
            "name": node.name,
            "description": node.description,
            "nodeType": node.type.value,
            "retentionState": True,
            "properties": {
                "uniqueCustomer": _rule(node),
                "mandatoryProperties": list(node.mandatory),
            },
        }
        for node in nodes
        if wanted is None or node.type == wanted
    ]
    return _paged(request, shown, len(nodes))


async def list_entry_nodes(request: web.Request) -> web.Response:
    """The entry nodes that the caller may know."""
    caller, config = await enter(request)
    require_role(caller, CONFIG_READERS)
    shown = [_shown(node) for node in _visible(caller, config) if node.type is NodeType.ENTRY]
    return _paged(request, shown, len(shown))


async def create_entry_node(request: web.Request) -> web.Response:
    """A new entry node."""
    caller, config = await enter(request, write=True)
    require_role(caller, CONFIG_WRITERS)
    body = await _NEW.read(request)
    node = _from_body(NodeId(uuid.uuid4()), body, config, ())
    return await _store(request, config, node, 201)


async def read_entry_node(request: web.Request) -> web.Response:
    """One entry node."""
    caller, config = await enter(request)
    node = _find_entry(request, config, caller)
    require_role(caller, CONFIG_READERS)
    return json_answer(_shown(node))


async def change_entry_node(request: web.Request) -> web.Response:
    """Replace a node's configuration; a changed rule re-keys its customers."""
    caller, config = await enter(request, write=True)
    before = _find_entry(request, config, caller)
    require_role(caller, CONFIG_WRITERS)
    body = await _CHANGED.read(request)
    if find_uuid(body["id"]) != before.id:
        raise Refused(_CHANGED.refuse(FieldError(message="property is immutable", path="/id")))
    # a source that was deleted meanwhile may stay where it stood
    node = _from_body(before.id, body, config, before.source_priority)
    return await _store(request, config, node, 200)


def _find_entry(request: web.Request, config: WorkspaceConfig, caller: Caller) -> Node:
    text = request.match_info["nodeId"]
    node = find_node(config, caller, text)
    if node.type is not NodeType.ENTRY:
        raise Refused(refusals.node_not_found(text))
    return node


async def _store(
    request: web.Request, config: WorkspaceConfig, node: Node, status: int
) -> web.Response:
    async with request.app[POOL].transaction() as conn:
        await write_node(conn, config.id, node, clock.now())
    await request.app[CONFIGS].reload(config.id)
    return json_answer(_shown(node), status=status)


def _from_body(
    node_id: NodeId, body: JsonObject, config: WorkspaceConfig, known_sources: Sequence[SourceId]
) -> Node:
    rule = DEFAULT_RULE
    given = body.get("uniqueCustomer")
    if given is not None:
        named = given.get("properties")
        rule = UniqueRule(
            properties=DEFAULT_RULE.properties if named is None else tuple(dict.fromkeys(named)),
            case_sensitive=bool(given.get("caseSensitive")),
        )
    mandatory = tuple(dict.fromkeys(body.get("mandatoryProperties") or ()))
    errors = [
        FieldError(message=fault, path=f"/uniqueCustomer/properties/{place}")
        for place, path in enumerate(rule.properties)
        if (fault := fault_of_path(path, config, must_be_scalar=True)) is not None
    ]
    errors += [
        FieldError(message=fault, path=f"/mandatoryProperties/{place}")
        for place, path in enumerate(mandatory)
        if (fault := fault_of_path(path, config, must_be_scalar=False)) is not None
    ]
    priority: list[SourceId] = []
    for place, text in enumerate(body.get("sourcePriority") or ()):
        found = find_uuid(text)
        if found is None or (found not in config.sources and found not in known_sources):
            errors.append(FieldError(message="unknown source", path=f"/sourcePriority/{place}"))
        else:
            priority.append(SourceId(found))
    if errors:
        raise Refused(_NEW.refuse(*errors))
    return Node(
        id=node_id,
        name=body["name"],
        unique=rule,
        mandatory=mandatory,
        description=body.get("description"),
        image_url=body.get("imageUrl"),
        source_priority=tuple(priority),
    )


def _visible(caller: Caller, config: WorkspaceConfig) -> list[Node]:
    return [
        node
        for node in config.nodes.values()
        if caller.may_read(node.id) or caller.may_write(node.id)
    ]


def _rule(node: Node) -> JsonObject:
    return {
        "properties": list(node.unique.properties),
        "caseSensitive": node.unique.case_sensitive,
    }


def _shown(node: Node) -> JsonObject:
    return {
        "id": str(node.id),
        "name": node.name,
        "description": node.description,
        "imageUrl": node.image_url,
        "uniqueCustomer": _rule(node),
        "sourcePriority": [str(source) for source in node.source_priority],
        "mandatoryProperties": list(node.mandatory),
    }


def _paged(request: web.Request, shown: list[JsonObject], unfiltered: int) -> web.Response:
    page = page_parameters(request, default_size=20, max_page=50)
    start = page.number * page.size
    return json_answer(
        {
            "elements": shown[start : start + page.size],
            "page": page_object(page, total=len(shown), unfiltered=unfiltered),
        }
    )
