"""Receipts: what became of each call's rows, kept for about a day and found by the call's `x-ms-request-id`.

The pipeline appends one frame for each batch and way (a data flow into a workspace) *before* it publishes the
rows, and puts the moment into the frame once they are visible; a reader asks the table's position whether that
happened, so a receipt cannot say more than is true. Files are of bounded size and number; a full one gets
a sorted index of request ids. A later frame about the same place replaces an earlier one, as after a replay.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from headrace.clock import DAY, SECOND, Clock, SteadyClock
from headrace.disk import Disk, reason, write_replacement
from headrace.frames import Form

_LOG = logging.getLogger(__name__)

SITE = "receipts.append"
SITE_FOLDER = "receipts.folder"
SEGMENT_BYTES = 4 * 1024 * 1024
MAX_BYTES = 256 * 1024 * 1024
"""All receipts together; the oldest go first. About three million calls."""

_MOMENT = struct.Struct("<q")
"""In each frame's head, outside the checksum: when its rows became visible (µs, 0: not yet)."""

_FORM = Form(begins=b"\x9b", most=64 * 1024 * 1024, rest=_MOMENT.size)
"""A frame is an array of 11, in MessagePack."""

_MOMENT_AT = _FORM.head_bytes - _MOMENT.size
_SUFFIX, _INDEX = ".receipts", ".index"
_KEYS = np.dtype([("key", "<u8"), ("place", "<u4")])
_CHECK = struct.Struct("<8sI")
_INDEX_MAGIC = b"HRINDX1\0"
"""With the checksum of the keys at an index's end."""


class CallRows(msgspec.Struct, frozen=True, array_like=True):
    """What a way made of one call. Rows that are neither stored nor among `dead` were filtered."""

    request_id: bytes
    """The 16 bytes of `x-ms-request-id`."""
    offset: int
    received: int
    """UTC microseconds."""
    rows: int
    stored: int
    dead: dict[str, int]
    """By reason."""
    duplicate_of: bytes = b""
    """The 16 bytes of the request id of the call that this one repeats, if it does: that one has the rows."""
    undeclared: tuple[str, ...] = ()
    """Properties of its first row that the stream does not declare, of bounded number and length."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One batch through one way. `flow` -1: no flow took the calls, and `workspace` and `table` are empty.

    `ways` counts the ways that these calls go in all. `app_id` is the tables' application id; empty where
    nothing was to be published.
    """

    journal: str
    rule: str
    rule_version: int
    stream: str
    flow: int
    ways: int
    workspace: str
    table: str
    incarnation: str
    app_id: str
    calls: list[CallRows]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies."""

    number: int
    position: int


@dataclass(frozen=True, slots=True)
class Found:
    """A frame with the one call that was asked for. `visible`: UTC microseconds, 0 where it is not noted."""

    frame: Frame
    call: CallRows
    visible: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Frame)


def id_bytes(request_id: str) -> bytes | None:
    """The 16 bytes of a request id; None when it is no GUID."""
    try:
        key = bytes.fromhex(request_id.replace("-", ""))
    except ValueError:
        return None
    return key if len(key) == 16 else None


class Receipts:
    """The receipts of one data folder, for their one writing process. Thread-safe.

    A disk that refuses them is logged and costs receipts, never data.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        clock: Clock,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Open or begin the receipts in `folder`. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._file = -1
        self._end = 0
        self._refused = False
        self._unsynced: set[int] = set()
        """Files with frames that a power cut may cost."""
        numbers = self._numbers()
        for number in numbers:
            if not self._is_indexed(number):
                self._seal(number)
        self._number = max(numbers, default=0) + 1
        self._named = self._number - 1
        """The newest file whose name is durable."""
        self._prune()

    def append(self, frame: Frame) -> Place | None:
        """Keep a frame; None when the disk refused it."""
        data = _FORM.pack(_ENCODER.encode(frame))
        with self._lock:
            try:
                if self._file >= 0 and self._end + len(data) > self._segment_bytes:
                    self._roll()
                if self._file < 0:
                    self._file = os.open(self._path(self._number), os.O_RDWR | os.O_CREAT, 0o600)
                    self._end = 0
                if os.pwrite(self._file, data, self._end) != len(data):
                    raise OSError("short write")
            except OSError as error:
                if not self._refused:
                    _LOG.warning(
                        "receipts are not kept: %s; it is tried again with each batch", reason(error)
                    )
                self._refused = True
                return None
            self._refused = False
            place = Place(self._number, self._end)
            self._end += len(data)
            self._unsynced.add(self._number)
            return place

    def visible(self, place: Place | None) -> None:
        """The rows of that frame are visible to queries now."""
        if place is None:
            return
        moment = _MOMENT.pack(self._clock.now())
        with self._lock, contextlib.suppress(OSError):
            if place.number == self._number and self._file >= 0:
                os.pwrite(self._file, moment, place.position + _MOMENT_AT)
                return
            with self._path(place.number).open("r+b") as file:
                file.seek(place.position + _MOMENT_AT)
                file.write(moment)

    def find(self, request_id: str) -> list[Found]:
        """All that is kept of a call, in the order of its coming."""
        wanted = id_bytes(request_id)
        if wanted is None:
            return []
        found: list[Found] = []
        with self._lock:
            active, end = self._number, self._end
        for number in self._numbers():
            try:
                if number == active:
                    places = self._frames(number, end)
                    found += [one for frame, moment, _ in places for one in _of(frame, moment, wanted)]
                else:
                    found += self._look_up(number, wanted)
            except OSError:
                # Dropped meanwhile, or unreadable: what it says is not known.
                continue
        return found

    def sync(self) -> None:
        """Make what was appended survive a power cut; refusals are logged."""
        with self._lock:
            numbers, self._unsynced = self._unsynced, set()
        try:
            for number in numbers:
                # What was dropped meanwhile need not survive.
                with contextlib.suppress(FileNotFoundError):
                    self._disk.sync_file(self._path(number), SITE)
            if max(numbers, default=0) > self._named:
                self._disk.sync_dir(self._folder, SITE_FOLDER)
                self._disk.sync_dir(self._folder.parent, SITE_FOLDER)
                self._named = max(numbers)
        except OSError as error:
            _LOG.warning("receipts may not survive a power cut: %s", reason(error))

    def close(self) -> None:
        """Close the file."""
        self.sync()
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _roll(self) -> None:
        os.close(self._file)
        self._file = -1
        full = self._number
        self._number += 1
        self._seal(full)
        self._prune()

    def _seal(self, number: int) -> None:
        """Write the sorted index of a file that takes no more frames; without it the file is read through."""
        path = self._index(number)
        try:
            keys = [
                (int.from_bytes(call.request_id[:8], "big"), place)
                for frame, _, place in self._frames(number)
                for call in frame.calls
            ]
            table = np.array(keys, _KEYS)
            table.sort(order=("key", "place"))
            content = table.tobytes()
            write_replacement(path, content + _CHECK.pack(_INDEX_MAGIC, zlib.crc32(content)))
        except OSError as error:
            _LOG.warning("receipts in %s are not indexed: %s", path, reason(error))

    def _is_indexed(self, number: int) -> bool:
        """Whether a file has its index, and as it was written."""
        try:
            content = self._index(number).read_bytes()
        except OSError:
            return False
        return content[-_CHECK.size :] == _CHECK.pack(_INDEX_MAGIC, zlib.crc32(content[: -_CHECK.size]))

    def _prune(self) -> None:
        """Drop what is older than a day, and the oldest beyond the bound."""
        total = 0
        # A clock that was set wrong for a minute must not cost a day of receipts.
        now = self._steady.now()
        oldest = 0.0 if now is None else (now - DAY) / SECOND
        for number in reversed(self._numbers()):
            path = self._path(number)
            with contextlib.suppress(OSError):
                stat = path.stat()
                total += stat.st_size
                if total > self._max_bytes or stat.st_mtime < oldest:
                    self._index(number).unlink(missing_ok=True)
                    path.unlink()

    def _look_up(self, number: int, wanted: bytes) -> list[Found]:
        index = self._index(number)
        if not index.exists():
            frames = self._frames(number)
            return [one for frame, moment, _ in frames for one in _of(frame, moment, wanted)]
        keys = (index.stat().st_size - _CHECK.size) // _KEYS.itemsize
        if keys <= 0:
            return []
        table = np.memmap(index, _KEYS, "r", shape=keys)
        key = int.from_bytes(wanted[:8], "big")
        first = int(np.searchsorted(table["key"], np.uint64(key)))
        places = []
        while first < len(table) and int(table["key"][first]) == key:
            places.append(int(table["place"][first]))
            first += 1
        found: list[Found] = []
        for place in dict.fromkeys(places):
            for frame, moment, _ in self._frames(number, start=place, most=1):
                found += _of(frame, moment, wanted)
        return found

    def _frames(
        self, number: int, end: int | None = None, *, start: int = 0, most: int | None = None
    ) -> Iterator[tuple[Frame, int, int]]:
        """Whole frames of a file, up to `end`, with their moment and place."""
        with self._path(number).open("rb") as file:
            for whole in islice(_FORM.read(file, start), most):
                if end is not None and whole.start >= end:
                    return
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    yield _DECODER.decode(whole.payload), *_MOMENT.unpack(whole.rest), whole.start

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010d}{_SUFFIX}"

    def _index(self, number: int) -> Path:
        return self._folder / f"{number:010d}{_INDEX}"


def _of(frame: Frame, moment: int, wanted: bytes) -> Iterator[Found]:
    for call in frame.calls:
        if call.request_id == wanted:
            yield Found(frame, call, moment)
