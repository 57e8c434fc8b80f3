"""The pipeline's side of the journal in files: reads what is durable, from another process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from headrace.disk import Disk, RealDisk
from headrace.journal.end import End, EndMark
from headrace.journal.format import HEADER_BYTES, decode_record
from headrace.journal.inflated import InflatedReader
from headrace.journal.model import Damage, Record
from headrace.journal.segments import Frame, SegmentReader, list_segments, retire, segment_name

SITE_TRIM_DIR: Final = "journal.trim.dir"


@dataclass(slots=True)
class _Place:
    """Where reading goes on.

    The record `next`, if it is in this segment, begins at `position`; offsets from `since` up to `next` are
    known to be unreadable. From `following` on, if known, records are in the next segment, and whatever this
    one still holds of them does not count.
    """

    segment: SegmentReader
    following: int | None
    position: int
    since: int
    next: int

    def frame(self) -> Frame | None:
        """The frame of the record that is due; None if it is not here."""
        if not self.segment.usable or self.next == self.following:
            return None
        frame = self.segment.frame(self.position)
        return frame if frame is not None and frame.head.offset == self.next else None


class FileJournalReader:
    """`JournalReader` over files. Keeps its place, so that reading on costs no search.

    One thread may read while others call the rest.
    """

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """`folder` is the journal's own, named by its GUID; it may not exist yet."""
        self._folder = folder
        self._disk = disk if disk is not None else RealDisk()
        self._mark: EndMark | None = None
        self._known_end = 0
        self._place: _Place | None = None
        self._damage: dict[int, Damage] = {}
        self._inflated = InflatedReader(folder)

    @property
    def journal_id(self) -> str:
        """See `JournalReader.journal_id`."""
        return self._folder.name

    def start(self) -> int:
        """See `JournalReader.start`."""
        firsts = list_segments(self._folder)
        return firsts[0] if firsts else self.end()

    def end(self) -> int:
        """See `JournalReader.end`."""
        return self._end().offset

    def beside(self) -> FileJournalReader:
        """See `JournalReader.beside`."""
        return FileJournalReader(self._folder, self._disk)

    def waiting_bytes(self) -> int:
        """See `JournalReader.waiting_bytes`."""
        end, place = self._end(), self._place
        firsts = [first for first in list_segments(self._folder) if first <= end.segment]
        if not firsts:
            return 0
        here, position = (place.segment.first, place.position) if place else (firsts[0], HEADER_BYTES)
        behind = 0
        for first in firsts:
            start = position if first == here else HEADER_BYTES
            if first >= here:
                stop = end.position if first == end.segment else self._size(first)
                behind += max(stop - start, 0)
        return behind

    def read(self, offset: int, max_bytes: int) -> Sequence[Record]:
        """See `JournalReader.read`. Raises `JournalFormatError` for records of a newer version."""
        end = self._end()
        if offset >= end.offset:
            return ()
        records: list[Record] = []
        total = 0
        place = self._seek(offset)
        while place is not None and place.next < end.offset and total < max_bytes:
            frame = place.frame()
            if frame is None:
                place = self._step_over(place, end)
                continue
            if frame.head.offset >= offset:
                try:
                    records.append(
                        decode_record(self.journal_id, frame.head, frame.meta, frame.body, self._inflated)
                    )
                except msgspec.DecodeError:
                    self._note(place, place.next + 1)
                total += len(frame.body)
            place.position = frame.end
            place.next += 1
            place.since = place.next
        return records

    def readable(self, offset: int) -> int:
        """See `JournalReader.readable`."""
        for damage in self.damaged():
            if damage.offset <= offset < damage.offset + damage.count:
                offset = damage.offset + damage.count
        return offset

    def damaged(self) -> Sequence[Damage]:
        """See `JournalReader.damaged`."""
        return [self._damage[offset] for offset in sorted(self._damage)]

    def trim(self, offset: int) -> None:
        """See `JournalReader.trim`. The segment with the last record always stays.

        Segments go one by one, the oldest first and each for good, so that what a crash leaves has no hole.
        """
        end = self.end()
        firsts = list_segments(self._folder)
        for first, following in pairwise(firsts):
            if following > offset or following >= end:
                return
            retire(self._folder, first, partial(self._disk.sync_dir, self._folder, SITE_TRIM_DIR))

    def close(self) -> None:
        """Close the files."""
        self._leave()
        self._inflated.close()
        if self._mark is not None:
            self._mark.close()
            self._mark = None

    def _size(self, first: int) -> int:
        try:
            return (self._folder / segment_name(first)).stat().st_size
        except FileNotFoundError:
            return 0

    def _end(self) -> End:
        if self._mark is None:
            self._mark = EndMark.attach(self._folder, self.journal_id)
        end = self._mark.read() if self._mark is not None else None
        if end is None:
            return End(self._known_end, 0, HEADER_BYTES)
        self._known_end = end.offset
        return end

    def _seek(self, offset: int) -> _Place | None:
        """The place to read `offset` from: the one at hand, or the beginning of the segment that has it."""
        place = self._place
        if place is not None and place.since <= offset <= place.next:
            place.segment.forget()
            return place
        firsts = list_segments(self._folder)
        return self._enter(firsts, max(bisect_right(firsts, offset) - 1, 0))

    def _enter(self, firsts: Sequence[int], index: int) -> _Place | None:
        """Begin to read the segment `firsts[index]`; None if there is none."""
        self._leave()
        if index >= len(firsts):
            return None
        first = firsts[index]
        following = firsts[index + 1] if index + 1 < len(firsts) else None
        self._place = _Place(SegmentReader(self._folder, first), following, HEADER_BYTES, first, first)
        return self._place

    def _leave(self) -> None:
        if self._place is not None:
            self._place.segment.close()
            self._place = None

    def _step_over(self, place: _Place, end: End) -> _Place | None:
        """Go on where the record that is due does not follow: in the next segment, or behind damage."""
        segment = place.segment
        firsts = list_segments(self._folder)
        index = bisect_right(firsts, segment.first)
        place.following = firsts[index] if index < len(firsts) else None
        if place.following is not None and place.following <= place.next:
            since = place.since
            entered = self._enter(firsts, index)
            if entered is not None:
                entered.since = min(since, entered.since)
            return entered
        upto = end.offset if place.following is None else min(place.following, end.offset)
        limit = end.position if end.segment == segment.first else segment.size
        position, offset = _next_whole(place, upto, limit)
        if offset > place.next:
            self._note(place, offset)
        place.position, place.next = position, offset
        return place

    def _note(self, place: _Place, upto: int) -> None:
        name = segment_name(place.segment.first)
        damage = Damage(self.journal_id, place.next, upto - place.next, name, place.position)
        self._damage[place.next] = damage


def _next_whole(place: _Place, upto: int, limit: int) -> tuple[int, int]:
    """Place and offset of the next readable record below `upto` and byte `limit`; else those themselves."""
    if place.segment.usable:
        for position, frame in place.segment.search(place.position, limit):
            if place.next <= frame.head.offset < upto:
                return position, frame.head.offset
    return limit, upto
