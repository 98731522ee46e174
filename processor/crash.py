"""For tests only: die between two named steps of a batch.

`HEADWATER_PROCESSOR_CRASH_AT=<step>[:<n>]` kills the process with SIGKILL when it has finished that step
for the n-th time. Never set it in production. Nothing is caught, flushed or rolled back: what is left is
what a power cut would leave.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from headwater.errors import SettingInvalid


class Step(StrEnum):
    """The steps of a batch, in order."""

    FETCH = "fetch"
    DECODE = "decode"
    VALIDATE = "validate"
    MOVE_OFFSETS = "move_offsets"
    CHECK_CONFIG = "check_config"
    READ_OPERATIONS = "read_operations"
    MATCH = "match"
    FOLD = "fold"
    TAKE_INT_IDS = "take_int_ids"
    INSERT_EVENTS = "insert_events"
    WRITE_CUSTOMERS = "write_customers"
    WRITE_VERSIONS = "write_versions"
    STORE_IDENTITIES = "store_identities"
    ATTACH_EVENTS = "attach_events"
    KEEP_OUTCOMES = "keep_outcomes"
    APPEND_UPDATES = "append_updates"
    COMMIT = "commit"
    SEND_RESULTS = "send_results"


@dataclass(slots=True, kw_only=True)
class CrashPoint:
    """Where this process dies; nowhere, unless a test says so."""

    step: Step | None = None
    passes: int = 1

    @classmethod
    def from_setting(cls, text: str) -> Self:
        """Read `<step>[:<n>]`; empty is nowhere.

        Raises:
            SettingInvalid: there is no such step, or n is no number above 0.
        """
        if not text:
            return cls()
        name, _, count = text.partition(":")
        if name not in set(Step) or not (count or "1").isdecimal() or int(count or "1") < 1:
            steps = ", ".join(Step)
            raise SettingInvalid(
                f"HEADWATER_PROCESSOR_CRASH_AT is {text!r}, expected <step>[:<n>] with one of {steps}"
            )
        return cls(step=Step(name), passes=int(count or "1"))

    def after(self, step: Step) -> None:
        """Die if this is where."""
        if step is not self.step:
            return
        self.passes -= 1
        if self.passes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
