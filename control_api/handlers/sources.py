"""Sources and their tokens: operations 62 to 66 and L15.

A token is shown in the answers that make it (create, refresh) and never again: only its digest is kept,
so `token` is null elsewhere.
"""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import replace

from aiohttp import web

from control_api.body import Shape
from headwater import clock
from headwater.domain import refusal as refusals
from headwater.domain.configuration import Source, WorkspaceConfig
from headwater.domain.ids import NodeId, SourceId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.answer import empty_answer, json_answer
from headwater.http.caller import CONFIG_READERS, CONFIG_WRITERS, enter, require_role
from headwater.http.keys import CONFIGS, POOL
from headwater.http.parameters import Page, page_object
from headwater.postgres import config as stored
from headwater.postgres.config import (
    SourceRow,
    hash_token,
    lock_configuration,
    new_token,
    write_source,
)
from headwater.postgres.pool import Connection

CREATABLE = frozenset({"API", "CONTACTSEND", "CONTACTPLAN"})
FOR_OPERATORS = frozenset({"JavaScript"})
_MEMBERS: JsonObject = {
    "id": {"type": "string"},
    "provider": {"type": "string"},
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": {"type": "string"},
    "nodes": {"type": "array", "items": {"type": "string"}},
    "properties": {"type": "object"},
    "enabled": {"type": "boolean"},
    "token": {"type": "string"},
}
_NEW = Shape("source", _MEMBERS, ("provider", "name", "nodes"))
_CHANGED = Shape("source", _MEMBERS, ("id", "provider", "name", "nodes"))


async def list_sources(request: web.Request) -> web.Response:
    """All sources, in one page."""
    caller, config = await enter(request)
    require_role(caller, CONFIG_READERS)
    async with request.app[POOL].connection() as conn:
        rows = await stored.list_sources(conn, config.id)
    page = Page(number=0, size=max(50, len(rows)))
    return json_answer(
        {
            "elements": [_shown(row) for row in rows],
            "page": page_object(page, total=len(rows), unfiltered=len(rows)),
        }
    )


async def create_source(request: web.Request) -> web.Response:
    """A new source; its token is in this answer only."""
    caller, config = await enter(request, write=True)
    require_role(caller, CONFIG_WRITERS)
    body = await _NEW.read(request)
    allowed = CREATABLE | FOR_OPERATORS if caller.is_operator else CREATABLE
    if body["provider"] not in allowed:
        raise Refused(_NEW.refuse(FieldError(message="value not in enum", path="/provider")))
    token = new_token()
    row = _from_body(SourceId(uuid.uuid4()), body, config, hash_token(token))
    async with request.app[POOL].transaction() as conn:
        await write_source(conn, config.id, row, clock.now())
    await request.app[CONFIGS].reload(config.id)
    return json_answer(_shown(row, token), status=201)


async def read_source(request: web.Request) -> web.Response:
    """One source."""
    caller, config = await enter(request)
    row = await _find(request, config)
    require_role(caller, CONFIG_READERS)
    return json_answer(_shown(row))


async def change_source(request: web.Request) -> web.Response:
    """Replace a source's configuration; the token stays."""
    caller, config = await enter(request, write=True)
    before = await _find(request, config)
    require_role(caller, CONFIG_WRITERS)
    body = await _CHANGED.read(request)
    for member, value in (("id", str(before.source.id)), ("provider", before.source.provider)):
        if body[member] != value:
            fault = FieldError(message="property is immutable", path=f"/{member}")
            raise Refused(_CHANGED.refuse(fault))
    changed = _from_body(before.source.id, body, config, before.source.token_hash)
    async with request.app[POOL].transaction() as conn:
        # under the lock: a token that was refreshed meanwhile stays, a deleted source stays deleted
        await lock_configuration(conn, config.id)
        present = await _find_with(conn, request, config)
        source = replace(changed.source, token_hash=present.source.token_hash)
        row = replace(changed, source=source)
        await write_source(conn, config.id, row, clock.now())
    await request.app[CONFIGS].reload(config.id)
    return json_answer(_shown(row))


async def refresh_source_token(request: web.Request) -> web.Response:
    """A new token; the old one is dead here at once and everywhere within a second."""
    caller, config = await enter(request, write=True)
    await _find(request, config)
    require_role(caller, CONFIG_WRITERS)
    token = new_token()
    async with request.app[POOL].transaction() as conn:
        await lock_configuration(conn, config.id)
        present = await _find_with(conn, request, config)
        row = replace(present, source=replace(present.source, token_hash=hash_token(token)))
        await write_source(conn, config.id, row, clock.now())
    await request.app[CONFIGS].reload(config.id)
    return json_answer(_shown(row, token))


async def delete_source(request: web.Request) -> web.Response:
    """The token dies; documents go on naming the id."""
    caller, config = await enter(request, write=True)
    row = await _find(request, config)
    require_role(caller, CONFIG_WRITERS)
    async with request.app[POOL].transaction() as conn:
        await stored.delete_source(conn, config.id, row.source.id)
    await request.app[CONFIGS].reload(config.id)
    return empty_answer()


async def _find(request: web.Request, config: WorkspaceConfig) -> SourceRow:
    async with request.app[POOL].connection() as conn:
        return await _find_with(conn, request, config)


async def _find_with(conn: Connection, request: web.Request, config: WorkspaceConfig) -> SourceRow:
    text = request.match_info["sourceId"]
    found = find_uuid(text)
    for row in await stored.list_sources(conn, config.id):
        if row.source.id == found:
            return row
    raise Refused(refusals.entity_not_found("source", text))


def _from_body(
    source_id: SourceId, body: JsonObject, config: WorkspaceConfig, token_hash: bytes
) -> SourceRow:
    errors: list[FieldError] = []
    nodes: set[NodeId] = set()
    if not body["nodes"]:
        errors.append(FieldError(message="required property is missing", path="/nodes"))
    for place, text in enumerate(body["nodes"]):
        found = find_uuid(text)
        if found is None or NodeId(found) not in config.nodes:
            errors.append(FieldError(message="unknown node", path=f"/nodes/{place}"))
        else:
            nodes.add(NodeId(found))
    properties = body.get("properties") or {}
    errors += _check_properties(body["provider"], properties)
    if errors:
        raise Refused(_NEW.refuse(*errors))
    enabled = body.get("enabled")
    return SourceRow(
        source=Source(
            id=source_id,
            name=body["name"],
            provider=body["provider"],
            nodes=frozenset(nodes),
            enabled=True if enabled is None else enabled,
            token_hash=token_hash,
        ),
        description=body.get("description"),
        properties=properties,
    )


def _check_properties(provider: str, properties: JsonObject) -> list[FieldError]:
    if provider != "API":
        return []
    errors = [
        FieldError(message="property is not defined", path=pointer_of(["properties", name]))
        for name in properties
        if name != "allowedIPs"
    ]
    allowed = properties.get("allowedIPs")
    if allowed is None:
        return errors
    here = "/properties/allowedIPs"
    named: list[tuple[str, object]]
    if isinstance(allowed, str):
        named = [(here, part.strip()) for part in allowed.split(",") if part.strip()]
    elif isinstance(allowed, list):
        named = [(f"{here}/{place}", text) for place, text in enumerate(allowed)]
    else:
        return [*errors, FieldError(message="expected type string or array", path=here)]
    for path, text in named:
        if not isinstance(text, str):
            errors.append(FieldError(message="expected type string", path=path))
        elif not _is_network(text):
            errors.append(FieldError(message="invalid format ip", path=path))
    return errors


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _shown(row: SourceRow, token: str | None = None) -> JsonObject:
    return {
        "id": str(row.source.id),
        "provider": row.source.provider,
        "properties": row.properties,
        "name": row.source.name,
        "description": row.description,
        "nodes": sorted(str(node) for node in row.source.nodes),
        "enabled": row.source.enabled,
        "token": token,
    }
