"""Commands and results as bytes: the one place that knows the record format and its version.

A command's Kafka value is the client's body, byte for byte; everything else is JSON in one header. So a
refused write can be kept exactly as it came, and a header can be read without touching the body.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from headwater.domain.commands import (
    BatchKey,
    Command,
    CreateCustomer,
    CreateSession,
    DeleteCustomer,
    Envelope,
    PatchCustomer,
    RecordEvent,
    ReplaceCustomer,
    ReplyTo,
)
from headwater.domain.ids import (
    CustomerId,
    EventId,
    OperationId,
    RejectionId,
    SessionId,
    WorkspaceId,
)
from headwater.domain.json import JsonObject
from headwater.domain.refusal import FieldError, Refusal
from headwater.errors import HubError
from headwater.postgres.uuids import find_new_uuid
from headwater.topics import HEADER

VERSION = 1

PACKED_FROM_BYTES = 65_536
MAX_RESULT_BYTES = 32 * 1024 * 1024
"""Unpacked; a customer within its limit is shown in a few megabytes."""


class Undecodable(HubError):
    """The record is no command of a version that we know; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a command, for the request that waits under `correlation`.

    `body` is the JSON text of the entity (None: the answer is empty); `refusal` is set instead of it when
    the write was refused.
    """

    correlation: str
    status: int
    entity_type: str | None = None
    entity_id: str | None = None
    version: int | None = None
    body: bytes | None = None
    refusal: Refusal | None = None


_text_of_workspace = lru_cache(maxsize=1024)(str)
"""The same again and again; an id of the Postgres driver's own class too."""


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(milliseconds: object) -> datetime:
    return datetime.fromtimestamp(_number(milliseconds) / 1000, UTC)


def encode(command: Command) -> tuple[list[tuple[str, bytes]], bytes]:
    """The headers and the value of a command's record."""
    envelope = command.envelope
    fields: JsonObject = {
        "v": VERSION,
        "kind": type(command).__name__,
        "workspace": _text_of_workspace(envelope.workspace_id),
        "operation": envelope.operation_id,
        "caller": envelope.caller,
        "accepted": _milliseconds(envelope.accepted_at),
        "tracing": envelope.tracing_id,
        "fingerprint": envelope.fingerprint,
    }
    if envelope.repeatable:
        fields["repeatable"] = True
    if envelope.keyed:
        fields["keyed"] = True
    if envelope.answered:
        fields["answered"] = True
    if envelope.reply_to is not None:
        fields["reply"] = [envelope.reply_to.partition, envelope.reply_to.correlation]
    if envelope.answer_by is not None:
        fields["answerBy"] = _milliseconds(envelope.answer_by)
    if envelope.replay_of is not None:
        fields["replayOf"] = str(envelope.replay_of)
    if envelope.batch is not None:
        fields["batch"] = [envelope.batch.operation_id, envelope.batch.fingerprint]
    match command:
        case RecordEvent():
            fields["id"] = command.event_id
        case CreateSession():
            fields["id"] = command.customer_id
            fields["session"] = command.session_id
        case CreateCustomer():
            fields["id"] = command.customer_id
            fields["sessionValue"] = command.session_value
        case PatchCustomer() | ReplaceCustomer():
            fields["id"] = command.customer_id
            fields["strict"] = command.strict
            fields["sessionValue"] = command.session_value
        case DeleteCustomer():
            fields["id"] = command.customer_id
    # orjson writes UUIDs itself, faster than str(); those of the Postgres driver are another class
    return [(HEADER, orjson.dumps(fields, default=str))], command.body


def header_of(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """The envelope's bytes, b"" if the record has none."""
    for name, value in headers:
        if name == HEADER:
            return value
    return b""


def decode(headers: Sequence[tuple[str, bytes]], value: bytes | None) -> Command:
    """The command of a record.

    Raises:
        Undecodable: the envelope is missing, broken or of a version that we don't know.
    """
    return decode_envelope(header_of(headers), value or b"")


def decode_envelope(header: bytes, body: bytes) -> Command:
    """As `decode`, from the envelope's bytes (a rejection keeps them)."""
    if not header:
        raise Undecodable(f"the record has no header {HEADER!r}")
    try:
        return _decode_fields(orjson.loads(header), body)
    except (
        orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError,
        OverflowError, OSError,  # of a time that no calendar holds
    ) as exc:  # fmt: skip
        raise Undecodable(f"the envelope can't be read: {exc!r}") from exc


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _text(value: object) -> str:
    """A text that a column can hold."""
    if not isinstance(value, str) or "\x00" in value:
        raise TypeError(f"{value!r} is no text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _uuid(text: str) -> UUID:
    found = find_new_uuid(text)
    if found is None:
        raise ValueError(f"{text!r} is no UUID")
    return found


@lru_cache(maxsize=1024)
def _workspace_of(text: str) -> WorkspaceId:
    """One object per workspace: it is the key of much that follows, and then found by identity."""
    return WorkspaceId(_uuid(text))


def _decode_fields(fields: dict[str, Any], body: bytes) -> Command:
    if fields["v"] != VERSION:
        raise Undecodable(f"the envelope has version {fields['v']!r}, expected {VERSION}")
    reply = fields.get("reply")
    answer_by = fields.get("answerBy")
    replay_of = fields.get("replayOf")
    batch = fields.get("batch")
    envelope = Envelope(
        workspace_id=_workspace_of(fields["workspace"]),
        operation_id=OperationId(_uuid(fields["operation"])),
        caller=_text(fields["caller"]),
        accepted_at=_moment(fields["accepted"]),
        tracing_id=_text(fields["tracing"]),
        fingerprint=_text(fields["fingerprint"]),
        repeatable=_flag(fields.get("repeatable", False)),
        keyed=_flag(fields.get("keyed", False)),
        reply_to=None if reply is None else _reply_to(*reply),
        answered=_flag(fields.get("answered", False)),
        answer_by=None if answer_by is None else _moment(answer_by),
        replay_of=None if replay_of is None else RejectionId(UUID(replay_of)),
        batch=None if batch is None else _batch_key(*batch),
    )
    entity = _uuid(fields["id"])
    match fields["kind"]:
        case "RecordEvent":
            return RecordEvent(envelope=envelope, event_id=EventId(entity), body=body)
        case "CreateCustomer":
            return CreateCustomer(
                envelope=envelope,
                customer_id=CustomerId(entity),
                body=body,
                session_value=_text_or_none(fields["sessionValue"]),
            )
        case "PatchCustomer":
            return PatchCustomer(
                envelope=envelope,
                customer_id=CustomerId(entity),
                body=body,
                strict=_flag(fields["strict"]),
                session_value=_text_or_none(fields["sessionValue"]),
            )
        case "ReplaceCustomer":
            return ReplaceCustomer(
                envelope=envelope,
                customer_id=CustomerId(entity),
                body=body,
                strict=_flag(fields["strict"]),
                session_value=_text_or_none(fields["sessionValue"]),
            )
        case "DeleteCustomer":
            return DeleteCustomer(envelope=envelope, customer_id=CustomerId(entity), body=body)
        case "CreateSession":
            return CreateSession(
                envelope=envelope,
                customer_id=CustomerId(entity),
                session_id=SessionId(UUID(fields["session"])),
                body=body,
            )
        case kind:
            raise Undecodable(f"the envelope names the command {kind!r}, which is not known")


def _reply_to(partition: object, correlation: object) -> ReplyTo:
    return ReplyTo(partition=_number(partition), correlation=_text(correlation))


def _batch_key(operation_id: str, fingerprint: object) -> BatchKey:
    return BatchKey(operation_id=OperationId(UUID(operation_id)), fingerprint=_text(fingerprint))


def refusal_to_json(refusal: Refusal) -> JsonObject:
    """A refusal as it is kept with operations and sent to the waiting request."""
    return {
        "status": refusal.status,
        "reason": refusal.reason,
        "message": refusal.message,
        "errors": [{"message": error.message, "path": error.path} for error in refusal.errors],
        "data": refusal.data,
    }


def refusal_from_json(fields: JsonObject) -> Refusal:
    """The other way round."""
    return Refusal(
        status=_number(fields["status"]),
        reason=_string(fields["reason"]),
        message=_string(fields["message"]),
        errors=tuple(
            FieldError(message=_string(error["message"]), path=_string(error["path"]))
            for error in fields["errors"]
        ),
        data=fields["data"],
    )


def encode_result(result: Result) -> bytes:
    """A line of JSON about the outcome, then the entity's text: as it is, or packed if it is large.

    A customer within its limit can be shown in more than a message of Kafka may hold, mostly of nulls.
    """
    head: JsonObject = {"c": result.correlation, "s": result.status}
    if result.refusal is not None:
        head["r"] = refusal_to_json(result.refusal)
    else:
        head["t"] = result.entity_type
        head["id"] = result.entity_id
        head["n"] = result.version
        head["b"] = result.body is not None
    body = result.body or b""
    if len(body) > PACKED_FROM_BYTES:
        head["z"] = True
        body = zlib.compress(body, 1)
    return orjson.dumps(head) + b"\n" + body


def decode_result(raw: bytes | None) -> Result:
    """The other way round.

    Raises:
        Undecodable: the bytes are no result.
    """
    try:
        head_bytes, body = (raw or b"").split(b"\n", 1)
        head = orjson.loads(head_bytes)
        if head.get("z"):
            body = _unpacked(body)
        refusal = head.get("r")
        version = head.get("n")
        return Result(
            correlation=_string(head["c"]),
            status=_number(head["s"]),
            entity_type=_text_or_none(head.get("t")),
            entity_id=_text_or_none(head.get("id")),
            version=None if version is None else _number(version),
            body=body if head.get("b") else None,
            refusal=None if refusal is None else refusal_from_json(refusal),
        )
    except (
        orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, zlib.error
    ) as exc:  # fmt: skip
        raise Undecodable(f"the result can't be read: {exc!r}") from exc


def _unpacked(packed: bytes) -> bytes:
    stream = zlib.decompressobj()
    body = stream.decompress(packed, MAX_RESULT_BYTES)
    if not stream.eof:
        raise ValueError(f"it is cut off, or longer than {MAX_RESULT_BYTES} bytes")
    return body
