"""Opening a journal after whatever happened to it: find its end, cut the torn tail, make the rest durable.

Only the last segment can hold records that were never acknowledged: a segment gets its name after the one
before it is durable to its last record. What comes after the first torn record is cut off; nothing more is
ever written to that segment, so a later crash cannot bring the tail back as records.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.disk import Disk
from headrace.journal.end import End
from headrace.journal.format import FRAME_BYTES, HEADER_BYTES
from headrace.journal.segments import SegmentReader, list_segments, remove_spares, segment_name

SITE_RECOVER_FILE: Final = "journal.recover.file"
SITE_RECOVER_DIR: Final = "journal.recover.dir"

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where the journal goes on: the next record's offset, and the received time it cannot go below."""

    end: End
    floor: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the last segment.

    Records below `next` were durable or are whole; `position` is the byte where the last of those ends,
    `doubtful` the byte from which on it is not known whether the disk ever took them.
    """

    next: int
    position: int
    doubtful: int
    floor: int


def recover(folder: Path, disk: Disk, published: End | None) -> Recovered:
    """Repair the journal in `folder`; `published` is what its `end` file says, None if it says nothing.

    Afterwards every record below the returned end is durable. Raises `OSError` where the disk refuses and
    `JournalFormatError` for a journal of a newer version.
    """
    remove_spares(folder)
    end, floor, beyond = End(0, 0, HEADER_BYTES), 0, 0
    for first in reversed(list_segments(folder)):
        segment = SegmentReader(folder, first)
        try:
            if not segment.usable:
                beyond = max(beyond, first + segment.size // FRAME_BYTES)
                continue
            tail = find_tail(segment, published)
        finally:
            segment.close()
        _cut(folder / segment_name(first), tail, disk)
        end, floor = End(tail.next, first, tail.position), tail.floor
        break
    if published is not None:
        beyond = published.offset
    if beyond > end.offset:
        # Those records were durable and are damaged. Their offsets are not given to others, which would be taken for
        # what the tables have already; where nothing tells how many they were, so many as there may have been.
        end = End(beyond, end.segment, end.position)
    disk.sync_dir(folder, SITE_RECOVER_DIR)
    return Recovered(end, floor)


def find_tail(segment: SegmentReader, published: End | None) -> Tail:
    """Find the end of the last segment of a journal.

    A record that does not verify is torn, and ends the journal, unless what was published or a whole record
    after it proves that it was durable once: then it is damaged, and the records after it are kept.
    """
    known = published.offset if published is not None else 0
    position = doubtful = HEADER_BYTES
    expected, floor = segment.first, segment.floor
    while True:
        frame = segment.frame(position)
        if frame is None or frame.head.offset != expected:
            later = [
                (at, found.head)
                for at, found in segment.search(position, segment.size)
                if found.head.offset > expected
            ]
            durable = max([known, *(head.group for _, head in later)])
            kept = [(at, head) for at, head in later if head.offset <= durable]
            if durable <= expected or not kept:
                return Tail(max(expected, durable), position, doubtful, floor)
            position, expected = kept[0][0], kept[0][1].offset
            continue
        position, expected = frame.end, expected + 1
        floor = max(floor, frame.head.received)
        if expected <= known:
            doubtful = position


def _cut(path: Path, tail: Tail, disk: Disk) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(descriptor, tail.position)
        # A sync that failed before may have left pages that count as clean and are not on the disk:
        # writing them once more makes this sync mean what it says.
        for position in range(tail.doubtful, tail.position, _BLOCK):
            block = os.pread(descriptor, min(_BLOCK, tail.position - position), position)
            os.pwrite(descriptor, block, position)
        disk.sync_file(path, SITE_RECOVER_FILE, fd=descriptor)
    finally:
        os.close(descriptor)
