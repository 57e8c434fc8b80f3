"""One journal into the lanes: each rule's records in their order, and none held up by a rule that lags.

A rule whose lane is crowded is *late*: reading goes on past its records, so that those of the others behind them come
through, and a second reader follows for the late rules alone, from the first record that was passed over. When it
has come as far as the first one, nothing is late any more.
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
"""The same for late rules."""


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
    _late: dict[str, int] = field(default_factory=dict)
    """By rule: the first of its records that was passed over."""
    _behind: int = 0
    _waits_for: str = ""
    """The late rule whose record is next, and whose lane must first have run down."""
    _follower: JournalReader | None = None
    _following: threading.Lock = field(default_factory=threading.Lock)
    """Held by who closes `_follower`, and by who asks it from another thread."""

    def place(self) -> int:
        """The first offset that is not in the lanes, and was not."""
        # In this order: a rule becomes late before `next` passes its record.
        following = self.next
        return min(following, self._behind) if self._late else following

    def waiting_bytes(self) -> int:
        """About how many bytes of durable records are not in the lanes."""
        with self._following:
            return (self._follower or self.reader).waiting_bytes()

    def read(self, note: Callable[[str, Sequence[Record]], bool]) -> bool:
        """Queue what comes next, as far as there is room; whether there was any.

        `note` is told all records, each once and in their order, before any is queued; nothing is queued when it
        gives false.
        """
        self.end = self.reader.end()
        moved = self._follow() if self._late else False
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
        self._catch_up_done()

    def close(self) -> None:
        """Let go of the reader for late rules."""
        self._catch_up_done()

    def _queue(self, record: Record) -> None:
        rule = record.entry.rule
        if rule in self._late or self.checkpoint.covers(rule, record.offset):
            return
        if not self.lanes.is_crowded(self.key, rule):
            self.lanes.put(record)
            return
        if not self._late:
            self._behind = record.offset
            self._waits_for = rule
        self._late[rule] = record.offset

    def _follow(self) -> bool:
        """Queue passed over records, as far as their lanes take them; whether there were any."""
        if self.lanes.is_crowded(self.key, self._waits_for, half=True):
            return False
        if self._follower is None:
            self._follower = self.reader.beside()
        before = self._behind
        records = self._follower.read(before, FOLLOW_BYTES)
        for record in records:
            if record.offset >= self.next:
                # Here the first reader goes on, with all rules.
                self._behind = self.next
                break
            first = self._late.get(record.entry.rule)
            if first is not None and record.offset >= first:
                if self.lanes.is_crowded(self.key, record.entry.rule):
                    self._waits_for = record.entry.rule
                    break
                if not self.checkpoint.covers(record.entry.rule, record.offset):
                    self.lanes.put(record)
            self._behind = record.offset + 1
        if not records:
            self._behind = self._follower.readable(before)
        if self._behind >= self.next:
            self._catch_up_done()
            return True
        return self._behind > before

    def _catch_up_done(self) -> None:
        self._late.clear()
        with self._following:
            if self._follower is not None:
                self._follower.close()
                self._follower = None
