"""The gateway's observers: one counts, one tells the audit log who was not let in."""

from __future__ import annotations

from collections.abc import Callable

from headrace.ingest.model import Dropped, Observer, Refusal
from headrace.journal.model import Record
from headrace.observe.audit.events import AuditEvent, Auditor
from headrace.observe.log_errors import Repeats
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


class AuditingObserver:
    """Tells an auditor of calls that were not let in, a few times an hour of each kind; `inner` hears everything."""

    def __init__(self, inner: Observer, auditor: Auditor, now: Callable[[], int]) -> None:
        self._inner = inner
        self._auditor = auditor
        self._now = now
        self._repeats = Repeats(limit=20)
        # What most calls are told of goes straight on.
        self.answered = inner.answered
        self.accepted = inner.accepted
        self.dropped = inner.dropped

    def refused(self, refusal: Refusal) -> None:
        """See `Observer.refused`."""
        self._inner.refused(refusal)
        if refusal.status not in (401, 403):
            return
        kind = (refusal.address, refusal.principal, refusal.rule, refusal.code)
        details = self._repeats.message(kind, self._now(), refusal.message[:200])
        if details is not None:
            self._auditor.tell(
                AuditEvent(
                    "Ingestion",
                    "Microsoft.Insights/Telemetry/Write",
                    refusal.status,
                    refusal.code,
                    refusal.principal,
                    refusal.client,
                    "",
                    refusal.address,
                    refusal.request_id,
                    refusal.rule,
                    details,
                )
            )
