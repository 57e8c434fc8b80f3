"""What became of the rows: counters for each rule and flow, and how far behind each journal is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

StreamKey = tuple[str, str, int]
"""Rule id, stream and flow index; -1 for what concerns every flow of the rule."""


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Rows since the start: each received one ends as stored, filtered, dead or a duplicate."""

    received: int = 0
    stored: int = 0
    filtered: int = 0
    dead: int = 0
    duplicate: int = 0
    undeclared: int = 0
    """Payloads, not rows: those with properties that their stream does not declare."""


@dataclass(frozen=True, slots=True)
class RunCounts:
    """Transforms of a rule's stream since the start: how often they ran, and for how many seconds in all."""

    runs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JournalProgress:
    """Offsets of one journal: the first still needed, the next to be read, and the one after the last.

    `unsettled_bytes` are wire bytes whose rows are published and not yet durable, `waiting_bytes` those that are
    not read yet; `damaged` counts records that cannot be read.
    """

    watermark: int
    next: int
    end: int
    unsettled_bytes: int = 0
    damaged: int = 0
    waiting_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """The pipeline at one moment. `failure` says why it stopped by itself, None while it runs."""

    streams: Mapping[StreamKey, FlowCounts] = field(default_factory=dict)
    runs: Mapping[tuple[str, str], RunCounts] = field(default_factory=dict)
    """By rule and stream."""
    errors: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Rows that became dead letters, by rule, stream and reason."""
    journals: Mapping[str, JournalProgress] = field(default_factory=dict)
    oldest: int | None = None
    """When the oldest payload came that is read and not yet through its flows; UTC microseconds."""
    worked: float = 0.0
    """Seconds that batches ran since the start, over all workers."""
    retries: int = 0
    failure: str | None = None


class Counters:
    """Counts of all flows. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[StreamKey, list[int]] = {}
        self._runs: dict[tuple[str, str], RunCounts] = {}
        self._errors: Counter[tuple[str, str, str]] = Counter()
        self._counted: dict[tuple[str, str], int] = {}

    def first_time(self, app_id: str, kind: str, offsets: Sequence[int]) -> Sequence[int]:
        """Those of a batch's offsets, in their order, whose rows were not counted on this way; now they are.

        A batch is run again when a table was mended, or a journal is read again from its watermark.
        """
        with self._lock:
            before = self._counted.get((app_id, kind), -1)
            found = [offset for offset in offsets if offset > before]
            if found:
                self._counted[app_id, kind] = found[-1]
            return found

    def ran(self, rule: str, stream: str, seconds: float) -> None:
        """A transform ran once."""
        with self._lock:
            before = self._runs.get((rule, stream), RunCounts())
            self._runs[rule, stream] = RunCounts(before.runs + 1, before.seconds + seconds)

    def failed(self, rule: str, stream: str, reason: str, rows: int) -> None:
        """Rows became a dead letter."""
        with self._lock:
            self._errors[rule, stream, reason] += rows

    def transforms(self) -> tuple[dict[tuple[str, str], RunCounts], dict[tuple[str, str, str], int]]:
        """Runs and errors now; see `Progress`."""
        with self._lock:
            return dict(self._runs), dict(self._errors)

    def add(
        self,
        rule: str,
        stream: str,
        flow: int,
        *,
        received: int = 0,
        stored: int = 0,
        filtered: int = 0,
        dead: int = 0,
        duplicate: int = 0,
        undeclared: int = 0,
    ) -> None:
        """Add to the counts of a flow."""
        with self._lock:
            counts = self._streams.setdefault((rule, stream, flow), [0] * 6)
            for place, amount in enumerate((received, stored, filtered, dead, duplicate, undeclared)):
                counts[place] += amount

    def snapshot(self) -> dict[StreamKey, FlowCounts]:
        """The counts now."""
        with self._lock:
            return {key: FlowCounts(*counts) for key, counts in self._streams.items()}
