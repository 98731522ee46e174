"""One record in five hundred is neither applied nor rejected."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import processor.batch
import processor.isolate

EVERY = 500


def plant() -> None:
    right = processor.batch.apply_batch
    count = itertools.count(1)

    async def apply_batch(batch: Any, parts: Any, **options: Any) -> Any:
        kept = tuple(record for record in batch.records if next(count) % EVERY)
        options["ahead"] = None  # these are verdicts on all of them
        return await right(replace(batch, records=kept), parts, **options)

    processor.isolate.apply_batch = apply_batch  # type: ignore[attr-defined]
