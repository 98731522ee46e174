"""Every write the hub accepts, as data.

A command is what travels through Kafka: an `Envelope` that says who, where and what shall become of the
answer, and the original body as the client sent it (a refused write is kept with its bytes). The body
is parsed by the front door to check it and by the processor to apply it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from headwater.domain.ids import (
    CustomerId,
    EventId,
    OperationId,
    RejectionId,
    SessionId,
    WorkspaceId,
)


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class ReplyTo:
    """Where the outcome goes: a partition of `headwater.results` and the waiting request's number."""

    partition: int
    correlation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKey:
    """The idempotency key of a batch as a whole: its operation, and the digest of the whole request."""

    operation_id: OperationId
    fingerprint: str


@dataclass(slots=True, kw_only=True)  # not frozen: a quarter of the time, one for each record
class Envelope:
    """What every command carries beside its body.

    - `operation_id` is the identity of the write: a command that repeats one (the same idempotency key,
      or an identical call while the first is pending) carries the same id and `repeatable`, and gets
      the first one's outcome instead of a second effect.
    - `caller` is the source's id, or `user:<id>`.
    - `reply_to` is None when nobody waits.
    - `answered` says that the client already has its 2xx (202): a refusal is then kept as a rejection.
    - `answer_by` is when a waiting request gives up; a refusal after that is kept as a rejection too.
    - `fingerprint` digests method, target and body (32 hexadecimal digits): another one under the same
      idempotency key is refused with 422.
    - `batch` is set on the items of a batch that came with an idempotency key: items of another request
      under the same key are refused, also those that the first request didn't have.
    - `replay_of` names the rejection whose write is put into the pipeline again.
    """

    workspace_id: WorkspaceId
    operation_id: OperationId
    caller: str
    accepted_at: datetime
    tracing_id: str
    fingerprint: str
    repeatable: bool = False
    keyed: bool = False
    reply_to: ReplyTo | None = None
    answered: bool = False
    answer_by: datetime | None = None
    replay_of: RejectionId | None = None
    batch: BatchKey | None = None


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class CreateCustomer:
    """POST customers: create, or merge into the match. `customer_id` is used if it creates."""

    envelope: Envelope
    customer_id: CustomerId
    body: bytes
    session_value: str | None = None


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class PatchCustomer:
    envelope: Envelope
    customer_id: CustomerId
    body: bytes
    strict: bool = False
    session_value: str | None = None


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class ReplaceCustomer:
    """PUT customers/{id}."""

    envelope: Envelope
    customer_id: CustomerId
    body: bytes
    strict: bool = False
    session_value: str | None = None


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class DeleteCustomer:
    """Soft delete, with the customer's events and sessions."""

    envelope: Envelope
    customer_id: CustomerId
    body: bytes = b""


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class CreateSession:
    """POST customers/{id}/sessions. `session_id` is used if the value is new; body `{"value"}`."""

    envelope: Envelope
    customer_id: CustomerId
    session_id: SessionId
    body: bytes


@dataclass(slots=True, kw_only=True)  # not frozen, as the envelope
class RecordEvent:
    """POST events."""

    envelope: Envelope
    event_id: EventId
    body: bytes


CustomerCommand: TypeAlias = (
    CreateCustomer | PatchCustomer | ReplaceCustomer | DeleteCustomer | CreateSession
)
Command: TypeAlias = CustomerCommand | RecordEvent
