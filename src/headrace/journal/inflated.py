"""The last bodies as they are without compression, in memory that the writer shares with readers in other processes.

Who accepts a body has inflated it, and who reads the record soon after would do so again, at a fifth of all that it
does. So the writer leaves the bytes in a ring, and a reader that finds them there takes a copy, which is checked
against the checksum at the end of the gzip body. Nothing rests on it: what has been overwritten, is small, or cannot
be shared on this system is inflated by the reader.

The memory belongs to no file: it goes with the processes that have it open. The file `inflated` in the journal's folder
says where it is, by the writer's process and descriptor, which Linux lets others of the same user open.

    header      magic, nonce, bytes of the ring, and how far writing has come: in bytes since the beginning
    slots       by offset modulo their number: the record's offset plus one, and where it begins, in the same count
    ring        each body in one piece
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from isal import isal_zlib

INFLATED_NAME: Final = "inflated"
SMALLEST_BYTES: Final = 8 * 1024
"""Smaller bodies are inflated as fast as they are found here."""

_MAGIC = b"HRINFL\x00\x01"
_NONCE_BYTES = 16
_SIZE, _WRITTEN = 3, 4
"""Words of the header, of 8 bytes."""
_HEADER_BYTES = 4096
_SLOT_WORDS = 2
_LOOK_SECONDS = 1.0
_TRAILER_BYTES = 8

_log = logging.getLogger(__name__)


class _Ring:
    """The shared memory as words, slots and bytes."""

    def __init__(self, shared: mmap.mmap) -> None:
        view = memoryview(shared)
        self.header = view[:_HEADER_BYTES].cast("Q")
        self.size = self.header[_SIZE]
        self.slots = self.size // SMALLEST_BYTES
        end = _HEADER_BYTES + _slot_bytes(self.size)
        self.words = view[_HEADER_BYTES:end].cast("Q")
        self.bytes = view[end:]

    def slot(self, offset: int) -> int:
        """The first word of a record's slot."""
        return offset % self.slots * _SLOT_WORDS


class InflatedWriter:
    """The writer's side, for one thread."""

    def __init__(self, ring: _Ring, path: Path, descriptor: int) -> None:
        self._ring = ring
        self._path = path
        self._descriptor = descriptor
        self._next = 0

    @classmethod
    def create(cls, folder: Path, size: int) -> InflatedWriter | None:
        """A ring of about `size` bytes for the journal in `folder`; None where there is to be none, or can be none."""
        size = size // _HEADER_BYTES * _HEADER_BYTES
        if size < SMALLEST_BYTES or not hasattr(os, "memfd_create"):
            return None
        path = folder / INFLATED_NAME
        try:
            descriptor = os.memfd_create("headrace-inflated", os.MFD_CLOEXEC)
            try:
                shared = _shared_memory(descriptor, size)
                nonce = shared[len(_MAGIC) : len(_MAGIC) + _NONCE_BYTES].hex()
                path.write_text(f"/proc/{os.getpid()}/fd/{descriptor}\n{nonce}\n", encoding="ascii")
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            # A full disk, for one: the journal does without.
            _log.warning("inflated bodies are not shared with the engine: %s", error)
            return None
        return cls(_Ring(shared), path, descriptor)

    def close(self) -> None:
        """Let go of the memory, by which readers find it; what they have open stays theirs."""
        os.close(self._descriptor)
        with suppress(OSError):
            self._path.unlink()

    def keep(self, content: bytes) -> int | None:
        """Leave a body in the ring; where it begins, for `name`. None for one that is too small or too large."""
        size = len(content)
        if not SMALLEST_BYTES <= size <= self._ring.size // 4:
            return None
        ring = self._ring
        begin = self._next
        at = begin % ring.size
        if at + size > ring.size:
            begin += ring.size - at
            at = 0
        self._next = begin + size
        # First of all: who copies what is overwritten now sees so afterwards.
        ring.header[_WRITTEN] = self._next
        ring.bytes[at : at + size] = content
        return begin

    def name(self, offset: int, begin: int) -> None:
        """The record `offset` has the body that `keep` left at `begin`."""
        ring = self._ring
        slot = ring.slot(offset)
        ring.words[slot] = 0
        ring.words[slot + 1] = begin
        ring.words[slot] = offset + 1


class InflatedReader:
    """A reader's side. Safe to use from several threads."""

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`folder` is the journal's own."""
        self._path = folder / INFLATED_NAME
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._place = ""
        self._ring: _Ring | None = None
        self._looked = -_LOOK_SECONDS

    def find(self, offset: int, length: int, body: bytes) -> bytes | None:
        """The `length` bytes that the gzip `body` of the record `offset` inflates to; None where they are not here."""
        if length < SMALLEST_BYTES:
            return None
        content = self._copy(offset, length)
        if content is None and self._look():
            content = self._copy(offset, length)
        if content is None or len(body) < _TRAILER_BYTES:
            return None
        checksum = int.from_bytes(body[-_TRAILER_BYTES : -_TRAILER_BYTES // 2], "little")
        return content if isal_zlib.crc32(content) == checksum else None

    def close(self) -> None:
        """Let go of the memory, as soon as nobody copies from it any more."""
        self._ring = None

    def _copy(self, offset: int, length: int) -> bytes | None:
        ring = self._ring
        if ring is None or length > ring.size:
            return None
        slot = ring.slot(offset)
        if ring.words[slot] != offset + 1:
            return None
        begin = ring.words[slot + 1]
        at = begin % ring.size
        content = bytes(ring.bytes[at : at + length])
        whole = ring.words[slot] == offset + 1 and ring.header[_WRITTEN] <= begin + ring.size
        return content if whole else None

    def _look(self) -> bool:
        """Whether there is another ring than the known one: of a writer that has started since. Looks now and then."""
        with self._lock:
            now = self._monotonic()
            if now - self._looked < _LOOK_SECONDS:
                return False
            self._looked = now
            try:
                place = self._path.read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError):
                return False
            if place == self._place:
                return False
            self._place = place
            self._ring = _attached(place)
            return self._ring is not None


def _shared_memory(descriptor: int, size: int) -> mmap.mmap:
    """Memory for a ring of `size` bytes, its header written. Raises `OSError`."""
    os.ftruncate(descriptor, _HEADER_BYTES + _slot_bytes(size) + size)
    shared = mmap.mmap(descriptor, 0)
    shared[: len(_MAGIC) + _NONCE_BYTES] = _MAGIC + os.urandom(_NONCE_BYTES)
    memoryview(shared)[:_HEADER_BYTES].cast("Q")[_SIZE] = size
    return shared


def _slot_bytes(size: int) -> int:
    """Room for as many slots as there can be bodies in the ring, in whole pages."""
    wanted = size // SMALLEST_BYTES * _SLOT_WORDS * 8
    return -(-wanted // _HEADER_BYTES) * _HEADER_BYTES


def _attached(place: str) -> _Ring | None:
    """The ring that the file `inflated` tells of; None where it is not whole, gone, or not for this process."""
    path, _, nonce = place.strip().partition("\n")
    try:
        # In another namespace of processes it may be anything.
        if not Path(path).is_file():
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        _log.info("the writer's inflated bodies cannot be shared: %s", error)
        return None
    try:
        head = _MAGIC + bytes.fromhex(nonce)
        shared = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        _log.info("the writer's inflated bodies cannot be shared: %s", error)
        return None
    finally:
        os.close(descriptor)
    if len(shared) < _HEADER_BYTES or shared[: len(head)] != head:
        return None
    return _Ring(shared)
