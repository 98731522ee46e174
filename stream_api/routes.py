"""Every URL that this service answers."""

from __future__ import annotations

from aiohttp import web

from stream_api.handlers import customers, events, sessions, updates

_WORKSPACE = "/hub/v1/workspaces/{workspaceId}"
_CUSTOMER = _WORKSPACE + "/customers/{customerId}"

ROUTES: list[web.RouteDef] = [
    web.get(_WORKSPACE + "/updates/last-offset", updates.read_last_offset),
    web.get(_WORKSPACE + "/updates", updates.list_updates),
    web.get(_WORKSPACE + "/customers", customers.list_customers),
    web.get(_CUSTOMER, customers.read_customer),
    web.get(_CUSTOMER + "/sessions", sessions.list_sessions),
    web.get(_CUSTOMER + "/sessions/{sessionId}", sessions.read_session),
    web.get(_WORKSPACE + "/events", events.list_events),
    web.get(_WORKSPACE + "/events/{id}", events.read_event),
]
