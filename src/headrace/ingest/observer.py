"""The gateway's observer that counts."""

from __future__ import annotations

from headrace.ingest.model import Dropped, Refusal
from headrace.journal.model import Record
from headrace.observe.metrics import CallCounters


class CountingObserver:
    """Counts calls, bytes and rows. A fraction of a microsecond a call."""

    def __init__(self, counters: CallCounters) -> None:
        self._counters = counters

    def answered(self, rule: str, stream: str) -> None:
        """See `Observer.answered`."""
        self._counters.answered(rule, stream, 204)

    def accepted(self, record: Record) -> None:
        """See `Observer.accepted`."""
        entry = record.entry
        self._counters.accepted(entry.rule, entry.stream, len(entry.body), entry.length, entry.rows)

    def refused(self, refusal: Refusal) -> None:
        """See `Observer.refused`."""
        self._counters.answered(refusal.rule, refusal.stream, refusal.status)

    def dropped(self, dropped: Dropped) -> None:
        """See `Observer.dropped`."""
        self._counters.left_out(dropped.rule, dropped.stream, dropped.members)
