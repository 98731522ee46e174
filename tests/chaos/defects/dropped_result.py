"""One outcome in twenty never leaves the processor: its client waits in vain."""

from __future__ import annotations

import itertools
from typing import Any

from processor.consumer import Consumer

EVERY = 20


def plant() -> None:
    right = Consumer._send
    count = itertools.count(1)

    async def send(self: Consumer, answers: list[Any]) -> None:
        waited = [a for a in answers if a.command is None or a.command.envelope.reply_to is None]
        asked = [a for a in answers if a.command is not None and a.command.envelope.reply_to]
        await right(self, [*waited, *(a for a in asked if next(count) % EVERY)])

    Consumer._send = send  # type: ignore[method-assign]
