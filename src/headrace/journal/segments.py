"""Segment files: their names, their making ahead of need, and reading one with every frame verified."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.journal.format import (
    FRAME_BYTES,
    HEADER_BYTES,
    MARKER_BYTES,
    FrameHead,
    decode_frame_head,
    decode_header,
    verify,
)
from headrace.journal.model import JournalFormatError

SPARE_PREFIX: Final = "spare."
"""A file that is to become a segment."""
TRIMMED_PREFIX: Final = "trimmed."
"""A segment on its way out of the journal."""
USED_PREFIX: Final = "used."
"""One that is out of it for good: its file may become another segment."""

_NAME = re.compile(r"(\d{20})\.seg")
_WINDOW = 32 * 1024
_SEARCH = 1024 * 1024


def segment_name(first: int) -> str:
    """The file name of the segment that begins with offset `first`."""
    return f"{first:020d}.seg"


def list_segments(folder: Path) -> list[int]:
    """First offsets of the segments in `folder`, ascending; empty where there is no folder yet."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def preallocate(descriptor: int, size: int) -> None:
    """Give the file `size` bytes of real disk, reading as zeros. Raises `OSError` (ENOSPC) when full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = bytes(_SEARCH)
    for position in range(os.fstat(descriptor).st_size, size, len(block)):
        os.pwrite(descriptor, block[: size - position], position)


def retire(folder: Path, first: int, sync: Callable[[], None]) -> None:
    """Take a segment out of the journal, for good when this returns; its file is kept for another one if none is yet.

    `sync` makes the folder durable. Nobody may write into the file before: after a power cut it could be a segment
    again. Who still has it open sees it change, but no frames: the segment to come has another marker.
    """
    with suppress(FileNotFoundError):
        (folder / segment_name(first)).rename(folder / f"{TRIMMED_PREFIX}{first:020d}")
    try:
        sync()
    except OSError:
        # Of a name that may come back the file must not become another segment.
        _unlink_all(folder, TRIMMED_PREFIX)
        raise
    # A writer that starts removes them, too.
    for trimmed in folder.glob(f"{TRIMMED_PREFIX}*"):
        with suppress(FileNotFoundError):
            if next(folder.glob(f"{USED_PREFIX}*"), None) is None:
                trimmed.rename(folder / trimmed.name.replace(TRIMMED_PREFIX, USED_PREFIX))
            else:
                trimmed.unlink()


@dataclass(frozen=True, slots=True)
class Spare:
    """A file of `size` bytes, open for reading and writing, that is to become a segment.

    It reads as zeros, or as what it was before: under another marker.
    """

    path: Path
    descriptor: int
    size: int


class SpareMaker:
    """Keeps one spare segment ready, made on a thread of its own, so that rolling need not wait for one.

    A used one is taken where there is one: writing to what has been written before costs file systems less than writing
    to what is only allocated.
    """

    def __init__(self, folder: Path, size: int, allocate: Callable[[int, int], None]) -> None:
        self._folder = folder
        self._size = size
        self._allocate = allocate
        self._made = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="journal-spare")
        self._next: Future[Spare] = self._pool.submit(self._make)

    async def take(self, size: int) -> Spare:
        """A spare of at least `size` bytes. Raises `OSError` where the disk has no room for it."""
        if self._next.done() and self._next.exception() is not None:
            self._next = self._pool.submit(self._make)
        spare = await asyncio.wrap_future(self._next)
        if spare.size < size:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._allocate, spare.descriptor, size)
            spare = Spare(spare.path, spare.descriptor, size)
        self._next = self._pool.submit(self._make)
        return spare

    def close(self, *, remove: bool) -> None:
        """Stop, and remove the spare that nobody took and what was to be one (or leave them, as a crash would)."""
        self._pool.shutdown(wait=True)
        left = [*self._folder.glob(f"{USED_PREFIX}*")]
        # It is cancelled with the one who waited for it.
        if not self._next.cancelled() and self._next.exception() is None:
            spare = self._next.result()
            os.close(spare.descriptor)
            left.append(spare.path)
        if remove:
            for path in left:
                with suppress(OSError):
                    path.unlink()

    def _make(self) -> Spare:
        self._made += 1
        path = self._folder / f"{SPARE_PREFIX}{self._made}"
        descriptor = self._used(path)
        if descriptor is None:
            descriptor = self._fresh(path)
        return Spare(path, descriptor, self._size)

    def _used(self, path: Path) -> int | None:
        """A used segment, now at `path`; None where there is none that is large enough."""
        for used in self._folder.glob(f"{USED_PREFIX}*"):
            used.rename(path)
            descriptor = os.open(path, os.O_RDWR)
            if os.fstat(descriptor).st_size >= self._size:
                return descriptor
            os.close(descriptor)
            path.unlink()
        return None

    def _fresh(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._allocate(descriptor, self._size)
            # Not a promise (the first append's sync covers the allocation): it only takes the cost ahead.
            os.fsync(descriptor)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return descriptor


@dataclass(frozen=True, slots=True)
class Frame:
    """A verified frame; the next one begins at `end`."""

    head: FrameHead
    meta: bytes
    body: bytes
    end: int


class SegmentReader:
    """One segment file, open for reading. Never trusts a byte: what does not verify is not there."""

    def __init__(self, folder: Path, first: int) -> None:
        """Raises `FileNotFoundError`, or `JournalFormatError` for a segment of a newer version."""
        self.first = first
        self.floor = 0
        self._descriptor = os.open(folder / segment_name(first), os.O_RDONLY)
        try:
            self.size = os.fstat(self._descriptor).st_size
            self._window = b""
            self._window_at = 0
            header = decode_header(self._pread(HEADER_BYTES, 0))
            if header is not None:
                if (header.journal, header.first) != (folder.name, first):
                    raise JournalFormatError(f"{segment_name(first)} was put here from elsewhere")
                self.marker = header.marker
                self.floor = header.floor
            else:
                # The first frame tells the marker too, and proves it by its checksum.
                self.marker = self._pread(MARKER_BYTES, HEADER_BYTES)
            self.usable = header is not None or self.frame(HEADER_BYTES) is not None
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def forget(self) -> None:
        """Drop what was read ahead: the file may have grown since."""
        self._window = b""

    def frame(self, position: int) -> Frame | None:
        """The frame at `position`; None where there is none, or not the one that was written."""
        at = self._load(position, FRAME_BYTES)
        head = decode_frame_head(self.marker, self._window, at)
        if head is None or position + head.size > self.size:
            return None
        body_at = position + FRAME_BYTES + head.meta_length
        end = position + head.size
        if end <= self._window_at + len(self._window):
            start = at + FRAME_BYTES
            meta = self._window[start : start + head.meta_length]
            body = self._window[start + head.meta_length : at + head.size]
        else:
            meta = self._pread(head.meta_length, position + FRAME_BYTES)
            body = self._pread(head.body_length, body_at)
        if not verify(head, meta, body):
            return None
        return Frame(head, meta, body, end)

    def search(self, position: int, limit: int) -> Iterator[tuple[int, Frame]]:
        """Verified frames, with their places, that begin from `position` on and before `limit`."""
        limit = min(limit, self.size)
        while (position := self._find_marker(position, limit)) >= 0:
            frame = self.frame(position)
            if frame is None:
                position += 1
                continue
            yield position, frame
            position = frame.end

    def _find_marker(self, position: int, limit: int) -> int:
        while position < limit:
            chunk = self._pread(_SEARCH, position)
            found = chunk.find(self.marker)
            if found >= 0:
                return position + found if position + found < limit else -1
            if len(chunk) < _SEARCH:
                return -1
            position += _SEARCH - MARKER_BYTES + 1
        return -1

    def _load(self, position: int, size: int) -> int:
        at = position - self._window_at
        if at < 0 or at + size > len(self._window):
            self._window = self._pread(_WINDOW, position)
            self._window_at = position
            at = 0
        return at

    def _pread(self, size: int, position: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, position)
        except OSError as error:
            # A sector that cannot be read is damage like any other.
            if error.errno != errno.EIO:
                raise
            return b""


def _unlink_all(folder: Path, prefix: str) -> None:
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            path.unlink()


def remove_spares(folder: Path) -> None:
    """Remove what a writer that ended without `close` left behind, and what was not trimmed to the end."""
    for path in folder.iterdir():
        if path.name.startswith((SPARE_PREFIX, TRIMMED_PREFIX)):
            with suppress(FileNotFoundError):
                path.unlink()
