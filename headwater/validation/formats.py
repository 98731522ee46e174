"""Formats of string values, as the hub reads them. Asserted by both validators in the same way."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from zoneinfo import available_timezones

from headwater.domain.moment import find_date, find_datetime

_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x20\x7f-\x9f]")
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ZONES = frozenset(available_timezones())
MAX_EMAIL = 255


def is_datetime(text: str) -> bool:
    return find_datetime(text) is not None


def is_date(text: str) -> bool:
    return find_date(text) is not None


def is_email(text: str) -> bool:
    """One `@` with something on both sides; no spaces or control characters; internationalised too."""
    local, at, domain = text.partition("@")
    return (
        bool(local and at and domain)
        and "@" not in domain
        and len(text) <= MAX_EMAIL
        and _SPACE_OR_CONTROL.search(text) is None
    )


def is_uri(text: str) -> bool:
    """Any reference, absolute or relative, that is not empty and has no white space."""
    return bool(text) and _SPACE_OR_CONTROL.search(text) is None


def is_ipv4(text: str) -> bool:
    return _is_address(socket.AF_INET, text)


def is_ipv6(text: str) -> bool:
    return _is_address(socket.AF_INET6, text)


def is_ip(text: str) -> bool:
    """Either of them: what clients send where the schema of a context says ipv4."""
    return is_ipv4(text) or is_ipv6(text)


def _is_address(family: socket.AddressFamily, text: str) -> bool:
    # a third of the time of `ipaddress`, on the way of nearly every event
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def is_hostname(text: str) -> bool:
    return 0 < len(text) <= 253 and all(_HOST_LABEL.fullmatch(part) for part in text.split("."))


def is_timezone(text: str) -> bool:
    return text in _ZONES


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date-time": is_datetime,
    "date": is_date,
    "email": is_email,
    "uri": is_uri,
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
    "hostname": is_hostname,
    "timezone": is_timezone,
}

CONTEXT_FORMATS: Mapping[str, Callable[[str], bool]] = {**FORMATS, "ipv4": is_ip}
"""In `contextInfo` an address may be of either kind."""

PREFIX = "hub-"
"""Formats are compiled under names of our own, so that no library's built-in meaning is used."""
