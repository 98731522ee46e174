"""One asking for all who ask the same at the same time."""

from __future__ import annotations

import asyncio

import pytest

from headwater.singleflight import SingleFlight


async def test_who_asks_the_same_meanwhile_gets_the_same_answer() -> None:
    flight: SingleFlight[int] = SingleFlight()
    go_on = asyncio.Event()
    asked: list[str] = []

    async def answer_to(question: str) -> int:
        asked.append(question)
        await go_on.wait()
        return len(asked)

    async def ask(question: str) -> int:
        return await flight.ask(question, lambda: answer_to(question))

    first, second, other = (asyncio.create_task(ask(question)) for question in ("a", "a", "b"))
    await asyncio.sleep(0)  # they ask
    await asyncio.sleep(0)  # they are answered
    assert asked == ["a", "b"]
    assert ("a" in flight, "c" in flight) == (True, False)
    first.cancel()  # it leaves the answer to the other
    go_on.set()
    assert (await second, await other, asked) == (2, 2, ["a", "b"])
    assert "a" not in flight
    assert (await ask("a"), asked) == (3, ["a", "b", "a"])


async def test_what_goes_wrong_goes_wrong_for_all_and_is_forgotten() -> None:
    flight: SingleFlight[int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    answers = await asyncio.gather(
        *(flight.ask("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [LookupError] * 3
    with pytest.raises(LookupError):
        await flight.ask("a", fail)
    assert "a" not in flight
