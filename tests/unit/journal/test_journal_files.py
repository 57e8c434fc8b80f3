from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest
from isal import isal_zlib

from headrace.clock import DAY, MINUTE, SECOND, ManualClock
from headrace.disk import Disk, RealDisk
from headrace.journal.files import (
    FileJournal,
    FileJournalReader,
    journal_folders,
    open_free_journal,
)
from headrace.journal.format import HEADER_BYTES
from headrace.journal.model import (
    Entry,
    JournalBrokenError,
    JournalFormatError,
    JournalFullError,
    JournalLockedError,
    Record,
)
from headrace.settings import JournalSettings

pytestmark = pytest.mark.anyio

SMALL = JournalSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024, group_bytes=256 * 1024)


class GatedDisk(RealDisk):
    """A disk that counts the syncs of records, and can hold them back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.syncs = 0

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        if site == "journal.append.file":
            self.syncs += 1
            self.reached.set()
            assert self.gate.wait(30)
        super().sync_file(path, site, fd)


def entry(name: str, size: int = 100) -> Entry:
    return Entry(
        request_id=f"request-{name}",
        client_request_id=f"client-{name}",
        principal="3f0c2c0e-0000-4000-8000-00000000aaaa",
        rule="dcr-00000000000000000000000000000001",
        rule_version=7,
        stream="Custom-Ä_CL",
        encoding="gzip",
        body=(name.encode() * size)[:size],
        length=size * 6,
        rows=3,
    )


def open_journal(
    folder: Path,
    disk: Disk | None = None,
    clock: ManualClock | None = None,
    settings: JournalSettings = SMALL,
) -> FileJournal:
    return FileJournal.open(folder, settings, disk or RealDisk(), clock or ManualClock())


async def append_all(journal: FileJournal, entries: Sequence[Entry]) -> list[Record]:
    return await asyncio.gather(*map(journal.append, entries))


def read_all(reader: FileJournalReader, max_bytes: int = 1 << 30) -> list[Record]:
    found: list[Record] = []
    offset = reader.start()
    while batch := reader.read(offset, max_bytes):
        found.extend(batch)
        offset = batch[-1].offset + 1
    return found


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".seg")


async def test_records_come_back_as_they_were_accepted(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder)
    entries = [entry(str(i), i * 37) for i in range(50)]
    records = await append_all(journal, entries)
    assert [record.entry for record in records] == entries
    assert [record.offset for record in records] == list(range(50))
    assert {record.journal for record in records} == {folder.name} == {journal.journal_id, reader.journal_id}
    assert read_all(reader) == records
    assert (reader.start(), reader.end()) == (0, 50)
    await journal.close()
    assert read_all(reader) == records


async def test_a_reader_before_the_first_writer_finds_nothing(
    folder: Path, reader: FileJournalReader
) -> None:
    assert (reader.start(), reader.end(), reader.read(0, 100)) == (0, 0, ())
    journal = open_journal(folder)
    assert (reader.start(), reader.end(), reader.read(0, 100)) == (0, 0, ())
    record = await journal.append(entry("a"))
    assert list(reader.read(0, 100)) == [record]
    await journal.close()


async def test_only_durable_records_are_seen_and_those_that_wait_share_one_sync(
    folder: Path, reader: FileJournalReader
) -> None:
    disk = GatedDisk()
    journal = open_journal(folder, disk)
    disk.gate.clear()
    first = asyncio.create_task(journal.append(entry("first")))
    await asyncio.to_thread(disk.reached.wait, 30)
    rest = [asyncio.create_task(journal.append(entry(str(i)))) for i in range(100)]
    await asyncio.sleep(0)
    assert not first.done()
    assert (reader.end(), reader.read(0, 100)) == (0, ())
    disk.gate.set()
    records = [await first, *[await task for task in rest]]
    assert disk.syncs == 2
    assert read_all(reader) == records
    await journal.close()


async def test_a_group_is_bounded(folder: Path) -> None:
    disk = GatedDisk()
    settings = JournalSettings(segment_bytes=1 << 20, max_bytes=1 << 24, group_bytes=64 * 1024)
    journal = open_journal(folder, disk, settings=settings)
    disk.gate.clear()
    first = asyncio.create_task(journal.append(entry("first")))
    await asyncio.to_thread(disk.reached.wait, 30)
    rest = [asyncio.create_task(journal.append(entry(str(i), 32 * 1024))) for i in range(8)]
    await asyncio.sleep(0)
    disk.gate.set()
    await asyncio.gather(first, *rest)
    assert disk.syncs == 1 + 4
    await journal.close()


async def test_the_order_of_calls_is_the_order_of_offsets(folder: Path) -> None:
    journal = open_journal(folder)

    async def connection(name: str) -> list[int]:
        return [(await journal.append(entry(f"{name}{i}"))).offset for i in range(30)]

    found = await asyncio.gather(*(connection(name) for name in "abcd"))
    assert all(offsets == sorted(offsets) for offsets in found)
    assert sorted(chain(*found)) == list(range(120))
    await journal.close()


async def test_segments_roll_and_a_large_record_has_one_of_its_own(
    folder: Path, reader: FileJournalReader
) -> None:
    journal = open_journal(folder)
    records = [await journal.append(entry(str(i), 30_000)) for i in range(3)]
    records.append(await journal.append(entry("large", 200_000)))
    records.append(await journal.append(entry("small")))
    assert segments(folder) == [f"{first:020d}.seg" for first in (0, 2, 3, 4)]
    sizes = [(folder / name).stat().st_size for name in segments(folder)]
    assert sizes[0] == sizes[1] == sizes[3] == 64 * 1024
    assert 200_000 < sizes[2] < 200_000 + HEADER_BYTES + 1000
    assert read_all(reader) == records
    await journal.close()


async def test_the_next_segment_is_allocated_ahead(folder: Path) -> None:
    sizes: list[int] = []
    made = threading.Event()

    def allocate(descriptor: int, size: int) -> None:
        os.posix_fallocate(descriptor, 0, size)
        sizes.append(size)
        if len(sizes) == 2:
            made.set()

    journal = FileJournal.open(folder, SMALL, RealDisk(), ManualClock(), allocate=allocate)
    await journal.append(entry("a"))
    assert await asyncio.to_thread(made.wait, 30)
    assert sizes == [64 * 1024] * 2
    await journal.close()
    assert sorted(path.name for path in folder.iterdir()) == [f"{0:020d}.seg", "end", "lock"]


async def test_received_time_never_goes_back(folder: Path, reader: FileJournalReader) -> None:
    clock = ManualClock()
    first = clock.now()
    journal = open_journal(folder, clock=clock)
    await journal.append(entry("a"))
    clock.set(first - 90 * MINUTE)
    await journal.append(entry("b"))
    await journal.close()
    journal = open_journal(folder, clock=clock)
    await journal.append(entry("c", 60_000))
    await journal.append(entry("d", 60_000))
    reader.trim(3)
    await journal.close()
    journal = open_journal(folder, clock=clock)
    await journal.append(entry("e"))
    clock.set(first + SECOND)
    await journal.append(entry("f"))
    assert [record.received - first for record in read_all(reader)] == [0, 0, SECOND]
    assert reader.start() == 3
    await journal.close()


async def test_the_bound_and_how_soon_there_is_room(folder: Path, reader: FileJournalReader) -> None:
    clock = ManualClock()
    journal = open_journal(folder, clock=clock)
    written = 0
    with pytest.raises(JournalFullError) as unknown:
        while True:
            await journal.append(entry("x", 50_000))
            written += 1
    assert unknown.value.retry_after == 10
    assert 12 <= written <= 15
    used = sum(path.stat().st_size for path in folder.iterdir())
    assert used <= SMALL.max_bytes
    clock.advance(20 * SECOND)
    reader.trim(2)
    before = written
    with pytest.raises(JournalFullError) as known:
        while True:
            await journal.append(entry("x", 50_000))
            written += 1
    assert written == before + 2
    # 2 segments went in 20 s, so that one goes in 10 s.
    assert known.value.retry_after == pytest.approx(10, rel=0.01)
    assert reader.end() == written
    await journal.close()


async def test_entries_on_their_way_count(folder: Path) -> None:
    disk = GatedDisk()
    journal = open_journal(folder, disk)
    disk.gate.clear()
    tasks = [asyncio.create_task(journal.append(entry(str(i), 100_000))) for i in range(12)]
    await asyncio.sleep(0)
    full = [task for task in tasks if task.done()]
    assert 0 < len(full) < 6
    assert all(isinstance(task.exception(), JournalFullError) for task in full)
    disk.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await journal.close()


async def test_backlog_follows_appends_and_trims(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder)
    assert journal.backlog() == 0
    await journal.append(entry("a", 50_000))
    assert 50_000 < journal.backlog() < 51_000 + HEADER_BYTES
    for _ in range(5):
        await journal.append(entry("b", 50_000))
    assert journal.backlog() > 5 * 50_000
    reader.trim(6)
    assert journal.backlog() < 51_000 + HEADER_BYTES
    await journal.close()
    journal = open_journal(folder)
    assert 50_000 < journal.backlog() < 51_000 + HEADER_BYTES
    await journal.close()


async def test_trim_removes_whole_segments_and_keeps_the_last_record(
    folder: Path, reader: FileJournalReader
) -> None:
    journal = open_journal(folder)
    records = [await journal.append(entry(str(i), 30_000)) for i in range(7)]
    for offset, start in ((1, 0), (2, 2), (3, 2), (5, 4), (100, 6), (100, 6)):
        reader.trim(offset)
        assert reader.start() == start
        assert read_all(reader) == records[start:]
    await journal.close()
    journal = open_journal(folder)
    reader.trim(100)
    assert reader.start() == 6
    assert (await journal.append(entry("next"))).offset == 7
    reader.trim(100)
    assert reader.start() == 7
    await journal.close()


async def test_a_trimmed_segment_becomes_another_one(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder)
    records = [await journal.append(entry(str(i), 60_000)) for i in range(3)]
    trimmed = (folder / segments(folder)[0]).stat().st_ino
    behind = FileJournalReader(folder)
    assert behind.read(0, 1) == records[:1]
    reader.trim(2)
    assert [path.name for path in folder.glob("used.*")] == [f"used.{0:020d}"]
    records += [await journal.append(entry(str(i), 50_000)) for i in range(3, 6)]
    assert trimmed in [(folder / name).stat().st_ino for name in segments(folder)]
    # What it was before does not show, not even to a reader that has it open.
    assert read_all(reader) == records[2:]
    assert behind.read(2, 1 << 20) == records[2:]
    assert not [*reader.damaged(), *behind.damaged()]
    behind.close()
    await journal.close()
    journal = open_journal(folder)
    records.append(await journal.append(entry("next")))
    assert read_all(reader) == records[2:]
    await journal.close()


async def test_a_used_segment_that_is_too_small_is_not_taken(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder)
    await journal.append(entry("a", 10_000))
    await journal.close()
    assert (folder / segments(folder)[0]).stat().st_size < SMALL.segment_bytes
    journal = open_journal(folder)
    records = [await journal.append(entry(str(i), 60_000)) for i in range(2)]
    reader.trim(2)
    assert list(folder.glob("used.*"))
    records += [await journal.append(entry(str(i), 60_000)) for i in range(3)]
    assert read_all(reader) == records[1:]
    assert all((folder / name).stat().st_size >= SMALL.segment_bytes for name in segments(folder))
    await journal.close()


async def test_one_writer_at_a_time(folder: Path) -> None:
    journal = open_journal(folder)
    with pytest.raises(JournalLockedError):
        open_journal(folder)
    await journal.append(entry("a"))
    await journal.close()
    journal = open_journal(folder)
    await journal.close()


async def test_a_free_journal_is_taken_over_before_a_new_one_is_made(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    assert journal_folders(root) == []
    first = open_free_journal(root, SMALL, RealDisk(), ManualClock())
    second = open_free_journal(root, SMALL, RealDisk(), ManualClock())
    assert first.journal_id != second.journal_id
    (root / "something else").mkdir()
    assert {path.name for path in journal_folders(root)} == {first.journal_id, second.journal_id}
    await second.close()
    again = open_free_journal(root, SMALL, RealDisk(), ManualClock())
    assert again.journal_id == second.journal_id
    await first.close()
    await again.close()


async def test_a_journal_that_is_marked_as_closed_is_read_and_takes_nothing_more(tmp_path: Path) -> None:
    """The cure for a clock that was ahead: the next journal goes by the clock as it is."""
    root = tmp_path / "journal"
    clock = ManualClock()
    clock.advance(3 * DAY)
    ahead = open_free_journal(root, SMALL, RealDisk(), clock)
    await ahead.append(entry("a"))
    assert ahead.ahead_seconds() == 0
    clock.set(clock.now() - 3 * DAY)
    kept = await ahead.append(entry("b"))
    assert (kept.received - clock.now(), ahead.ahead_seconds()) == (3 * DAY, 3 * DAY / SECOND)
    (root / ahead.journal_id / "closed").touch()
    await ahead.close()
    following = open_free_journal(root, SMALL, RealDisk(), clock)
    assert following.journal_id != ahead.journal_id
    assert (await following.append(entry("c"))).received == clock.now()
    await following.close()
    reader = FileJournalReader(root / ahead.journal_id)
    assert [record.entry.request_id for record in read_all(reader)] == ["request-a", "request-b"]
    reader.close()


async def test_what_is_not_a_journal_or_a_newer_one_is_refused_by_name(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(JournalFormatError, match="'journal'"):
        open_journal(tmp_path / "journal")
    journal = open_journal(folder)
    await journal.append(entry("a"))
    await journal.close()
    path = folder / segments(folder)[0]
    block = bytearray(path.read_bytes())
    block[8] = 2
    block[52:56] = isal_zlib.crc32(bytes(block[:52])).to_bytes(4, "little")
    path.write_bytes(block)
    with pytest.raises(JournalFormatError, match="format 2"):
        open_journal(folder)


async def test_a_segment_of_another_journal_is_refused(folder: Path) -> None:
    journal = open_journal(folder)
    await journal.append(entry("a"))
    await journal.close()
    other = folder.with_name("11111111-1111-4111-8111-111111111111")
    other.mkdir()
    (folder / segments(folder)[0]).rename(other / segments(folder)[0])
    with pytest.raises(JournalFormatError, match="elsewhere"):
        open_journal(other)


async def test_close_finishes_what_waits_and_refuses_what_comes(
    folder: Path, reader: FileJournalReader
) -> None:
    journal = open_journal(folder)
    tasks = [asyncio.create_task(journal.append(entry(str(i)))) for i in range(20)]
    await asyncio.sleep(0)
    await journal.close()
    assert read_all(reader) == await asyncio.gather(*tasks)
    assert journal.broken == "the journal was closed"
    with pytest.raises(JournalBrokenError):
        await journal.append(entry("late"))
    await journal.close()


async def test_abort_fails_what_waits(folder: Path) -> None:
    disk = GatedDisk()
    journal = open_journal(folder, disk)
    disk.gate.clear()
    first = asyncio.create_task(journal.append(entry("first")))
    await asyncio.to_thread(disk.reached.wait, 30)
    rest = [asyncio.create_task(journal.append(entry(str(i)))) for i in range(5)]
    await asyncio.sleep(0)
    threading.Timer(0.1, disk.gate.set).start()
    journal.abort()
    assert disk.gate.is_set(), "nothing may be closed under a sync"
    outcomes = await asyncio.gather(first, *rest, return_exceptions=True)
    assert all(isinstance(outcome, JournalBrokenError) for outcome in outcomes)
    assert journal.broken == "the journal was closed"


async def test_a_caller_that_went_away_disturbs_nobody(folder: Path, reader: FileJournalReader) -> None:
    disk = GatedDisk()
    journal = open_journal(folder, disk)
    disk.gate.clear()
    gone = asyncio.create_task(journal.append(entry("gone")))
    stays = asyncio.create_task(journal.append(entry("stays")))
    await asyncio.to_thread(disk.reached.wait, 30)
    gone.cancel()
    await asyncio.sleep(0)
    disk.gate.set()
    record = await stays
    assert read_all(reader)[-1] == record
    await journal.close()


async def test_reading_from_anywhere_in_bounded_pieces(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder, settings=JournalSettings(segment_bytes=64 * 1024))
    records = [await journal.append(entry(str(i), 1000 + i % 7 * 3000)) for i in range(80)]
    for start in (79, 3, 40, 41, 0, 78, 12):
        assert list(reader.read(start, 1 << 30)) == records[start:]
    piece = reader.read(10, 30_000)
    assert list(piece) == records[10 : 10 + len(piece)]
    assert sum(len(record.entry.body) for record in piece[:-1]) < 30_000
    assert len(reader.read(5, 1)) == 1
    assert reader.read(80, 100) == ()
    assert reader.read(1000, 100) == ()
    assert read_all(reader, 1) == records
    late = [await journal.append(entry("late", 64_000)) for _ in range(3)]
    assert list(reader.read(80, 1 << 30)) == late
    assert not reader.damaged()
    await journal.close()


async def test_reading_below_the_start_begins_at_the_start(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder)
    records = [await journal.append(entry(str(i), 50_000)) for i in range(6)]
    reader.trim(4)
    assert list(reader.read(1, 1 << 30)) == records[4:]
    assert not reader.damaged()
    await journal.close()


async def test_reading_on_does_not_begin_at_the_segments_start(
    folder: Path, reader: FileJournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(folder, settings=JournalSettings(segment_bytes=4 << 20))
    records = [await journal.append(entry(str(i), 20_000)) for i in range(60)]
    places: list[int] = []
    pread = os.pread

    def watched(descriptor: int, size: int, position: int) -> bytes:
        places.append(position)
        return pread(descriptor, size, position)

    list(reader.read(0, 20_000 * 40))
    monkeypatch.setattr(os, "pread", watched)
    assert list(reader.read(40, 1 << 30)) == records[40:]
    assert min(places) > 40 * 20_000
    await journal.close()


async def test_nothing_stays_open(folder: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = descriptors()
    for _ in range(3):
        journal = open_journal(folder)
        reader = FileJournalReader(folder)
        await append_all(journal, [entry(str(i), 30_000) for i in range(5)])
        read_all(reader)
        with pytest.raises(JournalLockedError):
            open_journal(folder)
        await journal.close()
        reader.close()
    assert descriptors() == before


async def test_how_many_bytes_wait_to_be_read(folder: Path, reader: FileJournalReader) -> None:
    assert reader.waiting_bytes() == 0
    journal = open_journal(folder)
    for number in range(12):
        await append_all(journal, [entry(str(number), 20_000)])
    left = [reader.waiting_bytes()]
    assert 12 * 20_000 < left[0] < 13 * 20_000
    offset = 0
    while records := reader.read(offset, 1):
        offset = records[-1].offset + 1
        left.append(reader.waiting_bytes())
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    await append_all(journal, [entry("x", 10)])
    assert 0 < reader.waiting_bytes() < 1000
    await journal.close()
