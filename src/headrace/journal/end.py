"""The file `end`: how far the journal is durable, for readers in other processes.

64 bytes in memory shared between the processes: magic, journal id, then four aligned 8-byte words. The writer
stores them *after* the sync that made the records durable and never syncs the file itself: whatever version
of it survives a crash was true when it was written, so it is never beyond what is durable.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

END_NAME: Final = "end"

_MAGIC = b"HRJEND\x00\x01"
_SIZE = 64
_OFFSET, _CHECK, _SEGMENT, _POSITION = 4, 5, 6, 7
_MASK = 0x5AC3_96A5_0FF0_3C69
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class End:
    """The offset after the last durable record; its segment (by first offset) and the byte where it ends."""

    offset: int
    segment: int
    position: int


class EndMark:
    """The shared words, open for reading or for writing."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared
        self._words = memoryview(shared).cast("Q")

    @classmethod
    def create(cls, folder: Path, journal_id: str) -> tuple[EndMark, End | None]:
        """Open for writing, in place (a reader may hold the file open); also what it said until now."""
        descriptor = os.open(folder / END_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            head = _MAGIC + UUID(journal_id).bytes
            known = os.pread(descriptor, _SIZE, 0)
            whole = len(known) == _SIZE and known.startswith(head)
            if not whole:
                os.pwrite(descriptor, bytes(_SIZE), 0)
            mark = cls(mmap.mmap(descriptor, _SIZE))
        finally:
            os.close(descriptor)
        previous = mark.read() if whole else None
        mark._shared[: len(head)] = head
        return mark, previous

    @classmethod
    def attach(cls, folder: Path, journal_id: str) -> EndMark | None:
        """Open for reading; None where no writer has published an end yet."""
        try:
            descriptor = os.open(folder / END_NAME, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                return None
            shared = mmap.mmap(descriptor, _SIZE, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        if shared[:24] != _MAGIC + UUID(journal_id).bytes:
            shared.close()
            return None
        return cls(shared)

    def read(self) -> End | None:
        """The published end; None while the words do not fit each other (nothing published, or damaged)."""
        words = self._words
        for _ in range(_TRIES):
            offset, check = words[_OFFSET], words[_CHECK]
            if check == offset ^ _MASK:
                return End(offset, words[_SEGMENT], words[_POSITION])
        return None

    def publish(self, end: End) -> None:
        """Show `end` to the readers; the offset last, since it is what they go by."""
        words = self._words
        words[_SEGMENT] = end.segment
        words[_POSITION] = end.position
        words[_CHECK] = end.offset ^ _MASK
        words[_OFFSET] = end.offset

    def close(self) -> None:
        """Let go of the shared memory."""
        self._words.release()
        self._shared.close()
