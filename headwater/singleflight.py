"""One asking for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Answers that are under way, by question; nothing is kept once they are there.

    The answer may lack what happened since the asking began. If who asks goes away, another one asks.
    """

    def __init__(self) -> None:
        self._answers: dict[Hashable, asyncio.Future[T]] = {}

    def __contains__(self, question: Hashable) -> bool:
        """Whether the question is being asked."""
        return question in self._answers

    async def ask(self, question: Hashable, answer: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `answer` returns or raises, for this caller or for one that asked before."""
        while (asked := self._answers.get(question)) is not None:
            await asyncio.wait([asked])  # who is cancelled here doesn't cancel it for the others
            if not asked.cancelled():
                return asked.result()
        # not in a task of its own: who is alone, as most are, would go through the event loop three times more
        asked = self._answers[question] = asyncio.get_running_loop().create_future()
        try:
            result = await answer()
        except Exception as exc:
            asked.set_exception(exc)
            asked.exception()  # it is no stray one, if nobody waits
            raise
        else:
            asked.set_result(result)
            return result
        finally:
            del self._answers[question]
            asked.cancel()  # if neither: this caller goes away
