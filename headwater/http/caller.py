"""The first checks of every request, in the order of contacthub 2.4: who calls, and which workspace."""

from __future__ import annotations

from contextlib import nullcontext

from aiohttp import web

from headwater.auth import Caller, forwarded_address
from headwater.domain import refusal as refusals
from headwater.domain.configuration import Node, Role, WorkspaceConfig, WorkspaceStatus
from headwater.domain.ids import NodeId, WorkspaceId, find_uuid
from headwater.errors import Refused
from headwater.http.gate import OPERATOR, Seat
from headwater.http.keys import AUTH, CONFIGS, GATE, SETTINGS, THROTTLE
from headwater.postgres.pool import ON_BEHALF_OF

_COUNTED = web.RequestKey("counted", bool)

READERS = frozenset(
    {Role.CLAB_OPERATOR, Role.ADMIN, Role.USER, Role.GUEST, Role.TRUSTED_APPLICATION}
)
WRITERS = frozenset({Role.CLAB_OPERATOR, Role.ADMIN, Role.USER, Role.TRUSTED_APPLICATION})
POSTERS = WRITERS | {Role.UNTRUSTED_APPLICATION}
CONFIG_READERS = WRITERS
CONFIG_WRITERS = frozenset({Role.CLAB_OPERATOR, Role.ADMIN})
OPERATORS = frozenset({Role.CLAB_OPERATOR})
FOLLOWERS = WRITERS | {Role.PLATFORM_UPDATES}


async def authenticate(request: web.Request) -> Caller:
    """The caller, whose request is let in.

    Raises:
        Refused: 401, or 503: its workspace has its share of this process at work.
        Unavailable: the token is not known here and Postgres is away.
    """
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > 512 or not token.isascii():
        raise Refused(refusals.not_authorized())
    app = request.app
    auth, gate = app[AUTH], app[GATE]
    caller = auth.known_caller(token)
    if caller is None:
        address = _address_of(request)
        with nullcontext() if auth.is_finding(token, address) else gate.asking():
            caller = await auth.caller_of(token, address)
    if caller is None:
        raise Refused(refusals.not_authorized())
    seat = request.protocol
    if not isinstance(seat, Seat):
        return caller  # aiohttp's own server, in tests
    place = seat.place
    if place is None:
        place = seat.place = gate.enter(caller.workspace_id or OPERATOR)
    if not place.is_in:  # a request that looks at its rights again is in already
        place.is_in = True
        ON_BEHALF_OF.set(place.party)
        if gate.is_mixed:
            await gate.turn(place.party, request.content_length or 0)
    return caller


def _address_of(request: web.Request) -> str | None:
    """The client's address: of who connects, or whom a trusted proxy names."""
    trusted = request.app[SETTINGS].http.trusted_proxies
    if not trusted:
        return request.remote
    return forwarded_address(request.remote, request.headers.getall("X-Forwarded-For", []), trusted)


async def enter(request: web.Request, *, write: bool = False) -> tuple[Caller, WorkspaceConfig]:
    """The caller, and the workspace of the path if it is the caller's.

    Raises:
        Refused: 401; 403 for a workspace that is unknown, disabled, foreign, or (for a write) suspended; 429
            if it makes too many requests; 503 as `authenticate`.
    """
    caller = await authenticate(request)
    return caller, await workspace_of(request, caller, write=write)


async def workspace_of(
    request: web.Request, caller: Caller, *, write: bool = False
) -> WorkspaceConfig:
    """The configuration of the path's workspace, as `enter`."""
    text = request.match_info["workspaceId"]
    found = find_uuid(text)
    config = None
    if found is not None and (caller.workspace_id is None or caller.workspace_id == found):
        configs = request.app[CONFIGS]
        config = configs.cached(WorkspaceId(found)) or await configs.of(WorkspaceId(found))
    if config is None or config.status is WorkspaceStatus.DISABLED:
        raise Refused(refusals.workspace_not_found(text))
    if write and config.status is WorkspaceStatus.SUSPENDED:
        raise Refused(refusals.workspace_suspended(text))
    count(request, caller, config)
    return config


def count(request: web.Request, caller: Caller, config: WorkspaceConfig) -> None:
    """Count a request, once, against the throttle of the caller's workspace.

    Raises:
        Refused: 429.
    """
    if config.max_requests_per_minute and not caller.is_operator and _COUNTED not in request:
        request[_COUNTED] = True
        request.app[THROTTLE].admit(config)


def require_role(caller: Caller, allowed: frozenset[Role]) -> None:
    """403 unless the caller has one of the roles."""
    if not caller.roles & allowed:
        raise Refused(refusals.permission_missing())


def find_node(config: WorkspaceConfig, caller: Caller, text: str) -> Node:
    """The node that a request names, if the caller may know it.

    A source that is not registered for the node doesn't learn that it exists; a user without rights
    on it is told so.

    Raises:
        Refused: 404 `node not found <id>`, or 403 for a user.
    """
    found = find_uuid(text)
    node = None if found is None else config.nodes.get(NodeId(found))
    if node is None:
        raise Refused(refusals.node_not_found(text))
    if not caller.may_read(node.id) and not caller.may_write(node.id):
        if caller.is_source:
            raise Refused(refusals.node_not_found(text))
        raise Refused(refusals.permission_missing())
    return node
