"""Every URL that this service answers."""

from __future__ import annotations

from aiohttp import web

from headwater.http.app import Handler
from stream_api.handlers import customers, events, sessions, updates

_WORKSPACE = "/hub/v1/workspaces/{workspaceId}"
_CUSTOMER = _WORKSPACE + "/customers/{customerId}"


def _get(path: str, handler: Handler) -> web.RouteDef:
    """Without the HEAD that aiohttp adds: the API has none."""
    return web.get(path, handler, allow_head=False)


ROUTES: list[web.RouteDef] = [
    _get(_WORKSPACE + "/updates/last-offset", updates.read_last_offset),
    _get(_WORKSPACE + "/updates", updates.list_updates),
    _get(_WORKSPACE + "/customers", customers.list_customers),
    _get(_CUSTOMER, customers.read_customer),
    _get(_CUSTOMER + "/sessions", sessions.list_sessions),
    _get(_CUSTOMER + "/sessions/{sessionId}", sessions.read_session),
    _get(_WORKSPACE + "/events", events.list_events),
    _get(_WORKSPACE + "/events/{id}", events.read_event),
]
