"""The `Prefer` header (RFC 7240), as far as the hub knows it: `wait=N` and `respond-async`."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.errors import Refused

MAX_WAIT = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What the client prefers; both unset: the operation's default."""

    wait_seconds: int | None = None
    respond_async: bool = False

    @property
    def applied(self) -> str | None:
        """The value of `Preference-Applied`."""
        if self.respond_async:
            return "respond-async"
        return None if self.wait_seconds is None else f"wait={self.wait_seconds}"


def parse_prefer(request: web.Request) -> Preference:
    """Preferences that are not known are ignored, of one that is repeated the first counts, and
    `respond-async, wait=N` first waits, as the RFC asks.

    Raises:
        Refused: 400 for a wait that is no number of 1 to 60.
    """
    wait: int | None = None
    respond_async = False
    for header in request.headers.getall("Prefer", []):
        for part in header.split(","):
            name, _, value = part.split(";", 1)[0].strip().partition("=")
            name = name.strip().lower()
            if name == "respond-async":
                respond_async = True
            elif name == "wait" and wait is None:
                wait = _seconds(value.strip().strip('"'))
    return Preference(wait_seconds=wait, respond_async=respond_async and wait is None)


def _seconds(text: str) -> int:
    if not text:
        return 10
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_WAIT:
        return int(text)
    explanation = f"wait={text} is no number of seconds between 1 and {MAX_WAIT}"
    raise Refused(refusals.invalid_header("Prefer", explanation))
