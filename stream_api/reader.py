"""Who reads, and what they may see: the checks that all reading routes begin with.

The order is that of contacthub 2.4: 401, 403 of the workspace, 404 of node and entity, 403 of the role,
then 400 of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from headwater.auth import Caller
from headwater.domain import refusal as refusals
from headwater.domain.configuration import Role, WorkspaceConfig
from headwater.domain.ids import NodeId, WorkspaceId
from headwater.errors import Refused
from headwater.http import caller as callers


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A caller within a workspace."""

    caller: Caller
    config: WorkspaceConfig

    @property
    def workspace_id(self) -> WorkspaceId:
        return self.config.id

    @property
    def visible_nodes(self) -> frozenset[NodeId] | None:
        """The nodes whose customers and events this caller may read; None for all."""
        return self.caller.readable

    def knows(self, node_id: NodeId) -> bool:
        """Whether the node exists for this caller: a source sees its own ones only."""
        if node_id not in self.config.nodes:
            return False
        return not self.caller.is_source or self.caller.may_read(node_id)

    def find_node(self, text: str) -> NodeId:
        """The node that a parameter names.

        Raises:
            Refused: 404, there is none for this caller; 403 for a user without rights on it.
        """
        return callers.find_node(self.config, self.caller, text).id

    def require(self, roles: frozenset[Role], node_id: NodeId | None = None) -> None:
        """Refuse with 403 who lacks the role, or the permission on the node."""
        callers.require_role(self.caller, roles)
        if node_id is not None and not self.caller.may_read(node_id):
            raise Refused(refusals.permission_missing())


async def enter_reader(request: web.Request) -> Reader:
    """Authenticate and find the workspace.

    Raises:
        Refused: 401, or 403 of the workspace.
    """
    caller, config = await callers.enter(request)
    return Reader(caller=caller, config=config)
