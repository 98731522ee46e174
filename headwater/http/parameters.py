"""Query parameters: paging, sorting, numbers and times. Source: contacthub 2.5-2.7."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from headwater.domain import refusal as refusals
from headwater.domain.json import JsonObject
from headwater.domain.moment import find_datetime
from headwater.errors import Refused

MAX_ELEMENTS = 10_000
MAX_SORT_KEYS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A requested page: number from 0, and its size."""

    number: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """One key of an order."""

    path: str
    descending: bool


def integer_parameter(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of a range.

    Raises:
        Refused: 400 `invalid parameter <name>`.
    """
    text = request.query.get(name)
    if text is None:
        return default
    expected = f"{text!r} is not a whole number between {low} and {high}"
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 20:
        raise Refused(refusals.invalid_parameter(name, expected))
    value = int(text)
    if not low <= value <= high:
        raise Refused(refusals.invalid_parameter(name, expected))
    return value


def page_number(request: web.Request, max_page: int = 2**31) -> int:
    """`page` alone, for lists whose first page holds everything."""
    return integer_parameter(request, "page", 0, 0, max_page)


def page_parameters(
    request: web.Request, *, default_size: int, max_size: int = 50, max_page: int = 2**31
) -> Page:
    """`page` and `size`."""
    return Page(
        number=page_number(request, max_page),
        size=integer_parameter(request, "size", default_size, 0, max_size),
    )


def page_object(
    page: Page, *, total: int, unfiltered: int, max_elements: int = MAX_ELEMENTS
) -> JsonObject:
    """The `page` member of a list."""
    size = page.size
    return {
        "size": size,
        "number": page.number,
        "totalElements": min(total, max_elements),
        "totalPages": -(-min(total, max_elements) // size) if size else 0,
        "totalUnfilteredElements": unfiltered,
        "maxElements": max_elements,
        "maxPages": -(-max_elements // size) if size else 0,
    }


def sort_parameters(request: web.Request) -> list[Sort]:
    """`sort=<path>[,asc|desc]`, repeatable; checking the paths is the caller's.

    Raises:
        Refused: 400 for more keys than anybody needs: each is worked out for each row of the node.
    """
    keys: list[Sort] = []
    for text in request.query.getall("sort", []):
        if len(keys) == MAX_SORT_KEYS:
            explanation = f"more than {MAX_SORT_KEYS} keys"
            raise Refused(refusals.invalid_parameter("sort", explanation))
        path, _, direction = text.partition(",")
        if direction.strip().lower() not in {"", "asc", "desc"}:
            explanation = f"{direction!r} is no direction, expected asc or desc"
            raise Refused(refusals.invalid_parameter("sort", explanation))
        keys.append(Sort(path=path.strip(), descending=direction.strip().lower() == "desc"))
    return keys


def text_parameter(query: Mapping[str, str], name: str) -> str | None:
    """A text that Postgres can compare.

    Raises:
        Refused: 400 `invalid parameter <name>` for U+0000.
    """
    text = query.get(name)
    if text is not None and "\x00" in text:
        raise Refused(refusals.invalid_parameter(name, "character not allowed"))
    return text


def moment_parameter(query: Mapping[str, str], name: str) -> datetime | None:
    """A date-time in any form of contacthub 2.7; a `+` may have arrived as a space."""
    text = query.get(name)
    if text is None:
        return None
    moment = find_datetime(text)
    if moment is None and " " in text:
        head, _, tail = text.rpartition(" ")
        moment = find_datetime(f"{head}+{tail}")
    if moment is None:
        raise Refused(refusals.invalid_parameter(name, f"{text!r} is no date-time"))
    return moment
