"""One journal into the lanes: each rule's records in their order, and none held up by a rule that lags.

A rule whose lane is crowded is *late*: reading goes on past its records, so that those of the others behind them come
through, and another reader follows for the late rule, from the first record that was passed over. When it has come as
far as the first reader, the rule is not late any more. Each late rule has a follower of its own, so that one whose
table takes nothing holds up no other that was late for a moment; beyond `MOST_FOLLOWERS` they share.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.journal.model import JournalReader, Record
from headrace.transform.checkpoint import Checkpoint
from headrace.transform.lanes import Lanes

_LOG = logging.getLogger(__name__)

READ_BYTES = 8 * 1024 * 1024
"""Wire bytes that are read from a journal at a time."""

FOLLOW_BYTES = 1024 * 1024
"""The same for a late rule."""

MOST_FOLLOWERS = 8
"""Readers for late rules. Not many lanes can be crowded at once: each holds as much as was free."""


@dataclass(slots=True, eq=False)
class _Follower:
    """A reader for late rules. `late` has the first record of each that was passed over."""

    place: int
    late: dict[str, int]
    waits_for: str
    """The late rule whose record is next, and whose lane must first have run down."""
    reader: JournalReader | None = None


@dataclass(slots=True)
class JournalFeed:
    """How far one journal is read. One thread reads; `place` and what it needs may be asked by any."""

    key: str
    reader: JournalReader
    lanes: Lanes
    checkpoint: Checkpoint
    next: int
    end: int
    trim_to: int = 0
    trimmed: int = 0
    damaged: int = 0
    saved: Checkpoint = field(default_factory=Checkpoint)
    refused: dict[str, float] = field(default_factory=dict)
    """What the disk refused last, and when to try it again, in monotonic seconds."""
    _late: set[str] = field(default_factory=set)
    _followers: tuple[_Follower, ...] = ()
    _following: threading.Lock = field(default_factory=threading.Lock)
    """Held by who closes a follower's reader, and by who asks it from another thread."""

    def place(self) -> int:
        """The first offset that is not in the lanes, and was not."""
        # In this order: a rule becomes late before `next` passes its record.
        following = self.next
        return min((one.place for one in self._followers), default=following)

    def waiting_bytes(self) -> int:
        """About how many bytes of durable records are not in the lanes."""
        with self._following:
            behind = [one for one in self._followers if one.reader is not None]
            reader = min(behind, key=lambda one: one.place).reader if behind else None
            return (reader or self.reader).waiting_bytes()

    def read(self, note: Callable[[str, Sequence[Record]], bool]) -> bool:
        """Queue what comes next, as far as there is room; whether there was any.

        `note` is told all records, each once and in their order, before any is queued; nothing is queued when it
        gives false.
        """
        self.end = self.reader.end()
        moved = False
        for follower in self._followers:
            moved = self._follow(follower) or moved
        room = self.lanes.room()
        if self.next >= self.end or room <= 0:
            return moved
        records = self.reader.read(self.next, min(READ_BYTES, room))
        if not note(self.key, records):
            return moved
        for record in records:
            self._queue(record)
        before = self.next
        self.next = records[-1].offset + 1 if records else self.reader.readable(before)
        if self.next - before > len(records):
            self.damaged = sum(damage.count for damage in self.reader.damaged())
            _LOG.error("journal %s: %d records cannot be read any more", self.key, self.damaged)
        return moved or self.next > before

    def rewind(self, place: int) -> None:
        """Go back to `place`, and read all from there on."""
        # In this order: whoever asks meanwhile must not be told a place ahead.
        self.next = place
        self.close()

    def close(self) -> None:
        """Let go of the readers for late rules."""
        for follower in self._followers:
            self._end(follower)

    def _queue(self, record: Record) -> None:
        rule = record.entry.rule
        if rule in self._late or self.checkpoint.covers(rule, record.offset):
            return
        if not self.lanes.is_crowded(self.key, rule):
            self.lanes.put(record.holding())
            return
        if len(self._followers) < MOST_FOLLOWERS:
            self._followers += (_Follower(record.offset, {rule: record.offset}, rule),)
        else:
            max(self._followers, key=lambda one: one.place).late[rule] = record.offset
        self._late.add(rule)

    def _follow(self, follower: _Follower) -> bool:
        """Queue passed over records, as far as their lanes take them; whether there were any."""
        if self.lanes.is_crowded(self.key, follower.waits_for, half=True):
            return False
        if follower.reader is None:
            follower.reader = self.reader.beside()
        before = follower.place
        records = follower.reader.read(before, FOLLOW_BYTES)
        for record in records:
            if record.offset >= self.next:
                # Here the first reader goes on, with all rules.
                follower.place = self.next
                break
            first = follower.late.get(record.entry.rule)
            if first is not None and record.offset >= first:
                if self.lanes.is_crowded(self.key, record.entry.rule):
                    follower.waits_for = record.entry.rule
                    break
                if not self.checkpoint.covers(record.entry.rule, record.offset):
                    self.lanes.put(record)
            follower.place = record.offset + 1
        if not records:
            follower.place = follower.reader.readable(before)
        if follower.place >= self.next:
            self._end(follower)
            return True
        return follower.place > before

    def _end(self, follower: _Follower) -> None:
        """Its rules are late no more."""
        self._late.difference_update(follower.late)
        with self._following:
            self._followers = tuple(one for one in self._followers if one is not follower)
            if follower.reader is not None:
                follower.reader.close()
