"""Calls that came before: a call that is repeated within a window is known again, and stored once.

A call's key is a digest of rule, rule version, stream, `x-ms-client-request-id`, encoding, resource id and wire bytes;
its place is journal and offset. The first place that is noted under a key is the original, every other place within
the window a repeat of it. Keys are written to files before their records go on, synced before a checkpoint lets the
journal go of them, and, where there are several journals, before any row is published: so every replay decides
the same. Without a file a journal's own order would decide again, but two journals have no order between them.

A file is an array of 64-byte slots: frames of one head and its entries. In memory a full file is its sorted
64-bit keys with their slots, 12 bytes a call; the whole digest is compared on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headrace.clock import SECOND, Clock
from headrace.disk import Disk
from headrace.journal.model import Record
from headrace.observe.log_errors import STREAM as LOG_ERRORS

SITE = "seen.append"
SITE_FOLDER = "seen.folder"

SEGMENT_CALLS = 128 * 1024
MAX_SEGMENTS = 32
"""Files that are kept at most: about four million calls, 256 MiB of disk and 48 MiB of memory."""

_SLOT = 64
_ENTRY = struct.Struct("<16s16sQq16s")
_HEAD = struct.Struct("<8sII48x")
_MAGIC = b"HRSEEN1\0"
_SUFFIX = ".seen"
_SLACK = 60 * SECOND
"""How much older than the clock a record may be that a gateway has stamped and not yet made visible."""


@dataclass(frozen=True, slots=True)
class Call:
    """An original: its digest, its place, when it was received (UTC microseconds) and its request id."""

    digest: bytes
    journal: bytes
    offset: int
    received: int
    request_id: bytes

    @property
    def key(self) -> int:
        """What the index looks for."""
        return int.from_bytes(self.digest[:8], "little")

    def packed(self) -> bytes:
        """The entry's slot."""
        return _ENTRY.pack(self.digest, self.journal, self.offset, self.received, self.request_id)

    @classmethod
    def unpacked(cls, slot: bytes) -> Call:
        """The reverse of `packed`."""
        return cls(*_ENTRY.unpack(slot))


@dataclass(slots=True)
class _Segment:
    """One file; sealed once `keys` are sorted, then it takes no more."""

    path: Path
    file: int
    slots: int = 0
    first_received: int = 0
    last_received: int = 0
    active: dict[int, tuple[int, ...]] = field(default_factory=dict)
    keys: npt.NDArray[np.uint64] | None = None
    places: npt.NDArray[np.uint32] | None = None
    dirty: bool = False

    def note(self, call: Call, slot: int) -> None:
        if not self.active:
            self.first_received = self.last_received = call.received
        self.active[call.key] = (*self.active.get(call.key, ()), slot)
        self.first_received = min(self.first_received, call.received)
        self.last_received = max(self.last_received, call.received)

    def forget(self, call: Call, slot: int) -> None:
        rest = tuple(one for one in self.active.get(call.key, ()) if one != slot)
        if rest:
            self.active[call.key] = rest
        else:
            self.active.pop(call.key, None)

    def seal(self) -> None:
        pairs = sorted((key, slot) for key, slots in self.active.items() for slot in slots)
        self.keys = np.array([key for key, _ in pairs], np.uint64)
        self.places = np.array([slot for _, slot in pairs], np.uint32)
        self.active = {}

    def read(self, slot: int) -> Call:
        return Call.unpacked(os.pread(self.file, _SLOT, slot * _SLOT))


class SeenCalls:
    """The calls of one data folder, for its pipeline. Thread-safe; `note` is for one thread.

    `window_seconds`: repeats that were received further apart are calls of their own. Opening is left to the first
    `note`, which may be tried again, as a full disk passes.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        clock: Clock,
        window_seconds: float,
        *,
        segment_calls: int = SEGMENT_CALLS,
        max_segments: int = MAX_SEGMENTS,
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._window = int(window_seconds * SECOND)
        self._segment_calls = segment_calls
        self._max_segments = max_segments
        self._lock = threading.Lock()
        self._opened = False
        self._segments: list[_Segment] = []
        self._repeats: dict[str, dict[int, bytes]] = {}
        self._noted: dict[str, list[tuple[int, int]]] = {}
        self._ends: dict[str, int] = {}
        self._lost = False
        self._journals = 0

    def note(self, records: Sequence[Record]) -> None:
        """Decide which of these records, the next of one journal, are repeats. Raises `OSError`: nothing is decided."""
        calls = [_call(record) for record in records if _counts(record)]
        with self._lock:
            if not self._opened:
                self._open()
            if records:
                self._remember_place(records)
            if calls:
                self._decide(calls)

    def original(self, journal: str, offset: int) -> str | None:
        """The request id of the call that this record repeats; None where it is an original."""
        with self._lock:
            found = self._repeats.get(journal, {}).get(offset)
        return None if found is None else str(uuid.UUID(bytes=found))

    def before_publishing(self) -> None:
        """Make durable what was noted if another order of reading could decide otherwise. Raises `OSError`."""
        if self._journals > 1:
            self.sync()

    def among(self, journals: int) -> None:
        """So many journals are read."""
        self._journals = journals

    def sync(self) -> None:
        """Make durable what was noted. Raises `OSError`: then all since the last checkpoint is to be noted again."""
        with self._lock:
            if self._lost:
                raise OSError("calls that were noted may be lost")
            for segment in self._segments:
                if segment.dirty:
                    self._sync(segment)

    def lost(self) -> bool:
        """Whether the disk refused a sync: the journals must be read again from their checkpoints."""
        return self._lost

    def reopen(self) -> None:
        """Forget what is in memory; the next `note` begins with what the disk has."""
        with self._lock:
            self._close()
            self._repeats.clear()
            self._noted.clear()
            self._lost = False

    def settled(self, journal: str, watermark: int) -> None:
        """Records below `watermark` will not be noted again; what can meet no repeat any more is dropped."""
        with self._lock:
            repeats = self._repeats.get(journal)
            if repeats:
                for offset in [offset for offset in repeats if offset < watermark]:
                    del repeats[offset]
            noted = self._noted.get(journal, [])
            while len(noted) > 1 and noted[1][0] <= watermark:
                noted.pop(0)
            if watermark >= self._ends.get(journal, 0):
                noted.clear()
            self._drop_old()

    def __len__(self) -> int:
        """Slots in use, heads included."""
        with self._lock:
            return sum(segment.slots for segment in self._segments)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._close()

    # -- deciding -----------------------------------------------------------------------------------

    def _decide(self, calls: Sequence[tuple[str, Call]]) -> None:
        segment = self._active()
        older = self._look_up([call for _, call in calls])
        fresh: dict[int, Call] = {}
        repeats: list[tuple[str, int, bytes]] = []
        for place, (journal, call) in enumerate(calls):
            known = older.get(place, [])
            known += [fresh.get(slot) or segment.read(slot) for slot in segment.active.get(call.key, ())]
            same = [one for one in known if one.digest == call.digest]
            if any((one.journal, one.offset) == (call.journal, call.offset) for one in same):
                continue
            near = [one for one in same if abs(one.received - call.received) <= self._window]
            if near:
                first = min(near, key=lambda one: (one.received, one.offset))
                repeats.append((journal, call.offset, first.request_id))
                continue
            slot = segment.slots + 1 + len(fresh)
            fresh[slot] = call
            segment.note(call, slot)
        if fresh:
            try:
                self._append(segment, list(fresh.values()))
            except OSError:
                for slot, call in fresh.items():
                    segment.forget(call, slot)
                raise
        for journal, offset, request_id in repeats:
            self._repeats.setdefault(journal, {})[offset] = request_id

    def _look_up(self, calls: Sequence[Call]) -> dict[int, list[Call]]:
        """What sealed files have under the keys of these calls, by place in `calls`."""
        wanted = np.array([call.key for call in calls], np.uint64)
        found: dict[int, list[Call]] = {}
        for segment in self._segments:
            if segment.keys is None or segment.places is None or not len(segment.keys):
                continue
            first = np.searchsorted(segment.keys, wanted, "left")
            last = np.searchsorted(segment.keys, wanted, "right")
            for place in np.nonzero(last > first)[0].tolist():
                slots = segment.places[first[place] : last[place]].tolist()
                found.setdefault(place, []).extend(segment.read(slot) for slot in slots)
        return found

    def _remember_place(self, records: Sequence[Record]) -> None:
        """When the records from here on were received: their repeats must be found as long as they may be replayed."""
        journal, first = records[0].journal, records[0].offset
        noted = self._noted.setdefault(journal, [])
        while noted and noted[-1][0] >= first:
            noted.pop()
        noted.append((first, records[0].received))
        self._ends[journal] = records[-1].offset + 1

    def _drop_old(self) -> None:
        floors = [noted[0][1] for noted in self._noted.values() if noted]
        floor = min([*floors, self._clock.now() - _SLACK]) - self._window
        while len(self._segments) > 1 and (
            self._segments[0].last_received < floor or len(self._segments) > self._max_segments
        ):
            segment = self._segments.pop(0)
            os.close(segment.file)
            segment.path.unlink(missing_ok=True)

    # -- files --------------------------------------------------------------------------------------

    def _active(self) -> _Segment:
        """The file that takes entries; a full or old one is sealed, and a new one begun."""
        if self._segments:
            last = self._segments[-1]
            old = last.active and last.last_received - last.first_received > self._window // 4
            if last.slots < self._segment_calls and not old:
                return last
            if last.dirty:
                self._sync(last)
            last.seal()
        return self._begin()

    def _begin(self) -> _Segment:
        number = int(self._segments[-1].path.stem) + 1 if self._segments else 0
        path = self._folder / f"{number:010d}{_SUFFIX}"
        segment = _Segment(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), dirty=True)
        self._segments.append(segment)
        return segment

    def _append(self, segment: _Segment, calls: Sequence[Call]) -> None:
        entries = b"".join(call.packed() for call in calls)
        data = _HEAD.pack(_MAGIC, len(calls), zlib.crc32(entries)) + entries
        segment.dirty = True
        if os.pwrite(segment.file, data, segment.slots * _SLOT) != len(data):
            raise OSError("short write")
        segment.slots += 1 + len(calls)

    def _sync(self, segment: _Segment) -> None:
        try:
            self._disk.sync_file(segment.path, SITE, segment.file)
            self._disk.sync_dir(self._folder, SITE_FOLDER)
        except OSError:
            self._lost = True
            raise
        segment.dirty = False

    def _open(self) -> None:
        """Load the files. The newest may hold what was never synced: its entries are written anew, durably."""
        try:
            if not self._folder.exists():
                self._folder.mkdir(parents=True)
                self._disk.sync_dir(self._folder.parent, SITE_FOLDER)
            paths = sorted(path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())
            for path in paths:
                self._load(path)
            if self._segments:
                self._write_anew(self._segments[-1])
        except BaseException:
            self._close()
            raise
        self._opened = True

    def _load(self, path: Path) -> None:
        segment = _Segment(path, os.open(path, os.O_RDWR))
        self._segments.append(segment)
        for slot, call in _entries(path.read_bytes()):
            segment.note(call, slot)
            segment.slots = slot + 1
        segment.seal()

    def _write_anew(self, old: _Segment) -> None:
        new = self._begin()
        slots = old.places.tolist() if old.places is not None else []
        calls = [old.read(slot) for slot in sorted(slots)]
        if calls:
            for slot, call in enumerate(calls, 1):
                new.note(call, slot)
            self._append(new, calls)
        self._sync(new)
        self._segments.remove(old)
        os.close(old.file)
        old.path.unlink(missing_ok=True)

    def _close(self) -> None:
        for segment in self._segments:
            with contextlib.suppress(OSError):
                os.close(segment.file)
        self._segments = []
        self._opened = False


def _entries(data: bytes) -> Iterator[tuple[int, Call]]:
    """The entries of whole frames with their slots; what is not whole is stepped over, slot by slot."""
    place = 0
    while place + _SLOT <= len(data):
        magic, count, checksum = _HEAD.unpack_from(data, place)
        entries = data[place + _SLOT : place + _SLOT * (count + 1)]
        if magic != _MAGIC or len(entries) != count * _SLOT or zlib.crc32(entries) != checksum:
            place += _SLOT
            continue
        for index in range(count):
            slot = place // _SLOT + 1 + index
            yield slot, Call.unpacked(entries[index * _SLOT : (index + 1) * _SLOT])
        place += _SLOT * (count + 1)


def _counts(record: Record) -> bool:
    """Only a call with an id of its client's can be told from one that happens to look the same."""
    return bool(record.entry.client_request_id) and record.entry.stream != LOG_ERRORS


def _call(record: Record) -> tuple[str, Call]:
    entry = record.entry
    names = [entry.rule, str(entry.rule_version), entry.stream, entry.client_request_id, entry.encoding]
    if entry.resource_id:
        # Only where there is one: the digests of all others stay what they are on disk.
        names.append(entry.resource_id)
    digest = hashlib.sha256("\0".join(names).encode() + b"\0")
    digest.update(entry.body)
    call = Call(
        digest.digest()[:16],
        _id_bytes(record.journal),
        record.offset,
        record.received,
        _id_bytes(entry.request_id),
    )
    return record.journal, call


def _id_bytes(identifier: str) -> bytes:
    try:
        key = bytes.fromhex(identifier.replace("-", ""))
    except ValueError:
        key = b""
    return key if len(key) == 16 else hashlib.sha256(identifier.encode()).digest()[:16]
