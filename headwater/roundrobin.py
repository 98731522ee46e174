"""A queue that parties take turns in: a long row of one doesn't delay the first of another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Items by party; each party gives one, then stands behind all others."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[Hashable, deque[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def __bool__(self) -> bool:
        return bool(self._rows)

    def push(self, party: Hashable, item: T, *, first: bool = False) -> None:
        """Put an item behind those of its party, or before them."""
        row = self._rows.get(party)
        if row is None:
            row = self._rows[party] = deque()
        if first:
            row.appendleft(item)
        else:
            row.append(item)

    @property
    def first(self) -> T:
        """The one that `pop` would take."""
        return next(iter(self._rows.values()))[0]

    def pop(self) -> T:
        """The first item of the party whose turn it is."""
        party = next(iter(self._rows))
        row = self._rows.pop(party)
        item = row.popleft()
        if row:
            self._rows[party] = row
        return item

    def pop_while(self, condition: Callable[[T], bool]) -> list[T]:
        """Of each party the first items that meet the condition; it costs none of them its turn."""
        popped = []
        for party, row in list(self._rows.items()):
            while row and condition(row[0]):
                popped.append(row.popleft())
            if not row:
                del self._rows[party]
        return popped
