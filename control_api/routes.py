"""Every URL of the configuration."""

from __future__ import annotations

from aiohttp import web

from control_api.handlers import nodes, sources, workspaces

_BASE = "/hub/v1"
_WS = f"{_BASE}/workspaces/{{workspaceId}}"
_CONF = f"{_WS}/configuration"
_ENTRY = f"{_CONF}/nodes/entries"
_SOURCE = f"{_CONF}/sources/{{sourceId}}"

ROUTES: list[web.RouteDef] = [
    web.get(f"{_BASE}/me", workspaces.read_me, allow_head=False),
    web.get(f"{_BASE}/workspaces", workspaces.list_workspaces, allow_head=False),
    web.post(f"{_BASE}/workspaces", workspaces.create_workspace),
    web.get(_WS, workspaces.read_workspace, allow_head=False),
    web.put(f"{_WS}/status", workspaces.change_workspace_status),
    web.get(_CONF, workspaces.read_configuration, allow_head=False),
    web.put(_CONF, workspaces.change_configuration),
    web.get(f"{_CONF}/throttling", workspaces.read_throttling, allow_head=False),
    web.put(f"{_CONF}/throttling", workspaces.change_throttling),
    web.get(
        f"{_CONF}/unique-customer-matching-policy",
        workspaces.read_default_matching_policy,
        allow_head=False,
    ),
    web.get(f"{_CONF}/nodes", nodes.list_nodes, allow_head=False),
    web.get(_ENTRY, nodes.list_entry_nodes, allow_head=False),
    web.post(_ENTRY, nodes.create_entry_node),
    web.get(f"{_ENTRY}/{{nodeId}}", nodes.read_entry_node, allow_head=False),
    web.put(f"{_ENTRY}/{{nodeId}}", nodes.change_entry_node),
    web.get(f"{_CONF}/sources", sources.list_sources, allow_head=False),
    web.post(f"{_CONF}/sources", sources.create_source),
    web.get(_SOURCE, sources.read_source, allow_head=False),
    web.put(_SOURCE, sources.change_source),
    web.delete(_SOURCE, sources.delete_source),
    web.post(f"{_SOURCE}/refresh-token", sources.refresh_source_token),
]
