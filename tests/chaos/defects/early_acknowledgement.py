"""The front door answers before Kafka has acknowledged the record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from headwater.errors import HubError
from ingest.accept import Acceptor


def plant() -> None:
    running: set[asyncio.Task[None]] = set()

    def early(right: Callable[..., Awaitable[None]]) -> Any:
        async def quietly(*arguments: Any) -> None:
            try:
                await right(*arguments)
            except HubError:
                return  # nobody is there any more to be told

        async def accept(*arguments: Any) -> None:
            task = asyncio.create_task(quietly(*arguments))
            running.add(task)
            task.add_done_callback(running.discard)

        return accept

    Acceptor.accept = early(Acceptor.accept)  # type: ignore[method-assign]
    Acceptor.accept_many = early(Acceptor.accept_many)  # type: ignore[method-assign]
