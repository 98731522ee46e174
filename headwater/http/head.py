"""Refusing a request by its first bytes, for a tenth of what it costs to parse it.

Only what is plain enough is refused here: one whole head of a usual form, from a token that is known, on a
connection that is between two requests. All else goes the usual way and is refused there, if it has to be.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass

import structlog

from headwater import metrics
from headwater.auth import Authenticator
from headwater.domain.refusal import too_busy
from headwater.http.answer import JSON, plain_head
from headwater.http.app import new_tracing_id
from headwater.http.gate import OPERATOR, Gate, Party, Place

log = structlog.get_logger()

_END = b"\r\n\r\n"
_METHODS = (b"POST ", b"PATCH ", b"PUT ", b"GET ", b"DELETE ")
_TOKEN = re.compile(rb"\r\nauthorization: *bearer +([!-~]{1,512}) *\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9}) *\r\n")
_TRACING = re.compile(
    rb"\r\n(?:x|contactlab)-tracing-id: *([\x21-\x7e]{1,128}) *\r\n", re.IGNORECASE
)
_UNUSUAL = (b"transfer-encoding", b"\r\nexpect", b"\r\nupgrade", b"\r\n ", b"\r\n\t")


@dataclass(frozen=True, slots=True)
class Head:
    """What the first bytes say: who calls, and how many bytes of the body are yet to come."""

    party: Party
    rest_bytes: int
    tracing_id: str


class Doorkeeper:
    """Lets requests in or refuses them before they are parsed."""

    def __init__(self, gate: Gate, auth: Authenticator) -> None:
        self._gate = gate
        self._auth = auth
        self._refused = 0
        self._logref = ""
        self._told_at = 0.0

    @property
    def is_calm(self) -> bool:
        return self._gate.is_calm

    def look(self, data: bytes) -> Place | Head | None:
        """A place for the request that begins with `data`, or the head to refuse it by; None: look again
        when it is parsed.
        """
        head = self._read(data)
        if head is None:
            return None
        return self._gate.find_place(head.party) or head

    def _read(self, data: bytes) -> Head | None:
        end = data.find(_END)
        if end < 0 or not data.startswith(_METHODS):
            return None
        head = data[: end + 2]
        lower = head.lower()
        if not _is_usual(lower):
            return None
        token = _TOKEN.search(head)
        lengths = _LENGTH.findall(lower)
        if token is None or len(lengths) > 1 or lower.count(b"content-length") != len(lengths):
            return None
        caller = self._auth.known_caller(token[1].decode())
        rest_bytes = (int(lengths[0]) if lengths else 0) - (len(data) - end - len(_END))
        if caller is None or rest_bytes < 0:  # behind it stands another one
            return None
        tracing = _TRACING.search(head)
        return Head(
            caller.workspace_id or OPERATOR,
            rest_bytes,
            tracing[1].decode() if tracing else new_tracing_id(),
        )

    def refuse(self, head: Head) -> bytes:
        """The answer to a request; its connection goes on.

        The log tells of all such refusals of a second at once, under one `logref`.
        """
        now = time.monotonic()
        if now - self._told_at >= 1.0:
            self._tell()
            self._told_at = now
            self._logref = str(uuid.uuid4())
        self._refused += 1
        refusal = too_busy()
        metrics.REFUSALS.inc(refusal.reason)
        metrics.REQUESTS.inc("none", "5xx")
        body = (
            f'{{"message":"{refusal.message}","logref":"{self._logref}-{self._refused}",'
            '"data":null,"errors":[]}'
        )
        more = f"Content-Type: {JSON}\r\nRetry-After: {refusal.retry_after_seconds}\r\n"
        status = f"{refusal.status} Service Unavailable"
        return (plain_head(status, more, head.tracing_id, len(body)) + body).encode()

    def _tell(self) -> None:
        if self._refused:
            log.info("refused before they were read", count=self._refused, logref=self._logref)
        self._refused = 0


def _is_usual(head: bytes) -> bool:
    """Whether nobody can read it in two ways, neither the parser nor a proxy before us: else the rest of a body
    would be taken for a request.
    """
    lines = head.count(b"\r\n")
    return (
        head.startswith(b" http/1.1", head.find(b"\r\n") - 9)
        and head.count(b"\n") == lines == head.count(b"\r")
        and not any(word in head for word in _UNUSUAL)
        and head.count(b"\r\nconnection:") == head.count(b"\r\nconnection: keep-alive\r\n")
    )
