"""Every URL of the front door."""

from __future__ import annotations

from aiohttp import web

from ingest.handlers import customers, events, health, operations, rejections, sessions

_WS = "/hub/v1/workspaces/{workspaceId}"

ROUTES: list[web.RouteDef] = [
    # first: aiohttp tries the routes below one prefix in this order
    web.post(f"{_WS}/events", events.record_event),
    web.post(f"{_WS}/events/batch", events.record_events),
    web.post(f"{_WS}/customers", customers.create_customer),
    web.post(f"{_WS}/customers/batch", customers.create_customers),
    web.patch(f"{_WS}/customers/{{customerId}}", customers.patch_customer),
    web.put(f"{_WS}/customers/{{customerId}}", customers.replace_customer),
    web.delete(f"{_WS}/customers/{{customerId}}", customers.delete_customer),
    web.post(f"{_WS}/customers/{{customerId}}/sessions", sessions.create_session),
    web.get(f"{_WS}/events/{{id}}/status", events.read_event_status, allow_head=False),
    web.get(f"{_WS}/operations/{{id}}", operations.read_operation, allow_head=False),
    web.get(f"{_WS}/rejections", rejections.list_rejected, allow_head=False),
    web.post(f"{_WS}/rejections/replay", rejections.replay_many),
    web.get(f"{_WS}/rejections/{{id}}", rejections.read_rejected, allow_head=False),
    web.delete(f"{_WS}/rejections/{{id}}", rejections.discard),
    web.post(f"{_WS}/rejections/{{id}}/replay", rejections.replay_one),
    *(
        web.get(f"{base}/health{path}", handler, allow_head=False)
        for base in ("", "/hub/v1")
        for path, handler in (
            ("", health.read_health),
            ("/live", health.read_liveness),
            ("/ready", health.read_readiness),
        )
    ),
]
