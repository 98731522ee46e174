"""Kafka topics, and what must stay in order together.

The partition key of a write names the person it is about: by customer id, by the match key of a POST, or
by the bring-back value of an event. Writes that name a person the same way keep their order; between two
ways there is none (event-model 3), the database decides.
"""

from __future__ import annotations

import zlib

from headwater.domain.ids import CustomerId, NodeId, WorkspaceId

CUSTOMERS = "headwater.customers"
EVENTS = "headwater.events"
RESULTS = "headwater.results"
PENDING = "headwater.pending"

GROUP = "headwater.processor"
"""The consumer group of the processors. It only shares out partitions: offsets are in Postgres."""

HEADER = "headwater"
"""The one Kafka header of a command: its envelope."""


def partition_for(key: bytes, partitions: int) -> int:
    """CRC-32 of the key: the topics are ours alone, and murmur2 in Python costs 14 % of a bulk request."""
    return zlib.crc32(key) % partitions


def key_of_customer(workspace_id: WorkspaceId, customer_id: CustomerId) -> bytes:
    return workspace_id.bytes + customer_id.bytes


def key_of_match(workspace_id: WorkspaceId, node_id: NodeId, match_key: str) -> bytes:
    return workspace_id.bytes + node_id.bytes + match_key.encode()


def key_of_bring_back(workspace_id: WorkspaceId, node_id: NodeId, kind: str, value: str) -> bytes:
    return workspace_id.bytes + node_id.bytes + f"{kind}:{value}".encode()
