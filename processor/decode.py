"""Records to commands. What can't be decoded is kept whole, as a rejection."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

import orjson

from headwater import wire
from headwater.domain.commands import Command
from headwater.domain.ids import NIL_WORKSPACE, WorkspaceId, find_uuid, uuid8
from processor.record import Record


@dataclass(slots=True, kw_only=True)  # not frozen: half the time, and one is made per record
class Decoded:
    """A record and its command; `fault` says why there is none."""

    record: Record
    command: Command | None
    fault: str = ""

    @property
    def workspace_id(self) -> WorkspaceId:
        if self.command is not None:
            return self.command.envelope.workspace_id
        return _workspace_of_broken(wire.header_of(self.record.headers))

    @property
    def position_id(self) -> UUID:
        """An id that always belongs to this position, for a record that names none itself."""
        record = self.record
        text = f"{record.topic}/{record.partition}/{record.kafka_offset}"
        return uuid8(hashlib.sha256(text.encode()).digest())


def decode(records: tuple[Record, ...]) -> list[Decoded]:
    """The commands of a batch, in its order."""
    decoded = []
    for record in records:
        try:
            command = wire.decode(record.headers, record.value)
        except wire.Undecodable as exc:
            decoded.append(Decoded(record=record, command=None, fault=str(exc)))
        else:
            decoded.append(Decoded(record=record, command=command))
    return decoded


def _workspace_of_broken(header: bytes) -> WorkspaceId:
    try:
        fields = orjson.loads(header)
    except orjson.JSONDecodeError:
        return NIL_WORKSPACE
    if not isinstance(fields, dict) or not isinstance(fields.get("workspace"), str):
        return NIL_WORKSPACE
    found = find_uuid(fields["workspace"])
    return NIL_WORKSPACE if found is None else WorkspaceId(found)
