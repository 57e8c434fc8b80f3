"""Files of frames that grow at their end: a payload each, with its length and checksum before it.

A crash may tear the last frame; a disk may change any byte. What is not as it was written is stepped over, so that it
costs no other frame: by its length, where another frame follows there, else as far as the next place where one is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

_HEAD: Final = struct.Struct("<II")
_SEARCH: Final = 1024 * 1024
_MOST_SEARCHED: Final = 1024 * 1024 * 1024
"""Bytes of which checksums are made, at most, in search of one file's frames behind damage."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame from `start` to `end`; `rest` are the bytes of its head that no checksum covers."""

    payload: bytes
    rest: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Form:
    """How the frames of a kind of file look.

    Every payload begins with the bytes `begins`, by which frames are found behind damage, and is at most `most` bytes
    long. The head has `rest` bytes behind length and checksum.
    """

    begins: bytes
    most: int
    rest: int = 0

    @property
    def head_bytes(self) -> int:
        """How long a head is."""
        return _HEAD.size + self.rest

    def pack(self, payload: bytes) -> bytes:
        """The frame of a payload, with zeros as the rest of its head."""
        return _HEAD.pack(len(payload), zlib.crc32(payload)) + bytes(self.rest) + payload

    def read(self, file: BinaryIO, start: int = 0) -> Iterator[Frame]:
        """The whole frames from `start` on. Where one does not begin at the end of the one before, there is damage.

        Raises `OSError`.
        """
        size = file.seek(0, 2)
        position = start
        while position + self.head_bytes < size:
            frame = self._at(file, position, size) or self._next(file, position, size)
            if frame is None:
                return
            yield frame
            position = frame.end

    def _next(self, file: BinaryIO, position: int, size: int) -> Frame | None:
        """The first whole frame behind one at `position` that is not whole."""
        searched = 0
        for place in self._places(file, position, size):
            end = self._end(file, place)
            if end > size:
                continue
            searched += end - place
            if searched > _MOST_SEARCHED:
                return None
            frame = self._at(file, place, size)
            if frame is not None:
                return frame
        return None

    def _places(self, file: BinaryIO, position: int, size: int) -> Iterator[int]:
        """Where a frame may begin: behind the one at `position` by its own word, then wherever a payload may."""
        yield self._end(file, position)
        at = position + 1
        while at + self.head_bytes < size:
            file.seek(at + self.head_bytes)
            chunk = file.read(_SEARCH)
            found = chunk.find(self.begins)
            while found >= 0:
                yield at + found
                found = chunk.find(self.begins, found + 1)
            at += max(len(chunk) - len(self.begins) + 1, 1)

    def _end(self, file: BinaryIO, position: int) -> int:
        """Where a frame at `position` would end by what its head says."""
        file.seek(position)
        head = file.read(_HEAD.size)
        return position + self.head_bytes + (_HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0)

    def _at(self, file: BinaryIO, position: int, size: int) -> Frame | None:
        file.seek(position)
        head = file.read(self.head_bytes)
        if len(head) < self.head_bytes:
            return None
        length, checksum = _HEAD.unpack_from(head)
        end = position + self.head_bytes + length
        if not length or length > self.most or end > size:
            return None
        payload = file.read(length)
        if not payload.startswith(self.begins) or zlib.crc32(payload) != checksum:
            return None
        return Frame(payload, head[_HEAD.size :], position, end)
