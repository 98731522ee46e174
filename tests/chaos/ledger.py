"""What clients sent and what they were answered: the one side of the books.

Every line is on disk before the request leaves, and every answer when it came, so that a campaign that
is killed can be read. One line of JSON each:

    {"n": nonce, "w": workspace, "kind", "key", "path", "body"}
    {"n": nonce, "status", "id", "version"}          status 0: no answer
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

ACCEPTED, REFUSED, UNKNOWN = "accepted", "refused", "unknown"


def verdict_of(status: int) -> str:
    """What an answer promises: 2xx and 4xx are final, all else says nothing."""
    if 200 <= status < 300:
        return ACCEPTED
    if 400 <= status < 500 and status not in {408, 429}:
        return REFUSED
    return UNKNOWN


def fingerprint_of(method: str, path: str, query: str, body: bytes) -> str:
    """What the hub keeps of a customer write beside its outcome (digest of method, target, body)."""
    return hashlib.sha256(f"{method} {path}?{query}\n".encode() + body).hexdigest()[:32]


def fingerprint_of_item(body: bytes) -> str:
    """The same for an item of a batch that has its own key."""
    return hashlib.sha256(body).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer; `status` 0 for none. `version` of the customer that it showed."""

    status: int
    id: str | None = None
    version: int | None = None
    text: str = ""


@dataclass(slots=True)
class Write:
    """One write of a client; sent once, or several times.

    - `kind`: EVENT, POST, PATCH, PUT, DELETE or SESSION.
    - `keyed`: every sending carries the same idempotency key; else each may have an effect of its own.
    - `valid`: False for what must be refused.
    - `customer`: the customer that the path or the event names; `strict` its `mode`.
    """

    nonce: str
    workspace: int
    kind: str
    keyed: bool
    body: Any
    valid: bool = True
    customer: str | None = None
    strict: bool = False
    session: str | None = None
    fingerprint: str = ""
    sent: int = 0
    answers: list[Answered] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        return sum(1 for answer in self.answers if verdict_of(answer.status) == ACCEPTED)

    @property
    def refused(self) -> int:
        return sum(1 for answer in self.answers if verdict_of(answer.status) == REFUSED)

    @property
    def is_settled(self) -> bool:
        """Whether a keyed write has its answer."""
        return self.accepted + self.refused > 0

    @property
    def least(self) -> int:
        """How often it has to be found, applied or rejected."""
        return min(self.accepted, 1) if self.keyed else self.accepted

    @property
    def most(self) -> int:
        """How often it may be found."""
        return 1 if self.keyed else self.sent - self.refused

    def told(self) -> str:
        """For a person who looks into a violation."""
        answers = ", ".join(
            f"{a.status or 'nothing'}{f' {a.id}' if a.id else ''}{f' v{a.version}' if a.version is not None else ''}"
            f"{f' {a.text}' if a.text else ''}"
            for a in self.answers
        )
        body = orjson.dumps(self.body).decode()[:600]
        return (
            f"{self.kind} {self.nonce} in workspace {self.workspace}{' keyed' if self.keyed else ''}, "
            f"sent {self.sent} times, answered [{answers}], customer {self.customer}, body {body}"
        )


class Ledger:
    """All writes, in memory by nonce and in a file."""

    def __init__(self, file: Path) -> None:
        self.writes: dict[str, Write] = {}
        self.statuses: dict[int, int] = {}
        self.surprises: list[str] = []
        """Answers that no fault excuses."""
        self._file = file.open("ab", buffering=1 << 20)

    def sending(self, writes: Iterable[Write], path: str, key: str | None) -> None:
        """Before the request leaves."""
        for write in writes:
            if write.nonce not in self.writes:
                self.writes[write.nonce] = write
                line = {
                    "n": write.nonce,
                    "w": write.workspace,
                    "kind": write.kind,
                    "body": write.body,
                }
                self._file.write(orjson.dumps({**line, "key": key, "path": path}) + b"\n")
            write.sent += 1

    def answered(self, write: Write, answer: Answered) -> None:
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        write.answers.append(answer)
        line = {
            "n": write.nonce,
            "status": answer.status,
            "id": answer.id,
            "version": answer.version,
        }
        self._file.write(orjson.dumps(line) + b"\n")
        if answer.status in {401, 403, 405, 415, 422, 500} or (
            write.valid and answer.status in {400, 413}
        ):
            self.surprises.append(f"{answer.status} {answer.text}: {write.told()}")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
