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
    go_on.set()
    assert (await first, await second, await other, asked) == (2, 2, 2, ["a", "b"])
    assert "a" not in flight
    assert (await ask("a"), asked) == (3, ["a", "b", "a"])


@pytest.mark.parametrize("gone", [0, 1])
async def test_who_goes_away_leaves_the_asking_to_the_others(gone: int) -> None:
    flight: SingleFlight[str] = SingleFlight()
    go_on = asyncio.Event()

    async def answer() -> str:
        await go_on.wait()
        return "told"

    asking = [asyncio.create_task(flight.ask("a", answer)) for _ in range(3)]
    await asyncio.sleep(0)  # they ask
    asking.pop(gone).cancel()
    await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*asking) == ["told", "told"]
    assert "a" not in flight


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
