"""What becomes of a write: applied or rejected. A bad record is a value, not an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from headwater.domain.json import JsonObject
from headwater.domain.refusal import Refusal


@dataclass(slots=True, kw_only=True)  # not frozen: a third of the time, one for each record
class Applied:
    """The write took effect, or had no effect to take.

    `status` is the HTTP status of its answer. `version` names the document that answers it (the entity
    as of this write); None with `body` None answers with nothing, as a DELETE does. `body` is set where
    no version holds the answer (a session), or where it is at hand (an event).
    """

    status: int
    entity_type: str
    entity_id: UUID
    version: int | None
    body: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The write is refused; nothing of it took effect."""

    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The write was replayed twice: the first replay's outcome stands, this one does nothing."""


Outcome: TypeAlias = Applied | Rejected | Skipped
