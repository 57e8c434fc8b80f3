"""The journal on disks that refuse, fill up, or change what they were given."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.clock import ManualClock
from headrace.disk import Disk, RealDisk
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.journal.format import HEADER_BYTES
from headrace.journal.model import (
    DiskFullError,
    Entry,
    JournalBrokenError,
    JournalFullError,
    Record,
)
from headrace.journal.segments import preallocate
from headrace.journal.syncs import KernelCalls, KernelSyncs, ThreadSyncs
from headrace.settings import JournalSettings
from headrace.testing.powercut import PowerCut

pytestmark = pytest.mark.anyio

SETTINGS = JournalSettings(segment_bytes=64 * 1024, max_bytes=16 * 1024 * 1024, group_bytes=256 * 1024)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"


@pytest.fixture
def reader(folder: Path) -> Iterator[FileJournalReader]:
    reader = FileJournalReader(folder)
    yield reader
    reader.close()


class FailingDisk(RealDisk):
    """Refuses the syncs of one site with an error, while it is set."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.error: int | None = None
        self.refused = 0

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        self._refuse(site)
        super().sync_file(path, site, fd)

    def sync_dir(self, path: Path, site: str) -> None:
        self._refuse(site)
        super().sync_dir(path, site)

    def _refuse(self, site: str) -> None:
        if site == self.site and self.error is not None:
            self.refused += 1
            raise OSError(self.error, os.strerror(self.error))


def entry(name: str, size: int = 1000) -> Entry:
    return Entry(name, "", "who", "dcr-1", 1, "Custom-A", "", (name.encode() * size)[:size], size, 1)


def open_journal(
    folder: Path, disk: Disk | None = None, allocate: Callable[[int, int], None] = preallocate
) -> FileJournal:
    return FileJournal.open(folder, SETTINGS, disk or RealDisk(), ManualClock(), allocate=allocate)


def read_all(reader: FileJournalReader) -> list[Record]:
    return list(reader.read(reader.start(), 1 << 30))


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


@pytest.mark.parametrize("site", ["journal.append.file", "journal.roll.dir"])
async def test_a_failed_sync_is_never_tried_again(site: str, folder: Path, reader: FileJournalReader) -> None:
    disk = FailingDisk(site)
    journal = open_journal(folder, disk)
    kept = [await journal.append(entry("a", 60_000))]
    disk.error = errno.EIO
    answers = await asyncio.gather(
        *(journal.append(entry(f"b{i}", 60_000)) for i in range(5)), return_exceptions=True
    )
    assert all(isinstance(answer, JournalBrokenError) for answer in answers)
    disk.error = None
    for _ in range(3):
        with pytest.raises(JournalBrokenError, match="Input/output error"):
            await journal.append(entry("c"))
    assert disk.refused == 1
    assert journal.broken is not None
    assert read_all(reader) == kept
    await journal.close()
    journal = open_journal(folder)
    kept.append(await journal.append(entry("d")))
    found = read_all(reader)
    assert [record for record in found if record.entry.request_id in "ad"] == kept
    await journal.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux syncs in the background")
async def test_a_sync_that_fails_in_the_kernel_is_never_tried_again(
    folder: Path, reader: FileJournalReader
) -> None:
    class FailingCalls(KernelCalls):
        asked = 0
        error = 0

        def begin(self, descriptor: int) -> None:
            self.asked += 1
            super().begin(descriptor)

        def result(self) -> int:
            return super().result() or self.error

    calls = FailingCalls()
    journal = FileJournal.open(
        folder,
        SETTINGS,
        RealDisk(),
        ManualClock(),
        syncs=lambda disk, _: KernelSyncs(calls, ThreadSyncs(disk)),
    )
    kept = [await journal.append(entry("a"))]
    calls.error = errno.EIO
    answers = await asyncio.gather(*(journal.append(entry(name)) for name in "bc"), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["the disk refused a write: Input/output error"] * 2
    calls.error = 0
    with pytest.raises(JournalBrokenError):
        await journal.append(entry("d"))
    assert calls.asked == 2
    assert read_all(reader) == kept
    await journal.close()


async def test_records_of_a_failed_sync_are_written_anew_before_they_count(folder: Path) -> None:
    disk = FailingDisk("journal.append.file")
    journal = open_journal(folder, disk)
    await journal.append(entry("a", 10_000))
    first = segments(folder)[0]
    disk.error = errno.EIO
    with pytest.raises(JournalBrokenError):
        await journal.append(entry("b", 10_000))
    journal.abort()
    written: list[tuple[int, int]] = []
    pwrite = os.pwrite

    def watched(descriptor: int, data: bytes, position: int) -> int:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == first.resolve():
            written.append((position, len(data)))
        return pwrite(descriptor, data, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", watched)
        journal = open_journal(folder)
    await journal.close()
    ((position, size),) = written
    assert HEADER_BYTES + 10_000 < position < HEADER_BYTES + 10_400
    assert 10_000 < size < 10_400


async def test_a_failed_write_breaks_the_journal(
    folder: Path, reader: FileJournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(folder)
    kept = [await journal.append(entry("a"))]

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(os, "pwritev", refuse)
    with pytest.raises(JournalBrokenError):
        await journal.append(entry("b"))
    monkeypatch.undo()
    with pytest.raises(JournalBrokenError):
        await journal.append(entry("c"))
    assert read_all(reader) == kept
    await journal.close()


async def test_short_writes_are_carried_on(
    folder: Path, reader: FileJournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(descriptor: int, buffers: list[bytes], position: int) -> int:
        return os.pwrite(descriptor, b"".join(buffers)[:777], position)

    monkeypatch.setattr(os, "pwritev", short)
    journal = open_journal(folder)
    records = await asyncio.gather(*(journal.append(entry(f"{i}", i * 100)) for i in range(40)))
    assert read_all(reader) == records
    await journal.close()


async def test_no_room_for_the_next_segment(folder: Path, reader: FileJournalReader) -> None:
    full = False

    def allocate(descriptor: int, size: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        preallocate(descriptor, size)

    journal = open_journal(folder, allocate=allocate)
    kept = [await journal.append(entry("a", 50_000))]
    full = True
    # The spare that was made ahead is used up first.
    with pytest.raises(DiskFullError) as refused:
        for i in range(3):
            kept.append(await journal.append(entry(f"b{i}", 50_000)))
    assert isinstance(refused.value, JournalFullError)
    assert refused.value.retry_after > 0
    kept.append(await journal.append(entry("small")))
    for _ in range(2):
        with pytest.raises(DiskFullError):
            await journal.append(entry("c", 50_000))
    full = False
    kept.append(await journal.append(entry("d", 50_000)))
    assert journal.broken is None
    assert [record.offset for record in kept] == list(range(len(kept)))
    assert read_all(reader) == kept
    await journal.close()
    assert [path.name for path in folder.iterdir() if path.name.startswith("spare")] == []


@pytest.mark.parametrize(
    ("site", "size"),
    [("journal.append.file", 1000), ("journal.append.file", 60_000), ("journal.roll.dir", 60_000)],
)
async def test_no_room_at_a_sync_ends_that_segment(
    site: str, size: int, folder: Path, reader: FileJournalReader
) -> None:
    disk = FailingDisk(site)
    journal = open_journal(folder, disk)
    kept = [await journal.append(entry("a", 60_000))]
    disk.error = errno.ENOSPC
    with pytest.raises(DiskFullError):
        await journal.append(entry("b", size))
    disk.error = None
    kept.append(await journal.append(entry("c")))
    kept.append(await journal.append(entry("d")))
    assert read_all(reader) == kept
    assert [path.stat().st_size == 64 * 1024 for path in segments(folder)] == [size > 1000, True]
    await journal.close()
    journal = open_journal(folder)
    assert read_all(reader) == kept
    await journal.close()


async def test_what_follows_the_end_after_a_crash_is_cut_off(folder: Path) -> None:
    journal = open_journal(folder)
    await journal.append(entry("a", 1000))
    journal.abort()
    path = segments(folder)[0]
    assert path.stat().st_size == 64 * 1024
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 2000)
        file.write(os.urandom(3000))
    journal = open_journal(folder)
    await journal.close()
    assert HEADER_BYTES + 1000 < path.stat().st_size < HEADER_BYTES + 1100


async def test_a_segment_that_is_not_durable_yet_lets_none_before_it_be_trimmed(
    folder: Path, reader: FileJournalReader
) -> None:
    at_the_sync: list[tuple[int, int]] = []

    class TrimmingDisk(RealDisk):
        def sync_dir(self, path: Path, site: str) -> None:
            if site == "journal.roll.dir":
                reader.trim(1 << 40)
                at_the_sync.append((reader.start(), len(segments(folder))))
            super().sync_dir(path, site)

    journal = open_journal(folder, TrimmingDisk())
    for name in "abc":
        await journal.append(entry(name, 60_000))
    assert at_the_sync == [(0, 1), (0, 2), (1, 2)]
    await journal.close()


async def test_no_segment_is_written_into_before_its_trimming_is_durable(
    folder: Path, reader: FileJournalReader
) -> None:
    at_the_sync: list[list[str]] = []

    class LookingDisk(RealDisk):
        def sync_dir(self, path: Path, site: str) -> None:
            if site == "journal.trim.dir":
                # A writer that rolls just now takes no file for a new segment that could be the old one again.
                at_the_sync.append([*map(str, folder.glob("used.*"))])
            super().sync_dir(path, site)

    journal = open_journal(folder)
    for name in "abc":
        await journal.append(entry(name, 60_000))
    FileJournalReader(folder, LookingDisk()).trim(1)
    assert at_the_sync == [[]]
    assert len(list(folder.glob("used.*"))) == 1
    await journal.close()


async def test_a_trim_that_a_crash_cut_short_is_finished_by_the_next_writer(folder: Path) -> None:
    class CrashingDisk(RealDisk):
        def sync_dir(self, path: Path, site: str) -> None:
            if site == "journal.trim.dir":
                raise PowerCut

    journal = open_journal(folder)
    records = [await journal.append(entry(name, 60_000)) for name in "abc"]
    with pytest.raises(PowerCut):
        FileJournalReader(folder, CrashingDisk()).trim(1)
    assert len(list(folder.glob("trimmed.*"))) == 1
    journal.abort()
    journal = open_journal(folder)
    assert not list(folder.glob("trimmed.*"))
    fresh = FileJournalReader(folder)
    assert read_all(fresh) == records[1:]
    fresh.close()
    await journal.close()


async def test_what_a_refused_write_left_behind_is_no_record(folder: Path, reader: FileJournalReader) -> None:
    disk = FailingDisk("journal.append.file")
    journal = open_journal(folder, disk)
    kept = [await journal.append(entry("a"))]
    copy = segments(folder)[0]
    disk.error = errno.ENOSPC
    with pytest.raises(DiskFullError):
        await journal.append(entry("b"))
    disk.error = None
    kept.append(await journal.append(entry("c")))
    await journal.close()
    # As if the power failed and the cut-off bytes came back: a frame of `b`, at the offset that `c` has.
    other = folder.with_name("22222222-2222-4222-8222-222222222222")
    rewritten = FailingDisk("journal.append.file")
    second = open_journal(other, rewritten)
    await second.append(entry("a"))
    rewritten.error = errno.EIO
    with pytest.raises(JournalBrokenError):
        await second.append(entry("b"))
    second.abort()
    stale = bytearray(segments(other)[0].read_bytes())
    stale[:HEADER_BYTES] = b"\0" * HEADER_BYTES
    copy.write_bytes(stale)
    fresh = FileJournalReader(folder)
    assert [record.entry for record in read_all(fresh)] == [record.entry for record in kept]
    fresh.close()
    assert read_all(reader)[-1] == kept[-1]


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
async def test_a_disk_that_is_really_full() -> None:
    script = """
        import asyncio, pathlib, sys
        from headrace.clock import SystemClock
        from headrace.disk import RealDisk
        from headrace.journal.files import FileJournal, FileJournalReader
        from headrace.journal.model import DiskFullError, Entry
        from headrace.settings import JournalSettings

        root = pathlib.Path(sys.argv[1])
        folder = root / "journal" / "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"

        async def main():
            settings = JournalSettings(segment_bytes=64 * 1024)
            journal = FileJournal.open(folder, settings, RealDisk(), SystemClock())
            kept, refused = [], 0
            (root / "ballast").write_bytes(bytes(512 * 1024))
            while refused < 3:
                entry = Entry(str(len(kept)), "", "", "", 1, "", "", b"x" * 20_000, 1, 1)
                try:
                    kept.append(await journal.append(entry))
                except DiskFullError:
                    refused += 1
            (root / "ballast").unlink()
            for _ in range(5):
                kept.append(await journal.append(entry))
            reader = FileJournalReader(folder)
            assert list(reader.read(0, 1 << 30)) == kept
            assert not reader.damaged()
            await journal.close()
            journal = FileJournal.open(folder, settings, RealDisk(), SystemClock())
            assert list(reader.read(0, 1 << 30)) == kept
            await journal.close()
            reader.close()
            print(len(kept))

        asyncio.run(main())
    """
    mounted = "mount -t tmpfs -o size=1m tmpfs /mnt || exit 77; exec "
    outcome = await asyncio.to_thread(
        subprocess.run,
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            mounted + '"$@"',
            "sh",
            sys.executable,
            "-c",
            textwrap.dedent(script),
            "/mnt",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if outcome.returncode == 77 or "unshare" in outcome.stderr:
        pytest.skip("no right to mount a small disk")
    assert outcome.returncode == 0, outcome.stderr
    assert 15 < int(outcome.stdout) < 50


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))


async def filled(folder: Path, count: int = 10, size: int = 20_000) -> list[Record]:
    """Three records in each segment but the last."""
    journal = open_journal(folder)
    records = [await journal.append(entry(f"{i}", size)) for i in range(count)]
    await journal.close()
    return records


@pytest.mark.parametrize("place", [0, 8, 16, 24, 32, 36, 40, 44, 60, 10_000])
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_flipped_bit_costs_one_record_and_is_told(
    place: int, which: int, folder: Path, reader: FileJournalReader
) -> None:
    records = await filled(folder)
    size = segments(folder)[-1].stat().st_size - HEADER_BYTES
    flip(segments(folder)[1], HEADER_BYTES + which * size + place)
    damaged = 3 + which
    assert read_all(reader) == records[:damaged] + records[damaged + 1 :]
    (damage,) = reader.damaged()
    assert (damage.offset, damage.count, damage.segment) == (damaged, 1, f"{3:020d}.seg")
    assert damage.position == HEADER_BYTES + which * size
    assert list(reader.read(damaged, 1)) == [records[damaged + 1]]
    assert list(reader.read(damaged + 1, 1)) == [records[damaged + 1]]
    assert len(reader.damaged()) == 1
    assert [reader.readable(offset) for offset in (damaged - 1, damaged, damaged + 1)] == [
        damaged - 1,
        damaged + 1,
        damaged + 1,
    ]


async def test_a_damaged_header_costs_nothing(folder: Path, reader: FileJournalReader) -> None:
    records = await filled(folder)
    for path in segments(folder):
        flip(path, 20)
    assert read_all(reader) == records
    journal = open_journal(folder)
    records.append(await journal.append(entry("more")))
    assert read_all(reader) == records
    await journal.close()


async def test_a_segment_that_is_gone_or_all_damaged(folder: Path, reader: FileJournalReader) -> None:
    records = await filled(folder)
    segments(folder)[2].write_bytes(os.urandom(70_000))
    segments(folder)[1].unlink()
    assert read_all(reader) == records[:3] + records[9:]
    assert sum(damage.count for damage in reader.damaged()) == 6
    assert (reader.readable(3), reader.readable(8)) == (9, 9)
    reader.trim(9)
    assert reader.start() == 9


async def test_damage_among_what_was_published_is_not_a_torn_tail(
    folder: Path, reader: FileJournalReader
) -> None:
    journal = open_journal(folder)
    records = await asyncio.gather(*(journal.append(entry(f"{i}", 3000)) for i in range(10)))
    journal.abort()
    frame = 3000 + 60
    flip(segments(folder)[0], HEADER_BYTES + 4 * frame)
    journal = open_journal(folder)
    records.append(await journal.append(entry("next")))
    found = read_all(reader)
    assert records[-1].offset == 10
    assert len(found) == 10
    assert [record for record in records if record not in found] == [records[reader.damaged()[0].offset]]
    await journal.close()


async def test_damage_below_a_later_group_is_not_a_torn_tail(folder: Path, reader: FileJournalReader) -> None:
    journal = open_journal(folder)
    records = [await journal.append(entry(f"{i}", 3000)) for i in range(10)]
    journal.abort()
    (folder / "end").unlink()
    flip(segments(folder)[0], HEADER_BYTES + 3000)
    journal = open_journal(folder)
    assert read_all(reader) == records[1:]
    assert (await journal.append(entry("next"))).offset == 10
    await journal.close()


async def test_when_the_last_records_are_damaged_reading_goes_on_with_the_next(
    folder: Path, reader: FileJournalReader
) -> None:
    journal = open_journal(folder)
    records = [await journal.append(entry(f"{i}", 3000)) for i in range(5)]
    for position in (10_000, 14_000):
        flip(segments(folder)[0], HEADER_BYTES + position)
    assert list(reader.read(0, 1 << 30)) == records[:3]
    assert (reader.read(3, 1 << 30), reader.readable(3), reader.end()) == ([], 5, 5)
    more = await journal.append(entry("more"))
    assert list(reader.read(3, 1 << 30)) == list(reader.read(5, 1 << 30)) == [more]
    await journal.close()


async def test_the_last_record_flipped_or_cut_anywhere(folder: Path) -> None:
    """Whatever became of the last record, those before it are there and the next one follows."""
    await filled(folder, 2, 700)
    image = segments(folder)[0].read_bytes()
    end = (folder / "end").read_bytes()
    one = (len(image) - HEADER_BYTES) // 2
    for place in range(HEADER_BYTES + one, len(image), 41):
        for published in (end, b""):
            for cut in (False, True):
                for path in segments(folder):
                    path.unlink()
                segments_0 = folder / f"{0:020d}.seg"
                segments_0.write_bytes(image[:place] if cut else image)
                if not cut:
                    flip(segments_0, place)
                (folder / "end").write_bytes(published)
                reader = FileJournalReader(folder)
                journal = open_journal(folder)
                more = await journal.append(entry("more"))
                found = read_all(reader)
                assert [record.entry.request_id for record in found] == ["0", "more"]
                assert more.offset == (2 if published else 1)
                assert len(reader.damaged()) == (1 if published else 0)
                await journal.close()
                reader.close()


async def test_a_sector_that_cannot_be_read_is_damage(
    folder: Path, reader: FileJournalReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = await filled(folder)
    pread = os.pread
    bad = HEADER_BYTES + 45_000

    def failing(descriptor: int, size: int, position: int) -> bytes:
        if position <= bad < position + size:
            raise OSError(errno.EIO, "unreadable")
        return pread(descriptor, size, position)

    monkeypatch.setattr(os, "pread", failing)
    found = read_all(reader)
    assert found[:2] == records[:2]
    assert found[-1] == records[-1]
    assert sum(damage.count for damage in reader.damaged()) == len(records) - len(found)


async def test_a_read_only_folder_cannot_be_opened(folder: Path) -> None:
    await filled(folder)
    disk = FailingDisk("journal.recover.dir")
    disk.error = errno.EROFS
    with pytest.raises(OSError, match="Read-only"):
        open_journal(folder, disk)
    journal = open_journal(folder)
    await journal.close()


@pytest.mark.parametrize("kept", ["end", "nothing"])
async def test_offsets_of_a_segment_that_is_lost_are_not_given_again(
    folder: Path, reader: FileJournalReader, kept: str
) -> None:
    """A table that has rows of theirs would take new ones for the same."""
    journal = open_journal(folder)
    for name in "abc":
        await journal.append(entry(name))
    await journal.close()
    (path,) = segments(folder)
    path.write_bytes(bytes(path.stat().st_size))
    if kept == "nothing":
        (folder / "end").write_bytes(bytes(64))
    journal = open_journal(folder)
    found = await journal.append(entry("d"))
    await journal.close()
    assert found.offset == 3 if kept == "end" else found.offset >= 3
    records: list[Record] = []
    offset = reader.start()
    while offset < reader.end():
        part = reader.read(offset, 1 << 30)
        records += part
        offset = part[-1].offset + 1 if part else reader.readable(offset)
    assert records == [found]
    assert sum(damage.count for damage in reader.damaged()) == found.offset
