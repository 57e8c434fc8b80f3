"""Who is next: records wait in lanes, one for each journal and rule, until a batch is full or old enough.

Order is kept within a lane: its batches start in the order of the journal, a second one only when it is full, and
each takes its `turn` before it publishes anything. Between lanes it goes by who has been ready longest, so a busy
rule cannot hold up a quiet one. Lanes whose rules do the same may share a run: what waits in them goes along. A
lane also remembers its batches whose rows are published but not yet durable: the oldest record that still needs
the journal follows from that.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from headrace.clock import SECOND, Clock
from headrace.journal.model import Record
from headrace.tables.model import TableKey
from headrace.transform.batch import Batch, LaneKey, Need

IN_FLIGHT = 2
"""Batches of a lane that run at once: while one is published, the next is transformed."""

NEVER_CROWDED = 1 / 16
"""So much of the queue's bound any lane may hold."""

MAX_SHARED = 64
"""Lanes that share one run at most."""

RUN_SECONDS = 0.02
"""Some times what a run costs beside its rows. With many lanes, they wait longer, so that runs stay worth it."""

LONGEST_WAIT = 2.0
"""Seconds that a batch waits to fill, with however many lanes."""

HURRIED = 3 / 4
"""When so much of the queue's bound is taken, batches start before they are full or old: what is behind them waits."""

_LONGEST_NAP = 0.1
"""Seconds; a waiting thread looks at the clock at least so often where something waits."""

_IDLE_NAP = 1.0
"""The same where nothing does: then whatever comes wakes it."""


@dataclass(frozen=True, slots=True)
class _Unsettled:
    first: int
    last: int
    wire_bytes: int
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class _Waiting:
    record: Record
    weight: int
    since: float
    share: Hashable | None


@dataclass(slots=True, eq=False)
class _Lane:
    key: LaneKey
    queue: deque[_Waiting] = field(default_factory=deque)
    weight: int = 0
    running: list[Batch] = field(default_factory=list)
    returned: list[Batch] = field(default_factory=list)
    """Failed, or overtaken by the failure of an earlier one: they go back when nothing runs any more."""
    abandoned: list[Batch] = field(default_factory=list)
    ready: float = 0.0
    """Not before this moment, after a failure."""
    ticket: int | None = None
    full: bool = False
    attempt: int = 0
    unsettled: deque[_Unsettled] = field(default_factory=deque)

    def held(self) -> Sequence[Batch]:
        """Batches that were taken and are not finished."""
        return (*self.running, *self.returned, *self.abandoned)

    def oldest(self) -> int | None:
        """The first offset that still needs the journal."""
        offsets = [batch.first for batch in self.held()]
        if self.unsettled:
            offsets.append(self.unsettled[0].first)
        if self.queue:
            offsets.append(self.queue[0].record.offset)
        return min(offsets, default=None)

    def waiting_since(self) -> int | None:
        """When the first record was received that waits or runs; None when none does."""
        times = [batch.records[0].received for batch in self.held()]
        if self.queue:
            times.append(self.queue[0].record.received)
        return min(times, default=None)

    def may_settle(self, tables: Collection[TableKey] | None) -> bool:
        """Whether its first batch that is not settled needs one of `tables`, or nothing; of None, any."""
        needs = self.unsettled[0].needs
        return tables is None or not needs or any(TableKey.of(need.table) in tables for need in needs)

    def may_start(self) -> bool:
        """Whether the next batch may run now, besides those that run."""
        if self.returned or self.abandoned or not self.queue:
            return False
        return not self.running or (self.full and len(self.running) < IN_FLIGHT)


class Lanes:
    """All lanes of a pipeline. Thread-safe.

    `batch_bytes` and `queue_bytes` count JSON bytes after inflate; the queue's bound includes what runs. Records for
    which `shares` gives the same, other than None, may be in one run. Up to `unread_seconds` between a record's receipt
    and `put` count as time that it waited.
    """

    def __init__(
        self,
        batch_bytes: int,
        batch_seconds: float,
        queue_bytes: int,
        clock: Clock,
        shares: Callable[[Record], Hashable | None] = lambda _: None,
        unread_seconds: float = 0.0,
    ) -> None:
        self._batch_bytes = batch_bytes
        self._batch_seconds = batch_seconds
        self._queue_bytes = queue_bytes
        self._clock = clock
        self._shares = shares
        self._unread_seconds = unread_seconds
        self._changed = threading.Condition()
        self._lanes: dict[LaneKey, _Lane] = {}
        self._sharing: dict[tuple[str, Hashable], dict[LaneKey, _Lane]] = {}
        """Lanes in which something waits, by journal and what they share; those that share nothing by their key."""
        self._ready: list[tuple[float, int, _Lane]] = []
        self._tickets = count()
        self._weight = 0
        self._unsettled: Counter[str] = Counter()
        """Wire bytes by journal; see `unsettled_bytes`."""
        self._running = 0
        self._draining = False
        self._paused = False
        self._closed = False
        self._settled: dict[LaneKey, int] = {}

    def put(self, record: Record) -> None:
        """Queue a record behind the others of its lane."""
        weight = _weight(record)
        key = (record.journal, record.entry.rule)
        one = _Waiting(record, weight, self._since(record), self._shares(record))
        with self._changed:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(key)
            lane.queue.append(one)
            lane.weight += weight
            hurried = self._is_hurried()
            self._weight += weight
            if len(lane.queue) == 1:
                self._note_front(lane)
            if not lane.full or lane.ticket is None:
                self._schedule(lane)
            if self._is_hurried() and not hurried:
                self._changed.notify_all()

    def room(self) -> int:
        """JSON bytes that may still be queued; none or negative when the queue is full."""
        with self._changed:
            return self._queue_bytes - self._weight

    def is_crowded(self, journal: str, rule: str, *, half: bool = False) -> bool:
        """Whether a lane holds as much as is free (with `half`: half of that), so that the others need the room."""
        with self._changed:
            lane = self._lanes.get((journal, rule))
            if lane is None or lane.weight < self._queue_bytes * NEVER_CROWDED:
                return False
            return lane.weight >= (self._queue_bytes - self._weight) / (2 if half else 1)

    def take(self) -> Sequence[Batch] | None:
        """What runs next, as soon as there is something: one batch, or some that share; None when closed."""
        with self._changed:
            while not self._closed:
                lane = self._pop()
                if lane is not None:
                    batches = self._start_run(lane)
                    if self._ready:
                        # Who is called sleeps until the next is ready.
                        self._changed.notify()
                    return batches
                self._changed.wait(self._nap())
            return None

    def turn(self, batch: Batch) -> bool:
        """Wait until the batches before this one in its lane are finished; from then on it may publish.

        False when one of them was not finished: then this one has to be given back as `overtaken`.
        """
        with self._changed:
            while not self._closed:
                lane = self._lanes.get(batch.key)
                if lane is None or any(one.first < batch.first for one in (*lane.returned, *lane.abandoned)):
                    return False
                if lane.running and lane.running[0] is batch:
                    return True
                self._changed.wait(_LONGEST_NAP)
            return False

    def finish(self, batch: Batch, needs: Sequence[Need]) -> None:
        """The batch's rows are published (and its dead letters durable); `needs` are to become durable.

        It must have had its `turn`.
        """
        wire = sum(len(record.entry.body) for record in batch.records)
        with self._changed:
            lane = self._end(batch)
            if lane is None:
                return
            self._weight -= batch.weight
            lane.attempt = 0
            lane.ready = 0.0
            lane.unsettled.append(_Unsettled(batch.first, batch.last, wire, tuple(needs)))
            self._unsettled[lane.key[0]] += wire
            self._go_on(lane)
            self._changed.notify_all()

    def retry(self, batch: Batch, delay: float) -> None:
        """Put the batch back to the front of its lane, to be tried again after `delay` seconds."""
        with self._changed:
            lane = self._end(batch)
            if lane is None:
                return
            lane.attempt += 1
            lane.ticket = None
            lane.ready = max(lane.ready, self._clock.monotonic() + delay)
            lane.returned.append(batch)
            self._go_on(lane)
            self._changed.notify_all()

    def overtaken(self, batch: Batch) -> None:
        """Put the batch back: it was not to blame, but one that it ran with, or one before it, failed."""
        with self._changed:
            lane = self._end(batch)
            if lane is not None:
                lane.ticket = None
                lane.returned.append(batch)
                self._go_on(lane)
                self._changed.notify_all()

    def abandon(self, batch: Batch) -> None:
        """Give the batch up until `reset`: its lane stands still and its records keep the journal."""
        with self._changed:
            lane = self._end(batch)
            if lane is not None:
                lane.ticket = None
                lane.abandoned.append(batch)
            self._changed.notify_all()

    def settle(self, durable: Callable[[Need], bool], tables: Collection[TableKey] | None = None) -> None:
        """Let go of the batches whose needs are all durable; for one thread.

        With `tables` only those are looked at that need one of them, or nothing.
        """
        with self._changed:
            lanes = [lane for lane in self._lanes.values() if lane.unsettled and lane.may_settle(tables)]
        for lane in lanes:
            while lane.unsettled and all(durable(need) for need in lane.unsettled[0].needs):
                with self._changed:
                    if not lane.unsettled:
                        break
                    one = lane.unsettled.popleft()
                    self._settled[lane.key] = one.last
                    if self._lanes.get(lane.key) is lane:
                        self._unsettled[lane.key[0]] -= one.wire_bytes
        with self._changed:
            for lane in lanes:
                # After a reset meanwhile, another lane may have the key.
                if lane.oldest() is None and self._lanes.get(lane.key) is lane:
                    del self._lanes[lane.key]

    def watermark(self, journal: str, following: int) -> int:
        """The first offset of `journal` that is still needed; `following` is the next one to be read."""
        with self._changed:
            oldest = [lane.oldest() for key, lane in self._lanes.items() if key[0] == journal]
        return min((offset for offset in oldest if offset is not None), default=following)

    def oldest_received(self) -> int | None:
        """When the oldest record came that waits or runs; None when none does."""
        with self._changed:
            times = [lane.waiting_since() for lane in self._lanes.values()]
        return min((time for time in times if time is not None), default=None)

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
            return self._unsettled[journal]

    def is_settled(self) -> bool:
        """Whether nothing is published that is not durable, nor queued or running."""
        with self._changed:
            return not self._lanes

    def is_idle(self) -> bool:
        """Whether nothing is queued or running."""
        with self._changed:
            return not self._running and not self._weight

    def drain(self) -> None:
        """From now on, batches do not wait to fill."""
        with self._changed:
            self._draining = True
            for lane in self._lanes.values():
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
            self._sharing.clear()
            self._ready.clear()
            self._unsettled.clear()
            self._weight = 0
            self._paused = False
            self._changed.notify_all()
            return True

    def _go_on(self, lane: _Lane) -> None:
        """What can be done after a batch of the lane ended."""
        if lane.returned and not lane.running and not lane.abandoned:
            now = self._clock.monotonic()
            if lane.queue:
                self._leave(lane, self._group(lane))
            for batch in sorted(lane.returned, key=lambda one: one.first, reverse=True):
                for record in reversed(batch.records):
                    weight = _weight(record)
                    lane.queue.appendleft(_Waiting(record, weight, now, None))
                    lane.weight += weight
            lane.returned.clear()
            self._note_front(lane)
            lane.full = lane.weight >= self._batch_bytes
            self._push(lane, max(now, lane.ready))
            return
        self._schedule(lane)

    def _schedule(self, lane: _Lane) -> None:
        now = self._clock.monotonic()
        lane.full = lane.weight >= self._batch_bytes
        if not lane.may_start():
            return
        if self._draining or lane.full:
            self._push(lane, max(now, lane.ready))
        elif lane.ticket is None:
            self._push(lane, max(lane.queue[0].since + self._patience(), lane.ready))

    def _since(self, record: Record) -> float:
        """From when on a record that is put now has waited, in monotonic seconds."""
        unread = (self._clock.now() - record.received) / SECOND
        return self._clock.monotonic() - min(max(unread, 0.0), self._unread_seconds)

    def _patience(self) -> float:
        """Seconds that a batch waits to fill: a fixed time, more where many lanes have something to run."""
        return max(self._batch_seconds, min(RUN_SECONDS * len(self._sharing), LONGEST_WAIT))

    def _note_front(self, lane: _Lane) -> None:
        """What the lane shares follows from the record that is next."""
        self._sharing.setdefault(self._group(lane), {})[lane.key] = lane

    def _group(self, lane: _Lane) -> tuple[str, Hashable]:
        share = lane.queue[0].share
        return (lane.key[0], lane.key if share is None else (share,))

    def _push(self, lane: _Lane, when: float) -> None:
        lane.ticket = next(self._tickets)
        heapq.heappush(self._ready, (when, lane.ticket, lane))
        if self._ready[0][2] is lane:
            self._changed.notify()

    def _pop(self) -> _Lane | None:
        if self._paused:
            return None
        while self._ready:
            when, ticket, lane = self._ready[0]
            if lane.ticket != ticket:
                heapq.heappop(self._ready)
                continue
            now = self._clock.monotonic()
            if when > now and not (self._is_hurried() and lane.ready <= now):
                return None
            heapq.heappop(self._ready)
            return lane
        return None

    def _is_hurried(self) -> bool:
        return self._weight >= self._queue_bytes * HURRIED

    def _nap(self) -> float:
        if not self._ready or self._paused:
            return _IDLE_NAP
        return min(max(self._ready[0][0] - self._clock.monotonic(), 0.001), _LONGEST_NAP)

    def _start_run(self, lane: _Lane) -> Sequence[Batch]:
        """The lane's next batch, and as much as fits of those that share with it.

        After a failure a batch runs alone: what is wrong with it is not to touch the others.
        """
        group = self._group(lane)
        alone = lane.queue[0].share is None or lane.attempt > 0
        batches = [self._start(lane, self._batch_bytes)]
        room = self._batch_bytes - batches[0].weight
        for other in () if alone else list(self._sharing.get(group, {}).values()):
            if room <= 0 or len(batches) >= MAX_SHARED:
                break
            if other is not lane and not other.running and other.may_start() and not other.attempt:
                batch = self._start(other, room)
                batches.append(batch)
                room -= batch.weight
        return batches

    def _start(self, lane: _Lane, room: int) -> Batch:
        group = self._group(lane)
        records: list[Record] = []
        weight = 0
        first = lane.queue[0]
        while lane.queue:
            one = lane.queue[0]
            fits = weight + one.weight <= room and one.share == first.share
            if records and not (fits and one.record.entry.rule_version == first.record.entry.rule_version):
                break
            lane.queue.popleft()
            records.append(one.record)
            weight += one.weight
        lane.weight -= weight
        lane.ticket = None
        self._leave(lane, group)
        if lane.queue:
            self._note_front(lane)
        batch = Batch(lane.key, tuple(records), weight, lane.attempt)
        lane.running.append(batch)
        self._running += 1
        self._schedule(lane)
        return batch

    def _leave(self, lane: _Lane, group: tuple[str, Hashable]) -> None:
        members = self._sharing.get(group)
        if members is not None:
            members.pop(lane.key, None)
            if not members:
                del self._sharing[group]

    def _end(self, batch: Batch) -> _Lane | None:
        self._running -= 1
        lane = self._lanes.get(batch.key)
        if lane is None or batch not in lane.running:
            return None
        lane.running.remove(batch)
        return lane


def _weight(record: Record) -> int:
    """JSON bytes after inflate, as far as the gateway could tell."""
    return max(record.entry.length, len(record.entry.body), 1)
