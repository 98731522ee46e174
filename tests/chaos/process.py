"""`python -m tests.chaos.process web|processor`: a process of the hub as the campaign runs it.

The code that runs is the hub's own. What differs is done here, before it starts, and nowhere else:

- the clock of the hub is moved by as many seconds as a mapped file says;
- the processor sends its results over a leg of their own;
- outcomes of writes are kept for days, because the books are balanced with them at the end;
- a planted defect, when the campaign has to prove that it finds one.
"""

from __future__ import annotations

import importlib
import mmap
import os
import struct
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import processor.app
import processor.batch
from headwater import clock
from headwater.kafka import open_producer
from headwater.settings import KafkaSettings

CLOCK = "HEADWATER_CHAOS_CLOCK"
RESULTS = "HEADWATER_CHAOS_RESULTS_BOOTSTRAP"
DEFECT = "HEADWATER_CHAOS_DEFECT"

SECONDS = struct.Struct("d")


def main() -> int:
    """Exit as the process of the hub does."""
    _move_clock(Path(os.environ[CLOCK]))
    processor.batch.KEPT_ANSWERED = timedelta(days=7)
    defect = os.environ.get(DEFECT)
    if defect:
        importlib.import_module(f"tests.chaos.defects.{defect}").plant()
    if sys.argv[1] == "processor":
        _send_results_over(os.environ[RESULTS])
        return importlib.import_module("processor.__main__").main()  # type: ignore[no-any-return]
    single = importlib.import_module("deploy.single")
    return single.main(single.SERVICES, "web")  # type: ignore[no-any-return]


def _move_clock(file: Path) -> None:
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), SECONDS.size, access=mmap.ACCESS_READ)
    right = clock.now

    def moved() -> datetime:
        (seconds,) = SECONDS.unpack_from(mapped)
        return right() + timedelta(seconds=seconds)

    clock.now = moved


def _send_results_over(bootstrap: str) -> None:
    async def opened(settings: KafkaSettings, **options: Any) -> Any:
        return await open_producer(replace(settings, bootstrap=bootstrap), **options)

    processor.app.open_producer = opened  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
