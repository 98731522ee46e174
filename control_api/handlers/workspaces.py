"""Workspaces: operations 110 to 113, their configuration (18 to 21), and who I am (109)."""

from __future__ import annotations

import uuid

from aiohttp import web

from control_api.body import Shape
from headwater import clock
from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.configuration import SLUG, CustomerPolicy, WorkspaceStatus
from headwater.domain.ids import SourceId, WorkspaceId, find_uuid
from headwater.domain.json import JsonObject
from headwater.domain.refusal import FieldError
from headwater.errors import Refused
from headwater.http.answer import json_answer
from headwater.http.caller import (
    CONFIG_READERS,
    CONFIG_WRITERS,
    OPERATORS,
    authenticate,
    count,
    enter,
    require_role,
)
from headwater.http.keys import CONFIGS, POOL
from headwater.http.parameters import integer_parameter, page_object, page_parameters
from headwater.postgres import config as stored
from headwater.postgres.config import (
    Workspace,
    read_user,
    read_workspace_configuration,
    set_throttling,
    set_workspace_configuration,
    set_workspace_policy,
    set_workspace_status,
)

SHARDS = ("default",)
_NEW = Shape(
    "workspace",
    {
        "name": {"type": "string", "minLength": 1, "maxLength": 255},
        "slug": {"type": "string"},
        "groupPk": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
        "shard": {"type": "string"},
    },
    ("name", "slug", "groupPk", "shard"),
)
_STATUS = Shape(
    "workspace",
    {"status": {"type": "string", "enum": [status.value for status in WorkspaceStatus]}},
    ("status",),
)
_THROTTLING = Shape(
    "throttling",
    {"maxRequestsPerMinute": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}},
    ("maxRequestsPerMinute",),
)
_CONFIGURATION = Shape(
    "workspace configuration",
    {
        "name": {"type": "string", "minLength": 1, "maxLength": 255},
        "industry": {"type": "string", "enum": ["GDO", "Luxury", "Automotive", "NotDefined"]},
        "logo": {"type": "string", "format": "uri"},
        "timezone": {"type": "string", "enum": ["Europe/Rome", "Europe/Paris", "Europe/London"]},
        "currency": {"type": "string", "enum": ["EUR", "USD", "JPY"]},
        "customerUniquenessPolicy": {"type": "string", "enum": ["MERGE"]},
        "tier": {"type": "string"},
    },
    ("name",),
)


def _shown(workspace: Workspace) -> JsonObject:
    return {
        "id": str(workspace.id),
        "name": workspace.name,
        "slug": workspace.slug,
        "groupPk": workspace.group_pk,
        "shard": workspace.shard,
        "status": workspace.status.value,
    }


async def list_workspaces(request: web.Request) -> web.Response:
    """All workspaces, for the platform's operators (contacthub 2.2)."""
    caller = await authenticate(request)
    await _refuse_disabled(request, caller)
    require_role(caller, OPERATORS)
    page = page_parameters(request, default_size=20, max_page=50)
    group = None
    if "groupPk" in request.query:
        group = integer_parameter(request, "groupPk", 0, 1, 2**63 - 1)
    name = request.query.get("name")
    async with request.app[POOL].connection() as conn:
        everything = await stored.list_workspaces(conn)
    # compared here: what a server's lower() makes of "Ö" depends on its locale
    found = [
        workspace
        for workspace in everything
        if (not name or name.casefold() in workspace.name.casefold())
        and group in {None, workspace.group_pk}
    ]
    start = page.number * page.size
    return json_answer(
        {
            "elements": [_shown(workspace) for workspace in found[start : start + page.size]],
            "page": page_object(page, total=len(found), unfiltered=len(everything)),
        }
    )


async def create_workspace(request: web.Request) -> web.Response:
    """A new workspace, ENABLED, with default configuration."""
    caller = await authenticate(request)
    require_role(caller, OPERATORS)
    body = await _NEW.read(request)
    if not SLUG.fullmatch(body["slug"]):
        fault = FieldError(message="invalid format pattern", path="/slug")
        raise Refused(_NEW.refuse(fault))
    if body["shard"] not in SHARDS:
        raise Refused(_NEW.refuse(FieldError(message="value not in enum", path="/shard")))
    workspace_id = WorkspaceId(uuid.uuid4())
    async with request.app[POOL].transaction() as conn:
        await stored.create_workspace(
            conn,
            workspace_id,
            name=body["name"],
            slug=body["slug"],
            group_pk=int(body["groupPk"]),
            shard=body["shard"],
            now=clock.now(),
        )
    return json_answer(_shown(await _find(request, str(workspace_id))), status=201)


async def read_workspace(request: web.Request) -> web.Response:
    """One workspace, disabled ones too, for the platform's operators."""
    caller = await authenticate(request)
    text = request.match_info["workspaceId"]
    workspace = await _find(request, text)
    _refuse_foreign(caller, workspace, text)
    require_role(caller, OPERATORS)
    return json_answer(_shown(workspace))


async def change_workspace_status(request: web.Request) -> web.Response:
    """ENABLED, SUSPENDED (reads only) or DISABLED."""
    caller = await authenticate(request)
    text = request.match_info["workspaceId"]
    workspace = await _find(request, text)
    _refuse_foreign(caller, workspace, text)
    require_role(caller, OPERATORS)
    body = await _STATUS.read(request)
    async with request.app[POOL].transaction() as conn:
        await set_workspace_status(conn, workspace.id, WorkspaceStatus(body["status"]))
    await request.app[CONFIGS].reload(workspace.id)
    return json_answer({"status": body["status"]})


def _refuse_foreign(caller: Caller, workspace: Workspace, text: str) -> None:
    if caller.workspace_id not in {None, workspace.id} or (
        workspace.status is WorkspaceStatus.DISABLED and not caller.is_operator
    ):
        raise Refused(refusals.workspace_not_found(text))


async def _refuse_disabled(request: web.Request, caller: Caller) -> None:
    """403 for whoever belongs to a disabled workspace, 429 beyond its throttle, on routes that name none."""
    if caller.workspace_id is None:
        return
    config = await request.app[CONFIGS].of(caller.workspace_id)
    if config is None or config.status is WorkspaceStatus.DISABLED:
        raise Refused(refusals.workspace_not_found(str(caller.workspace_id)))
    count(request, caller, config)


async def _find(request: web.Request, text: str) -> Workspace:
    found = find_uuid(text)
    workspaces: list[Workspace] = []
    if found is not None:
        async with request.app[POOL].connection() as conn:
            workspaces = await stored.list_workspaces(conn, only=WorkspaceId(found))
    if not workspaces:
        raise Refused(refusals.workspace_not_found(text))
    return workspaces[0]


async def read_configuration(request: web.Request) -> web.Response:
    """Operation 18. The policy is always reported as MERGE."""
    caller, config = await enter(request)
    require_role(caller, CONFIG_READERS)
    async with request.app[POOL].connection() as conn:
        fields = await read_workspace_configuration(conn, config.id) or {}
    return json_answer({**fields, "customerUniquenessPolicy": "MERGE"})


async def change_configuration(request: web.Request) -> web.Response:
    """Operation 19. A policy that is null or left out stays as it is."""
    caller, config = await enter(request, write=True)
    require_role(caller, CONFIG_WRITERS)
    body = await _CONFIGURATION.read(request)
    fields = {
        "name": body["name"],
        "industry": body.get("industry") or "NotDefined",
        "logo": body.get("logo"),
        "timezone": body.get("timezone", "Europe/Rome"),
        "currency": body.get("currency") or "EUR",
    }
    async with request.app[POOL].transaction() as conn:
        if body.get("customerUniquenessPolicy") is not None:
            # an older policy that the operator's tool has set ends when a client asks for MERGE
            await set_workspace_policy(conn, config.id, CustomerPolicy.MERGE, clock.now())
        await set_workspace_configuration(conn, config.id, fields)
    await request.app[CONFIGS].reload(config.id)
    return await read_configuration(request)


async def read_throttling(request: web.Request) -> web.Response:
    """Operation 20."""
    caller, config = await enter(request)
    require_role(caller, OPERATORS)
    return json_answer({"maxRequestsPerMinute": config.max_requests_per_minute})


async def change_throttling(request: web.Request) -> web.Response:
    """Operation 21. It counts at once here, within a second in other processes."""
    caller, config = await enter(request, write=True)
    require_role(caller, OPERATORS)
    limit = int((await _THROTTLING.read(request))["maxRequestsPerMinute"])
    async with request.app[POOL].transaction() as conn:
        await set_throttling(conn, config.id, limit)
    await request.app[CONFIGS].reload(config.id)
    return json_answer({"maxRequestsPerMinute": limit})


async def read_default_matching_policy(request: web.Request) -> web.Response:
    """Operation 67."""
    caller, _ = await enter(request)
    require_role(caller, CONFIG_READERS)
    return json_answer({"properties": ["externalId"], "caseSensitive": False})


async def read_me(request: web.Request) -> web.Response:
    """Operation 109."""
    caller = await authenticate(request)
    await _refuse_disabled(request, caller)
    groups: list[JsonObject] = []
    name: str | None = None
    surname = email = None
    own_id: int | str = caller.name
    if caller.user_id is not None:
        async with request.app[POOL].connection() as conn:
            user = await read_user(conn, caller.user_id) or {}
        own_id, name = caller.user_id, user.get("name")
        surname, email = user.get("surname"), user.get("email")
    if caller.workspace_id is not None:
        config = await request.app[CONFIGS].of(caller.workspace_id)
        async with request.app[POOL].connection() as conn:
            (workspace,) = await stored.list_workspaces(conn, only=caller.workspace_id)
        if config is not None:
            if caller.user_id is None:
                source = config.sources.get(SourceId(uuid.UUID(caller.name)))
                name = None if source is None else source.name
            nodes = [
                {
                    "id": str(node.id),
                    "name": node.name,
                    "type": node.type.value,
                    "permission": ("R" if caller.may_read(node.id) else "")
                    + ("W" if caller.may_write(node.id) else ""),
                }
                for node in config.nodes.values()
                if caller.may_read(node.id) or caller.may_write(node.id)
            ]
            shown = {
                "id": str(workspace.id),
                "name": workspace.name,
                "status": workspace.status.value,
                "nodes": nodes,
            }
            group = {
                "id": workspace.group_pk,
                "name": str(workspace.group_pk),
                "workspaces": [shown],
            }
            groups = [group]
    return json_answer(
        {
            "id": own_id,
            "name": name,
            "surname": surname,
            "groups": groups,
            "lang": "en",
            "email": email,
            "roles": sorted(role.value for role in caller.roles),
            "mc": False,
        }
    )
