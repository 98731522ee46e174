"""An alarm on the share of refused writes.

A partition must never be blocked, so bad records are set aside one by one. That everybody's data is set
aside, as after a bad deploy or a wrong schema, is noticed here: one error line when the share goes over
the limit, one line when it is below again, and a gauge in between. Nothing is stopped, and every rejection
can be replayed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from headwater import metrics
from headwater.domain.outcome import Applied, Outcome, Rejected, Skipped
from headwater.settings import ProcessorSettings

log = structlog.get_logger()

SLOTS = 60
"""The window moves in so many steps."""


class RejectionAlarm:
    """Counts outcomes over a sliding window. `monotonic` gives seconds."""

    def __init__(self, settings: ProcessorSettings, monotonic: Callable[[], float]) -> None:
        self._limit = settings.alarm_share
        self._seconds = settings.alarm_seconds
        self._least = settings.alarm_records
        self._monotonic = monotonic
        self._slots: deque[tuple[float, int, int]] = deque()
        self.is_on = False

    def count(self, outcomes: list[Outcome]) -> None:
        """Add the outcomes of a committed batch, to the metrics too, then look."""
        now = self._monotonic()
        rejected = 0
        metrics.BATCHES.inc()
        for outcome in outcomes:
            match outcome:
                case Applied():
                    metrics.RECORDS_APPLIED.inc(outcome.entity_type)
                case Rejected():
                    rejected += 1
                    metrics.RECORDS_REJECTED.inc(outcome.refusal.reason)
                case Skipped():
                    metrics.RECORDS_SKIPPED.inc()
        if self._slots and now - self._slots[-1][0] < self._seconds / SLOTS:
            begun, slot_records, slot_rejected = self._slots.pop()
            slot = (begun, slot_records + len(outcomes), slot_rejected + rejected)
        else:
            slot = (now, len(outcomes), rejected)
        self._slots.append(slot)
        self.look()

    def look(self) -> None:
        """Forget what is older than the window, and start or end the alarm."""
        horizon = self._monotonic() - self._seconds
        while self._slots and self._slots[0][0] < horizon:
            self._slots.popleft()
        records = sum(slot[1] for slot in self._slots)
        rejected = sum(slot[2] for slot in self._slots)
        share = rejected / records if records else 0.0
        metrics.REJECTION_SHARE.set(share)
        is_on = records >= self._least and share > self._limit
        if is_on is self.is_on:
            return
        self.is_on = is_on
        metrics.REJECTION_ALARM.set(float(is_on))
        values = {"share": round(share, 3), "records": records, "window_seconds": self._seconds}
        if is_on:
            log.error("too many writes are refused", limit=self._limit, **values)
        else:
            log.info("the share of refused writes is below the limit again", **values)
