"""The journal in files: one writer, which makes all waiting entries durable with one sync.

    journal/{journal id}/
        lock                        held by the one writer
        closed                      there if no writer is to go on with the journal; made by hand
        end                         how far the journal is durable, shared memory for the readers
        inflated                    where the last bodies are in memory without compression, for the readers
        00000000000000000000.seg    segments, named by their first offset
        spare.{n}                   the next segment, allocated ahead
        used.{first}                one that was trimmed, to be the spare after that

A segment is filled once, from front to back; a crash, a full disk or its size end it, and the next record
begins another. It gets its name only after its first records are synced.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from headrace.clock import SECOND, Clock
from headrace.disk import Disk, reason
from headrace.ids import new_guid
from headrace.journal.end import End, EndMark
from headrace.journal.format import (
    FRAME_BYTES,
    HEADER_BYTES,
    MARKER_BYTES,
    SegmentHeader,
    encode_frame,
    encode_header,
    encode_meta,
)
from headrace.journal.inflated import InflatedWriter
from headrace.journal.model import (
    DiskFullError,
    Entry,
    JournalBrokenError,
    JournalFormatError,
    JournalLockedError,
    Pending,
    Record,
)
from headrace.journal.reader import SITE_TRIM_DIR, FileJournalReader
from headrace.journal.recovery import SITE_RECOVER_DIR, SITE_RECOVER_FILE, recover
from headrace.journal.room import Room
from headrace.journal.segments import SpareMaker, preallocate, segment_name
from headrace.journal.syncs import Syncs, thread_syncs
from headrace.settings import JournalSettings

__all__ = ["SITES", "FileJournal", "FileJournalReader", "journal_folders", "open_free_journal"]

SITE_CREATE_DIR: Final = "journal.create.dir"
SITE_APPEND_FILE: Final = "journal.append.file"
SITE_ROLL_DIR: Final = "journal.roll.dir"
SITES: Final = frozenset(
    {
        SITE_CREATE_DIR,
        SITE_APPEND_FILE,
        SITE_ROLL_DIR,
        SITE_RECOVER_FILE,
        SITE_RECOVER_DIR,
        SITE_TRIM_DIR,
    }
)
"""Every sync that a promise of the journal rests on."""

CLOSED_NAME: Final = "closed"

_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_DISK_RETRY_SECONDS = 5.0
_BUFFERS_PER_WRITE = 1000


@dataclass(slots=True)
class _Ticket:
    """An entry on its way to the disk, and who waits for it."""

    entry: Entry
    meta: bytes
    size: int
    pending: Pending
    place: int | None
    """Where its body is among those that readers need not inflate."""


@dataclass(slots=True)
class _Segment:
    """The segment being filled; `position` is where the next frame goes."""

    path: Path
    descriptor: int
    size: int
    first: int
    marker: bytes
    position: int


class FileJournal:
    """`JournalWriter` over files, for one event loop. Made by `open`.

    What is small enough for the page cache is written by the event loop itself; it waits for the syncs, for directories
    and for the room of the next segment beside all else that it does.
    """

    def __init__(
        self,
        folder: Path,
        settings: JournalSettings,
        syncs: Syncs,
        clock: Clock,
        lock: int,
        mark: EndMark,
        end: End,
        floor: int,
        allocate: Callable[[int, int], None],
        inflated: InflatedWriter | None,
    ) -> None:
        """Takes over what `open` prepared; not for others."""
        self._folder = folder
        self._journal_id = folder.name
        self._syncs = syncs
        self._clock = clock
        self._lock = lock
        self._mark = mark
        self._next = end.offset
        self._floor = floor
        self._group_bytes = settings.group_bytes
        # Half-filled, spare and used segments count as full ones: several must fit the bound to leave it useful.
        segment_bytes = min(settings.segment_bytes, settings.max_bytes // 8)
        self._room = Room(folder, settings.max_bytes - 3 * segment_bytes, segment_bytes, clock)
        self._spares = SpareMaker(folder, segment_bytes, allocate)
        self._inflated = inflated
        self._active: _Segment | None = None
        self._waiting: deque[_Ticket] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self._broken: str | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: JournalSettings,
        disk: Disk,
        clock: Clock,
        *,
        allocate: Callable[[int, int], None] = preallocate,
        syncs: Callable[[Disk, int], Syncs] = thread_syncs,
    ) -> FileJournal:
        """Open the journal in `folder`, whose name is the journal's GUID, or begin it; repair what is torn.

        `allocate(descriptor, bytes)` gives a new segment its room; `syncs(disk, descriptor)` are its syncs, for such
        files as the open one. Raises `JournalLockedError` when another
        writer has it open, `JournalFormatError` for a folder that is no journal or a newer one, `OSError`
        when the disk refuses.
        """
        journal_id = _journal_id(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
        mark: EndMark | None = None
        try:
            for parent in (folder.parent, folder.parent.parent):
                disk.sync_dir(parent, SITE_CREATE_DIR)
            mark, published = EndMark.create(folder, journal_id)
            recovered = recover(folder, disk, published)
            mark.publish(recovered.end)
            inflated = InflatedWriter.create(folder, settings.inflated_bytes)
            made = syncs(disk, lock)
            return cls(
                folder, settings, made, clock, lock, mark, recovered.end, recovered.floor, allocate, inflated
            )
        except BaseException:
            if mark is not None:
                mark.close()
            os.close(lock)
            raise

    @property
    def journal_id(self) -> str:
        """See `JournalWriter.journal_id`."""
        return self._journal_id

    @property
    def broken(self) -> str | None:
        """Why nothing is acknowledged any more; None while all is well."""
        return self._broken

    def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        """See `JournalWriter.submit`."""
        self._refuse_if_broken()
        meta = encode_meta(entry)
        size = FRAME_BYTES + len(meta) + len(entry.body)
        self._room.enter(size)
        loop = asyncio.get_running_loop()
        if self._writer is None:
            self._writer = loop.create_task(self._run())
        shared = self._inflated
        place = shared.keep(inflated) if shared is not None and inflated is not None else None
        ticket = _Ticket(entry, meta, size, loop.create_future(), place)
        self._waiting.append(ticket)
        # The writer goes on in the next turn of the loop: what comes in the same one shares the sync.
        self._wake.set()
        return ticket.pending

    async def append(self, entry: Entry) -> Record:
        """`submit`, and wait for it."""
        return await self.submit(entry)

    def ahead_seconds(self) -> float:
        """How far the last received time is ahead of the clock, which was set back; 0 while it is not."""
        return max(0, self._floor - self._clock.now()) / SECOND

    def backlog(self) -> int:
        """See `JournalWriter.backlog`."""
        return self._room.used()

    async def close(self) -> None:
        """See `JournalWriter.close`."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await asyncio.wait([self._writer])
        self._syncs.close()
        self._fail_waiting()
        await asyncio.get_running_loop().run_in_executor(None, self._let_go, True)

    def abort(self) -> None:
        """Stop as a crash would: nothing waiting is finished, nothing is tidied up.

        In the event loop's thread, or when it runs no more.
        """
        if self._closing:
            return
        self._closing = True
        if self._writer is not None:
            self._writer.cancel()
        self._syncs.close()
        self._fail_waiting()
        self._let_go(False)

    def _let_go(self, tidy: bool) -> None:
        self._spares.close(remove=tidy)
        if self._active is not None:
            if tidy and self._active.position > HEADER_BYTES:
                with suppress(OSError):
                    os.ftruncate(self._active.descriptor, self._active.position)
            os.close(self._active.descriptor)
            self._active = None
        if self._inflated is not None:
            self._inflated.close()
            self._inflated = None
        self._mark.close()
        os.close(self._lock)

    def _refuse_if_broken(self) -> None:
        if self._broken is not None:
            raise JournalBrokenError(self._broken)

    # The writer.

    async def _run(self) -> None:
        try:
            while tickets := await self._take():
                await self._commit(tickets)
        finally:
            self._fail_waiting()

    async def _take(self) -> list[_Ticket]:
        """Wait for an entry, then take all that are there, up to a group; empty when closing."""
        while not self._waiting:
            if self._closing:
                return []
            self._wake.clear()
            await self._wake.wait()
        tickets: list[_Ticket] = []
        size = 0
        while self._waiting and size < self._group_bytes:
            ticket = self._waiting.popleft()
            tickets.append(ticket)
            size += ticket.size
        return tickets

    async def _commit(self, tickets: list[_Ticket]) -> None:
        """Make a group durable, in as many writes as it touches segments, and answer its tickets."""
        waiting = deque(tickets)
        part: list[_Ticket] = []
        try:
            while waiting:
                self._refuse_if_broken()
                segment = await self._segment_for(waiting[0].size)
                part = _take_fitting(waiting, segment.size - segment.position)
                _answer(part, await self._write_or_abandon(segment, part))
                part = []
        except JournalBrokenError as error:
            self._refuse([*part, *waiting], error)
        except OSError as error:
            if error.errno in _FULL_DISK:
                self._refuse([*part, *waiting], DiskFullError(_FULL_DISK_RETRY_SECONDS))
            else:
                self._broken = f"the disk refused a write: {reason(error)}"
                self._refuse([*part, *waiting], JournalBrokenError(self._broken))
        except BaseException:
            self._broken = self._broken or "the journal's writer failed"
            self._refuse([*part, *waiting], JournalBrokenError(self._broken))
            raise

    async def _segment_for(self, size: int) -> _Segment:
        active = self._active
        if active is not None and active.position + size <= active.size:
            return active
        spare = await self._spares.take(HEADER_BYTES + size)
        if active is not None:
            os.close(active.descriptor)
        marker = os.urandom(MARKER_BYTES)
        self._active = _Segment(spare.path, spare.descriptor, spare.size, self._next, marker, 0)
        self._active.position = HEADER_BYTES
        return self._active

    async def _write_or_abandon(self, segment: _Segment, tickets: Sequence[_Ticket]) -> list[Record]:
        try:
            return await self._write(segment, tickets)
        except OSError as error:
            if error.errno in _FULL_DISK:
                self._abandon_segment()
            raise

    async def _write(self, segment: _Segment, tickets: Sequence[_Ticket]) -> list[Record]:
        """Write and sync; when this returns, the records are durable and published."""
        fresh = segment.position == HEADER_BYTES
        received = max(self._floor, self._clock.now())
        buffers: list[bytes] = []
        if fresh:
            header = SegmentHeader(self.journal_id, segment.first, segment.marker, self._floor)
            buffers.append(encode_header(header))
        group = self._next
        records: list[Record] = []
        for offset, ticket in enumerate(tickets, group):
            body = ticket.entry.body
            buffers.append(encode_frame(segment.marker, offset, group, received, ticket.meta, body))
            buffers.append(body)
            records.append(Record(self._journal_id, offset, received, ticket.entry))
        end = _write_all(segment.descriptor, buffers, 0 if fresh else segment.position)
        await self._syncs.file(segment.path, SITE_APPEND_FILE, segment.descriptor)
        if fresh:
            named = self._folder / segment_name(segment.first)
            segment.path.rename(named)
            segment.path = named
            await self._syncs.directory(self._folder, SITE_ROLL_DIR)
            self._room.roll(segment.first)
        segment.position = end
        self._next, self._floor = group + len(records), received
        self._room.fill(end, sum(ticket.size for ticket in tickets))
        self._name_inflated(tickets, group)
        self._mark.publish(End(self._next, segment.first, end))
        return records

    def _name_inflated(self, tickets: Sequence[_Ticket], first: int) -> None:
        if self._inflated is not None:
            for offset, ticket in enumerate(tickets, first):
                if ticket.place is not None:
                    self._inflated.name(offset, ticket.place)

    def _abandon_segment(self) -> None:
        """Never write again where a write failed half-way: what it left could be taken for records."""
        segment, self._active = self._active, None
        if segment is None:
            return
        try:
            if segment.position == HEADER_BYTES:
                segment.path.unlink()
            else:
                os.ftruncate(segment.descriptor, segment.position)
        except OSError as error:
            self._broken = f"the disk refused to cut a segment: {reason(error)}"
        finally:
            os.close(segment.descriptor)

    def _refuse(self, tickets: Collection[_Ticket], error: Exception) -> None:
        self._room.leave(sum(ticket.size for ticket in tickets))
        for ticket in tickets:
            if not ticket.pending.done():
                ticket.pending.set_exception(error)

    def _fail_waiting(self) -> None:
        self._broken = self._broken or "the journal was closed"
        self._refuse(self._waiting, JournalBrokenError(self._broken))
        self._waiting.clear()


def journal_folders(root: Path) -> list[Path]:
    """The journals below `root` (DATA_DIR/journal), in a fixed order."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and _is_guid(path.name))


def open_free_journal(
    root: Path,
    settings: JournalSettings,
    disk: Disk,
    clock: Clock,
    syncs: Callable[[Disk, int], Syncs] = thread_syncs,
) -> FileJournal:
    """Open the first journal below `root` that no other writer holds, else begin a new one.

    Gateways that restart thereby go on with the journals that are there, but for those marked as closed: a journal
    whose received times are far ahead, since the clock was, is worked off and takes nothing more.
    """
    for folder in journal_folders(root):
        if (folder / CLOSED_NAME).exists():
            continue
        try:
            return FileJournal.open(folder, settings, disk, clock, syncs=syncs)
        except JournalLockedError:
            continue
    return FileJournal.open(root / new_guid(), settings, disk, clock, syncs=syncs)


def _is_guid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _journal_id(folder: Path) -> str:
    if not _is_guid(folder.name):
        raise JournalFormatError(f"{folder.name!r} is not the name of a journal: a GUID in lower case")
    return folder.name


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise JournalLockedError(f"journal {folder.name} is open in another process") from None
    return descriptor


def _take_fitting(waiting: deque[_Ticket], room: int) -> list[_Ticket]:
    """Take from the front of `waiting` what fits into `room` bytes; the first one always does."""
    part = [waiting.popleft()]
    room -= part[0].size
    while waiting and waiting[0].size <= room:
        room -= waiting[0].size
        part.append(waiting.popleft())
    return part


def _write_all(descriptor: int, buffers: list[bytes], position: int) -> int:
    """Write all buffers from `position` on; the position after them."""
    for start in range(0, len(buffers), _BUFFERS_PER_WRITE):
        chunk: list[bytes | memoryview] = [*buffers[start : start + _BUFFERS_PER_WRITE]]
        while chunk:
            written = os.pwritev(descriptor, chunk, position)
            position += written
            while chunk and written >= len(chunk[0]):
                written -= len(chunk.pop(0))
            if written:
                chunk[0] = memoryview(chunk[0])[written:]
    return position


def _answer(tickets: Iterable[_Ticket], records: Iterable[Record]) -> None:
    for ticket, record in zip(tickets, records, strict=True):
        # Who waited may have gone.
        if not ticket.pending.done():
            ticket.pending.set_result(record)
