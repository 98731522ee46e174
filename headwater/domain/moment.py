"""Dates and times as the wire spells them (contacthub 2.7)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache

_MOMENT = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?"
    r"(?:([Zz])|([+-])(\d{2})(?::?(\d{2}))?)?)?",
    re.ASCII,
)

_USUAL_LENGTHS = (20, 24, 28)
"""Of `2026-01-02T03:04:05Z`, the same with milliseconds, and with those and the hub's own `+0000`."""


@lru_cache(maxsize=256)
def format_datetime(moment: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmm+0000`, the one spelling that every client can parse."""
    moment = moment.astimezone(UTC)
    return (
        f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment.hour:02d}:{moment.minute:02d}:"
        f"{moment.second:02d}.{moment.microsecond // 1000:03d}+0000"
    )


def find_datetime(text: str) -> datetime | None:
    """The moment that `text` spells, truncated to milliseconds; None if it spells none.

    RFC 3339, also with the offsets `+0000` and `+02`; without offset UTC, without time midnight UTC. A
    leap second is read as the last millisecond before it.
    """
    if len(text) in _USUAL_LENGTHS and _is_usual(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass  # a leap second, or no moment at all: the long way tells
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _zulu, sign, hours, minutes = found.groups()
    seconds = int(second or 0)
    micros = int((fraction or "")[:3].ljust(3, "0")) * 1000
    if seconds == 60:
        seconds, micros = 59, 999_000
    offset = timedelta()
    if sign is not None:
        if int(hours) > 23 or int(minutes or 0) > 59:
            return None
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        offset = -offset if sign == "-" else offset
    try:
        local = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), seconds, micros,
            tzinfo=timezone(offset),
        )  # fmt: skip
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_usual(text: str) -> bool:
    """Whether `text` has the shape of one of `_USUAL_LENGTHS`: of what the standard library reads in
    that length only this means the same here, and is read ten times faster.
    """
    return (
        text[4] == "-" == text[7]
        and text[10] == "T"
        and text[11:13] != "24"
        and text[13] == ":" == text[16]
        and (text[-1] == "Z" if len(text) < 28 else text[23:] == "+0000")
        and (len(text) == 20 or text[19] == ".")
    )


def parse_datetime(text: str) -> datetime:
    """As `find_datetime`, for a text that is known to spell a moment.

    Raises:
        ValueError: it doesn't.
    """
    moment = find_datetime(text)
    if moment is None:
        raise ValueError(f"{text!r} is no date-time")
    return moment


def find_date(text: str) -> str | None:
    """`YYYY-MM-DD` of a date, or of a full date-time truncated to its date as written; else None."""
    if len(text) == 10 and text[4] == "-" == text[7]:  # not the weeks that Python reads too
        try:
            date.fromisoformat(text)
        except ValueError:
            return None
        return text
    return text[:10] if find_datetime(text) is not None else None
