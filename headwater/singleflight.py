"""One asking for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Answers that are under way, by question; nothing is kept once they are there.

    The answer may lack what happened since the asking began. Who goes away leaves it to the others.
    """

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    def __contains__(self, question: Hashable) -> bool:
        """Whether the question is being asked."""
        return question in self._tasks

    async def ask(self, question: Hashable, answer: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `answer` returns or raises, for this caller or for one that asked before."""
        task = self._tasks.get(question)
        if task is None:
            task = self._tasks[question] = asyncio.create_task(self._run(question, answer))
            task.add_done_callback(_see)
        return await asyncio.shield(task)

    async def _run(self, question: Hashable, answer: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await answer()
        finally:
            del self._tasks[question]


def _see(task: asyncio.Task[Any]) -> None:
    """Its exception is no stray one, if all who asked have gone."""
    if not task.cancelled():
        task.exception()
