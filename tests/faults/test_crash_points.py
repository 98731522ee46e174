"""The processor dies between any two steps of its batch, under load; afterwards the books balance."""

from __future__ import annotations

import asyncio
import signal

import pytest

from headwater.errors import SettingInvalid
from processor.crash import CrashPoint, Step
from tests.faults.books import Books
from tests.hub import Client, Hub, wait_for

LIMIT_SECONDS = 20


@pytest.mark.timeout(360)  # a processor is started for each step
async def test_the_books_balance_after_a_crash_at_every_step(hub: Hub, client: Client) -> None:
    books = Books(client)
    died: dict[Step, int | None] = {}
    await asyncio.to_thread(hub.stop_processor)
    async with books.under_load():
        for step in Step:
            hub.start_processor(crash_at=f"{step}:2")
            died[step] = await asyncio.to_thread(_wait_for_death, hub)
        hub.start_processor()
    assert died == dict.fromkeys(Step, -signal.SIGKILL)
    assert books.customers
    assert books.accepted > 100
    await books.balance()


def _wait_for_death(hub: Hub) -> int | None:
    process = hub.processors[0]
    wait_for(lambda: process.poll() is not None, LIMIT_SECONDS, "the processor to die")
    return process.returncode


@pytest.mark.parametrize("text", ["nowhere", "fetch:0", "fetch:x", ":2"])
def test_an_unknown_crash_point_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid):
        CrashPoint.from_setting(text)
