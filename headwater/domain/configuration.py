"""The configuration of a workspace as one immutable value, with its version.

Read from Postgres by `headwater/postgres/config.py`, kept fresh by `headwater/configuration.py`. The
processor checks `version` inside its transaction, so that a write is judged by the rules of its moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from headwater.domain.ids import NodeId, SourceId, WorkspaceId
from headwater.domain.json import JsonObject

SLUG = re.compile(r"[a-z0-9-]{1,63}")
"""The short name of a workspace (contacthub 111)."""

DEFAULT_EVENT_BYTES = 65_535
"""Largest event body unless the payload-size policy lowers it (contacthub 2.8)."""

MAX_CUSTOMER_BYTES = 65_535
"""Largest customer body, and largest compact form of a merged customer (contacthub 2.8)."""


class WorkspaceStatus(StrEnum):
    ENABLED = "ENABLED"
    SUSPENDED = "SUSPENDED"
    DISABLED = "DISABLED"


class NodeType(StrEnum):
    ENTRY = "ENTRY"
    AGGREGATE = "AGGREGATE"


class CustomerPolicy(StrEnum):
    """What a POST does that matches a live customer (customer-model 5.8).

    Only MERGE can be set over the API; the older two come from the operator's provisioning tool.
    """

    MERGE = "MERGE"
    BLOCK = "BLOCK"
    NO_CHECK = "NO_CHECK"


class Permission(StrEnum):
    """What a user may do on a node."""

    R = "R"
    W = "W"
    RW = "RW"


class Role(StrEnum):
    CLAB_OPERATOR = "CLAB_OPERATOR"
    ADMIN = "ADMIN"
    USER = "USER"
    GUEST = "GUEST"
    DPO = "DPO"
    TRUSTED_APPLICATION = "TRUSTED_APPLICATION"
    UNTRUSTED_APPLICATION = "UNTRUSTED_APPLICATION"
    PLATFORM_UPDATES = "PLATFORM_UPDATES"


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueRule:
    """Properties that make two writes to a node the same customer; empty never matches."""

    properties: tuple[str, ...]
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    id: NodeId
    name: str
    type: NodeType = NodeType.ENTRY
    unique: UniqueRule = UniqueRule(properties=("externalId",))
    mandatory: tuple[str, ...] = ()
    description: str | None = None
    image_url: str | None = None
    source_priority: tuple[SourceId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A registered application. The token itself is nowhere; its SHA-256 is."""

    id: SourceId
    name: str
    provider: str
    nodes: frozenset[NodeId]
    enabled: bool
    token_hash: bytes
    allowed_ips: tuple[str, ...] = ()

    @property
    def role(self) -> Role:
        if self.provider == "JavaScript":
            return Role.UNTRUSTED_APPLICATION
        return Role.TRUSTED_APPLICATION


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of a workspace, with rights per node."""

    id: int
    name: str
    roles: frozenset[Role]
    nodes: Mapping[NodeId, Permission]
    token_hash: bytes | None


def _empty_mapping() -> Mapping[str, JsonObject]:
    return MappingProxyType({})


def _no_byte_limits() -> Mapping[str, int]:
    return MappingProxyType({})


def _no_event_definitions() -> Mapping[str, Mapping[str, JsonObject]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceConfig:
    """Everything that decides what becomes of a write to the workspace.

    `customer_extended` and `event_extended` hold the definitions of customer-model 3 by property name
    (events: by type, then name); `disabled_base` paths relative to `base`; `event_max_bytes` only the
    types whose limit was lowered. `max_requests_per_minute` 0: as many as come.
    """

    id: WorkspaceId
    version: int
    name: str
    status: WorkspaceStatus = WorkspaceStatus.ENABLED
    customer_policy: CustomerPolicy = CustomerPolicy.MERGE
    nodes: Mapping[NodeId, Node]
    sources: Mapping[SourceId, Source]
    users: Mapping[int, User] = field(default_factory=lambda: MappingProxyType({}))
    customer_extended: Mapping[str, JsonObject] = field(default_factory=_empty_mapping)
    event_extended: Mapping[str, Mapping[str, JsonObject]] = field(
        default_factory=_no_event_definitions
    )
    disabled_base: frozenset[str] = frozenset()
    disabled_event_types: frozenset[str] = frozenset()
    event_max_bytes: Mapping[str, int] = field(default_factory=_no_byte_limits)
    max_requests_per_minute: int = 0
    nodes_by_text: Mapping[str, Node] = field(init=False, repr=False, compare=False)
    """`nodes` by their ids in the usual spelling: an event names its node by text."""

    def __post_init__(self) -> None:
        found = {str(node_id): node for node_id, node in self.nodes.items()}
        object.__setattr__(self, "nodes_by_text", MappingProxyType(found))

    def max_bytes_of(self, event_type: str) -> int:
        """Largest body of an event of this type."""
        return self.event_max_bytes.get(event_type, DEFAULT_EVENT_BYTES)
