"""Sources and their tokens: operations 62 to 66 and L15.

A token is shown in the answers that make it (create, refresh) and never again: only its digest is kept,
so `token` is null elsewhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from aiohttp import web

from control_api.body import Shape
from headwater import clock
from headwater.auth import find_network
from headwater.domain import refusal as refusals
from headwater.domain.configuration import Source, WorkspaceConfig
from headwater.domain.ids import NodeId, SourceId, find_uuid
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.answer import empty_answer, json_answer
from headwater.http.caller import CONFIG_READERS, CONFIG_WRITERS, enter, require_role
from headwater.http.keys import CONFIGS, POOL
from headwater.http.parameters import Page, page_number, page_object
from headwater.postgres import config as stored
from headwater.postgres.config import (
    SourceRow,
    hash_token,
    lock_configuration,
    new_token,
    write_source,
)
from headwater.postgres.pool import Connection
from headwater.validation.check import Check, make_check

CREATABLE = frozenset({"API", "CONTACTSEND", "CONTACTPLAN"})
FOR_OPERATORS = frozenset({"JavaScript"})
_WITH_ADDRESSES = frozenset({"API", "JavaScript"})
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
_STRING: JsonObject = {"type": "string"}
_INTEGER: JsonObject = {"type": "integer"}
_BOOLEAN: JsonObject = {"type": "boolean"}
_TEXT_OR_NUMBER: JsonObject = {"type": ["string", "integer"]}


def _closed(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _list_of(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


_COLUMN_MAPPING = _list_of(
    _closed(model=_STRING, mapping=_list_of(_closed(hub=_STRING, plan=_STRING)))
)
_PROPERTIES: Mapping[str, Check] = {
    "CONTACTPLAN": make_check(
        _closed(
            exportProducts=_BOOLEAN,
            exportStores=_BOOLEAN,
            groupPk=_INTEGER,
            userdbId=_TEXT_OR_NUMBER,
            eventPropertiesColumnMapping=_COLUMN_MAPPING,
            productsPropertiesColumnMapping=_COLUMN_MAPPING,
            classifications=_list_of(_STRING),
        )
    ),
    "CONTACTSEND": make_check(
        _closed(
            userdbId=_TEXT_OR_NUMBER,
            groupPk=_INTEGER,
            mappedColumns=_list_of(_closed(hub=_STRING, send=_STRING)),
            options=_closed(syncCustomer=_STRING, importEvent=_BOOLEAN),
            subscriptions=_list_of(
                _closed(sendWfc=_TEXT_OR_NUMBER, hub=_STRING, send=_TEXT_OR_NUMBER)
            ),
        )
    ),
}
_NEW = Shape("source", _MEMBERS, ("provider", "name", "nodes"))
_CHANGED = Shape("source", _MEMBERS, ("id", "provider", "name", "nodes"))


async def list_sources(request: web.Request) -> web.Response:
    """All sources, in one page; the pages behind it are empty."""
    caller, config = await enter(request)
    require_role(caller, CONFIG_READERS)
    number = page_number(request)
    async with request.app[POOL].connection() as conn:
        rows = await stored.list_sources(conn, config.id)
    page = Page(number=number, size=max(50, len(rows)))
    shown = [] if number else [_shown(row) for row in rows]
    return json_answer(
        {
            "elements": shown,
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
        if (body[member].lower() if member == "id" else body[member]) != value:
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
    if not body["nodes"]:
        errors.append(FieldError(message="required property is missing", path="/nodes"))
    properties, faults = _checked(body["provider"], body.get("properties") or {})
    errors += faults
    if errors:
        raise Refused(_NEW.refuse(*errors))
    nodes: set[NodeId] = set()
    for text in body["nodes"]:
        found = find_uuid(text)
        if found is None or NodeId(found) not in config.nodes:
            raise Refused(refusals.node_not_found(text))
        nodes.add(NodeId(found))
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


def _checked(provider: str, properties: JsonObject) -> tuple[JsonObject, list[FieldError]]:
    """`properties` as they are stored, and what is wrong with them."""
    if provider in _WITH_ADDRESSES:
        return properties, _check_addresses(properties)
    check = _PROPERTIES.get(provider)
    if check is None:
        return properties, []
    read, errors = check(properties, "/properties")
    stored: JsonObject = read
    return stored, list(errors)


def _check_addresses(properties: JsonObject) -> list[FieldError]:
    errors = [
        FieldError(message="property is not defined", path=pointer_of(["properties", name]))
        for name in properties
        if name != "allowedIPs"
    ]
    allowed = properties.get("allowedIPs")
    if allowed is None:
        return errors
    here = "/properties/allowedIPs"
    named: list[tuple[str, JsonValue]]
    if isinstance(allowed, str):
        named = [(here, part.strip()) for part in allowed.split(",") if part.strip()]
    elif isinstance(allowed, list):
        named = [(f"{here}/{place}", text) for place, text in enumerate(allowed)]
    else:
        return [*errors, FieldError(message="expected type string or array", path=here)]
    for path, text in named:
        if not isinstance(text, str):
            errors.append(FieldError(message="expected type string", path=path))
        elif find_network(text.strip()) is None:
            errors.append(FieldError(message="invalid format ip", path=path))
    return errors


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
