"""Finding the route of a request by method and number of segments.

aiohttp tries the patterns of its routes one after the other and passes each request through layers that serve
nested applications. Here there is one application, whose patterns have no more than words and `{parameters}`. What
is not found here, or is written in an unusual way, is left to aiohttp, which knows 404 from 405.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from aiohttp import hdrs, web

_Parts: TypeAlias = list[tuple[int, str]]

REMEMBERED = 1_024
REMEMBERED_LENGTH = 200
"""How many paths are remembered with what they lead to, and how long they may be."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A route by what its path begins with, the words behind its first parameter, and its parameters."""

    prefix: str
    words: _Parts
    parameters: _Parts
    route: web.AbstractRoute


class RouteIndex:
    """The routes of an application that is complete."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._match)
        self._patterns: dict[tuple[str, int, str], list[_Pattern]] = {}
        """By method, number of segments and last segment, "" for all whose last is a parameter."""
        # as aiohttp: of two that fit the one with more fixed words at its beginning, then the first
        resources = sorted(
            app.router.resources(), key=lambda found: -found.canonical.partition("{")[0].count("/")
        )
        lasts = {resource.canonical.rpartition("/")[2] for resource in resources}
        for resource in resources:
            for route in resource:
                self._add(resource.canonical, route, lasts)

    def _add(self, path: str, route: web.AbstractRoute, lasts: AbstractSet[str]) -> None:
        prefix, _, rest = path.partition("{")
        parts = list(enumerate(path.split("/")))
        first = prefix.count("/") if rest else len(parts)
        pattern = _Pattern(
            prefix=prefix,
            words=[part for part in parts[first:] if "{" not in part[1]],
            parameters=[(place, name[1:-1]) for place, name in parts if "{" in name],
            route=route,
        )
        last = parts[-1][1]
        for each in {"", *lasts} if "{" in last else {last}:
            self._patterns.setdefault((route.method, len(parts), each), []).append(pattern)

    def find(self, request: web.BaseRequest) -> web.UrlMappingMatchInfo | None:
        """What `app.router` would find, ready for use; None: ask it."""
        if hdrs.EXPECT in request.headers:
            return None
        path = request.raw_path.partition("?")[0]
        match = self._remembered if len(path) <= REMEMBERED_LENGTH else self._match
        return match(request.method, path)

    def _match(self, method: str, path: str) -> web.UrlMappingMatchInfo | None:
        if "%" in path or "#" in path or not path.isascii():
            return None
        parts = path.split("/")
        count, patterns = len(parts), self._patterns
        candidates = patterns.get((method, count, parts[-1]))
        if candidates is None:
            candidates = patterns.get((method, count, ""), [])
        for pattern in candidates:
            if not path.startswith(pattern.prefix):
                continue
            if [word for place, word in pattern.words if parts[place] != word]:
                continue
            values = {name: parts[place] for place, name in pattern.parameters}
            if all(values.values()):
                found = web.UrlMappingMatchInfo(values, pattern.route)
                found.add_app(self._app)
                found.freeze()
                return found
        return None
