"""Who is next: records wait in lanes, one for each journal and rule, until a batch is full or old enough.

Order is kept within a lane (one batch of a lane runs at a time); between lanes it goes by who has been ready
longest, so a busy rule cannot hold up a quiet one. A lane also remembers its batches whose rows are published
but not yet durable: the oldest record that still needs the journal follows from that.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from headrace.catalog.model import Table
from headrace.clock import Clock
from headrace.journal.model import Record

LaneKey = tuple[str, str]
"""Journal id and rule id."""

_LONGEST_NAP = 0.1
"""Seconds; a waiting thread looks at the clock at least so often."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The next records of a lane, all accepted under one version of the rule.

    `weight` is JSON bytes after inflate; `attempt` counts the tries that failed before.
    """

    key: LaneKey
    records: tuple[Record, ...]
    weight: int
    attempt: int = 0

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last(self) -> int:
        """Offset of the last record: no record of this lane lies between the two that is not here."""
        return self.records[-1].offset


@dataclass(frozen=True, slots=True)
class Need:
    """What must be durable before the journal may let a batch go."""

    table: Table
    app_id: str
    offset: int


@dataclass(frozen=True, slots=True)
class _Unsettled:
    first: int
    last: int
    wire_bytes: int
    needs: tuple[Need, ...]


@dataclass(slots=True)
class _Lane:
    key: LaneKey
    queue: deque[tuple[Record, int, float]] = field(default_factory=deque)
    weight: int = 0
    running: Batch | None = None
    ticket: int | None = None
    full: bool = False
    attempt: int = 0
    unsettled: deque[_Unsettled] = field(default_factory=deque)

    def oldest(self) -> int | None:
        """The first offset that still needs the journal."""
        if self.unsettled:
            return self.unsettled[0].first
        if self.running is not None:
            return self.running.first
        return self.queue[0][0].offset if self.queue else None

    def waits(self) -> bool:
        """Whether a record waits or runs."""
        return self.running is not None or bool(self.queue)

    def waiting_since(self) -> int:
        """When the first of them was received."""
        first = self.running.records[0] if self.running is not None else self.queue[0][0]
        return first.received


class Lanes:
    """All lanes of a pipeline. Thread-safe.

    `batch_bytes` and `queue_bytes` count JSON bytes after inflate; the queue's bound includes what runs.
    """

    def __init__(self, batch_bytes: int, batch_seconds: float, queue_bytes: int, clock: Clock) -> None:
        self._batch_bytes = batch_bytes
        self._batch_seconds = batch_seconds
        self._queue_bytes = queue_bytes
        self._clock = clock
        self._changed = threading.Condition()
        self._lanes: dict[LaneKey, _Lane] = {}
        self._ready: list[tuple[float, int, _Lane]] = []
        self._tickets = count()
        self._weight = 0
        self._running = 0
        self._draining = False
        self._paused = False
        self._closed = False
        self._settled: dict[LaneKey, int] = {}

    def put(self, record: Record) -> None:
        """Queue a record behind the others of its lane."""
        weight = max(record.entry.length, len(record.entry.body), 1)
        key = (record.journal, record.entry.rule)
        now = self._clock.monotonic()
        with self._changed:
            lane = self._lanes.setdefault(key, _Lane(key))
            lane.queue.append((record, weight, now))
            lane.weight += weight
            self._weight += weight
            if lane.running is None and (lane.ticket is None or not lane.full):
                self._schedule(lane)

    def room(self) -> int:
        """JSON bytes that may still be queued; none or negative when the queue is full."""
        with self._changed:
            return self._queue_bytes - self._weight

    def take(self) -> Batch | None:
        """The next batch, as soon as there is one; None when the lanes are closed."""
        with self._changed:
            while not self._closed:
                lane = self._pop()
                if lane is not None:
                    return self._start(lane)
                self._changed.wait(self._nap())
            return None

    def finish(self, batch: Batch, needs: Sequence[Need]) -> None:
        """The batch's rows are published (and its dead letters durable); `needs` are to become durable."""
        wire = sum(len(record.entry.body) for record in batch.records)
        with self._changed:
            lane = self._end(batch)
            if lane is None:
                return
            lane.attempt = 0
            lane.unsettled.append(_Unsettled(batch.first, batch.last, wire, tuple(needs)))
            if lane.queue:
                self._schedule(lane)
            self._changed.notify_all()

    def retry(self, batch: Batch, delay: float) -> None:
        """Put the batch back to the front of its lane, to be tried again after `delay` seconds."""
        with self._changed:
            lane = self._end(batch)
            if lane is None:
                return
            lane.attempt += 1
            now = self._clock.monotonic()
            for record in reversed(batch.records):
                weight = max(record.entry.length, len(record.entry.body), 1)
                lane.queue.appendleft((record, weight, now))
                lane.weight += weight
                self._weight += weight
            self._push(lane, now + delay)
            self._changed.notify_all()

    def abandon(self, batch: Batch) -> None:
        """Give the batch up until `reset`: its lane stands still and its records keep the journal."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def settle(self, durable: Callable[[Need], bool]) -> None:
        """Let go of the batches whose needs are all durable; for one thread."""
        with self._changed:
            lanes = [lane for lane in self._lanes.values() if lane.unsettled]
        for lane in lanes:
            while lane.unsettled and all(durable(need) for need in lane.unsettled[0].needs):
                with self._changed:
                    if not lane.unsettled:
                        break
                    self._settled[lane.key] = lane.unsettled.popleft().last
        with self._changed:
            for key, lane in list(self._lanes.items()):
                if lane.oldest() is None:
                    del self._lanes[key]

    def watermark(self, journal: str, following: int) -> int:
        """The first offset of `journal` that is still needed; `following` is the next one to be read."""
        with self._changed:
            oldest = [lane.oldest() for key, lane in self._lanes.items() if key[0] == journal]
        return min((offset for offset in oldest if offset is not None), default=following)

    def oldest_received(self) -> int | None:
        """When the oldest record came that waits or runs; None when none does."""
        with self._changed:
            return min((lane.waiting_since() for lane in self._lanes.values() if lane.waits()), default=None)

    def settled_above(self, journal: str, watermark: int) -> Mapping[str, int]:
        """By rule: the last offset that needs the journal no more, where it is not below the watermark."""
        with self._changed:
            stale = [key for key, last in self._settled.items() if key[0] == journal and last < watermark]
            for key in stale:
                del self._settled[key]
            return {key[1]: last for key, last in self._settled.items() if key[0] == journal}

    def needed(self) -> list[Need]:
        """What is published and not yet known to be durable."""
        with self._changed:
            return [need for lane in self._lanes.values() for one in lane.unsettled for need in one.needs]

    def unsettled_bytes(self, journal: str) -> int:
        """Wire bytes of records whose rows are published and not yet durable."""
        with self._changed:
            return sum(
                one.wire_bytes
                for key, lane in self._lanes.items()
                if key[0] == journal
                for one in lane.unsettled
            )

    def is_idle(self) -> bool:
        """Whether nothing is queued or running."""
        with self._changed:
            return not self._running and not self._weight

    def drain(self) -> None:
        """From now on, batches do not wait to fill."""
        with self._changed:
            self._draining = True
            for lane in self._lanes.values():
                if lane.queue and lane.running is None:
                    self._schedule(lane)
            self._changed.notify_all()

    def close(self) -> None:
        """Send the waiting threads home; what is queued stays in the journal."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def reset(self) -> bool:
        """Forget everything, to begin again from the watermark; False while a batch still runs."""
        with self._changed:
            self._paused = True
            if self._running:
                return False
            self._lanes.clear()
            self._ready.clear()
            self._weight = 0
            self._paused = False
            self._changed.notify_all()
            return True

    def _schedule(self, lane: _Lane) -> None:
        now = self._clock.monotonic()
        lane.full = lane.weight >= self._batch_bytes
        if self._draining or lane.full:
            self._push(lane, now)
        elif lane.ticket is None:
            self._push(lane, lane.queue[0][2] + self._batch_seconds)

    def _push(self, lane: _Lane, when: float) -> None:
        lane.ticket = next(self._tickets)
        heapq.heappush(self._ready, (when, lane.ticket, lane))
        self._changed.notify()

    def _pop(self) -> _Lane | None:
        if self._paused:
            return None
        while self._ready:
            when, ticket, lane = self._ready[0]
            if lane.ticket != ticket:
                heapq.heappop(self._ready)
                continue
            if when > self._clock.monotonic():
                return None
            heapq.heappop(self._ready)
            return lane
        return None

    def _nap(self) -> float:
        if not self._ready or self._paused:
            return _LONGEST_NAP
        return min(max(self._ready[0][0] - self._clock.monotonic(), 0.001), _LONGEST_NAP)

    def _start(self, lane: _Lane) -> Batch:
        records: list[Record] = []
        weight = 0
        version = lane.queue[0][0].entry.rule_version
        while lane.queue:
            record, size, _ = lane.queue[0]
            if records and (weight + size > self._batch_bytes or record.entry.rule_version != version):
                break
            lane.queue.popleft()
            records.append(record)
            weight += size
        lane.weight -= weight
        lane.ticket = None
        lane.full = False
        lane.running = Batch(lane.key, tuple(records), weight, lane.attempt)
        self._running += 1
        return lane.running

    def _end(self, batch: Batch) -> _Lane | None:
        self._running -= 1
        self._weight -= batch.weight
        lane = self._lanes.get(batch.key)
        if lane is None or lane.running is None:
            return None
        lane.running = None
        return lane
