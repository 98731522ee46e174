"""Identifiers as distinct types, so that a checker sees a mix-up.

All ids of the hub are UUIDs. Those that the front door hands out before anything is stored (events,
operations) are UUIDv7 with a check value in their last bits (`mint`), so that a reader can tell "accepted,
not stored yet" from "never issued" without asking anybody (`was_minted`).
"""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache
from typing import NewType
from uuid import UUID, SafeUUID

WorkspaceId = NewType("WorkspaceId", UUID)
NodeId = NewType("NodeId", UUID)
SourceId = NewType("SourceId", UUID)
CustomerId = NewType("CustomerId", UUID)
EventId = NewType("EventId", UUID)
SessionId = NewType("SessionId", UUID)
OperationId = NewType("OperationId", UUID)
RejectionId = NewType("RejectionId", UUID)

KafkaOffset = NewType("KafkaOffset", int)
"""Position of a record in a partition."""

FeedOffset = NewType("FeedOffset", int)
"""Position of an update in the feed of a workspace; dense from 1."""

NIL_WORKSPACE = WorkspaceId(UUID(int=0))
"""Holds what belongs to no workspace, as a record that can't be decoded."""

_set = object.__setattr__  # UUIDs forbid assignment
_UNKNOWN = SafeUUID.unknown

_CHECK_BITS = 16
_CHECK_MASK = (1 << _CHECK_BITS) - 1


@lru_cache(maxsize=8_192)  # workspaces and nodes come again with every request
def find_uuid(text: str) -> UUID | None:
    """The UUID written as `text` in its canonical 36-character form (any case), else None.

    Braces, `urn:uuid:` and forms without dashes are no ids of the API.
    """
    if len(text) != 36 or text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return None
    digits = text.replace("-", "")
    if len(digits) != 32 or not digits.isalnum() or not digits.isascii():
        return None
    try:
        return uuid_of(int(digits, 16))
    except ValueError:
        return None


def uuid_of(value: int) -> UUID:
    """The UUID of 128 bits. As `UUID(int=...)` without its checks, in a third of the time: every
    record of the pipeline makes several.
    """
    made = object.__new__(UUID)
    _set(made, "int", value)
    _set(made, "is_safe", _UNKNOWN)
    return made


def uuid7(milliseconds: int, bits: int) -> UUID:
    """A UUIDv7 of `milliseconds` since the epoch and the low 74 of `bits`."""
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= ((bits >> 62) & 0xFFF) << 64
    value |= 0b10 << 62
    value |= bits & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=value)


def uuid8(digest: bytes) -> UUID:
    """The UUIDv8 that always belongs to these 16 or more bytes."""
    value = int.from_bytes(digest[:16], "big")
    value &= ~(0xF << 76) & ~(0b11 << 62)
    return UUID(int=value | (0x8 << 76) | (0b10 << 62))


def space_of(workspace_id: WorkspaceId, caller: str) -> UUID:
    """Where the operations of one caller are minted: another caller's id is unknown there."""
    return UUID(bytes=hashlib.sha256(workspace_id.bytes + caller.encode()).digest()[:16])


def mint(space: UUID, milliseconds: int, bits: int) -> UUID:
    """A UUIDv7 of 58 given bits whose last 16 bits check the rest within `space`.

    The space of events is their workspace, that of operations `space_of` their caller.
    """
    # uuid7 and _check in one step: every event needs one. Of the value without its last 16 bits:
    unchecked = (
        (milliseconds & 0xFFFF_FFFF_FFFF) << 64
        | 0x7 << 60
        | ((bits >> 46) & 0xFFF) << 48
        | 0b10 << 46
        | bits & 0x3FFF_FFFF_FFFF
    )
    check = zlib.crc32(unchecked.to_bytes(14, "big"), zlib.crc32(space.int.to_bytes(16, "big")))
    return uuid_of(unchecked << _CHECK_BITS | check & _CHECK_MASK)


def was_minted(space: UUID, value: UUID) -> bool:
    """Whether `value` can come from `mint` or `mint_from_digest` in this space.

    A stranger's id passes once in 65,536: this decides between "pending" and "unknown", nothing more.
    """
    return value.version in {7, 8} and value.int & _CHECK_MASK == _check(space, value.int)


def mint_from_digest(space: UUID, digest: bytes) -> UUID:
    """The checked UUIDv8 that always belongs to these 16 or more bytes, as of an idempotency key."""
    value = uuid8(digest).int & ~_CHECK_MASK
    return UUID(int=value | _check(space, value))


def _check(space: UUID, value: int) -> int:
    unchecked = (value >> _CHECK_BITS).to_bytes(14, "big")
    return zlib.crc32(unchecked, zlib.crc32(space.bytes)) & _CHECK_MASK
