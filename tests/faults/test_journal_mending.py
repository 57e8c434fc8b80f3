"""A disk that refuses the journal for a while: nothing is acknowledged meanwhile, and then it goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.faults.test_journal_disk import SETTINGS, FailingDisk, entry, read_all

from headrace.clock import ManualClock
from headrace.disk import RealDisk
from headrace.journal.files import FileJournal, FileJournalReader, open_free_journal
from headrace.journal.mending import MendingJournal
from headrace.journal.model import JournalBrokenError, Record

pytestmark = pytest.mark.anyio

REFUSALS = [errno.EROFS, errno.EIO]


class RefusingSystem:
    """The system's calls that write to files, which all fail with an error while it is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        for name in ("pwritev", "pwrite", "write", "ftruncate", "posix_fallocate", "open"):
            self._watch(patch, name)

    def _watch(self, patch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(os, name)

        def call(first: object, *rest: object, **named: object) -> object:
            reads = name == "open" and rest and not int(str(rest[0])) & (os.O_WRONLY | os.O_RDWR)
            if self.error is not None and not reads:
                raise OSError(self.error, os.strerror(self.error))
            return real(first, *rest, **named)

        patch.setattr(os, name, call)


class Parts:
    """A journal that mends itself, how often it was opened, and what it acknowledged."""

    def __init__(self, root: Path, disk: RealDisk) -> None:
        self.opened = 0
        self.kept: list[Record] = []
        self._root = root
        self._disk = disk
        self.journal = MendingJournal(root, self._open, pause=0.01)

    def _open(self) -> FileJournal:
        self.opened += 1
        return open_free_journal(self._root, SETTINGS, self._disk, ManualClock())

    async def send(self, *names: str) -> None:
        for name in names:
            self.kept.append(await self.journal.submit(entry(name, 30_000)))

    async def mended(self) -> None:
        while self.journal.broken is not None:
            await asyncio.sleep(0.01)

    def found(self) -> Sequence[Record]:
        reader = FileJournalReader(self._root / self.journal.journal_id)
        try:
            return read_all(reader)
        finally:
            reader.close()


@asynccontextmanager
async def mending(root: Path, disk: RealDisk | None = None) -> AsyncIterator[Parts]:
    parts = Parts(root, disk or RealDisk())
    task = asyncio.create_task(parts.journal.mend())
    try:
        yield parts
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await parts.journal.close()


@pytest.mark.parametrize("error", REFUSALS)
async def test_a_disk_that_takes_no_write_for_a_while(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = RefusingSystem(monkeypatch)
    async with mending(tmp_path) as parts:
        await parts.send("a", "b", "c")
        system.error = error
        for _ in range(3):
            with pytest.raises(JournalBrokenError, match=os.strerror(error)):
                await parts.send("x")
            await asyncio.sleep(0.05)
        assert parts.journal.broken is not None
        assert parts.opened == 1, "it is opened only when the disk takes data"
        system.error = None
        await parts.mended()
        await parts.send("d", "e", "f")
        assert parts.opened == 2
        assert list(parts.found()) == parts.kept
        assert [record.offset for record in parts.kept] == list(range(6))


@pytest.mark.parametrize("error", REFUSALS)
@pytest.mark.parametrize("site", ["journal.append.file", "journal.roll.dir"])
async def test_a_sync_that_failed_is_not_tried_again_on_that_file(
    error: int, site: str, tmp_path: Path
) -> None:
    """What it should have covered was never acknowledged; it may be there, and then once."""
    disk = FailingDisk(site)
    async with mending(tmp_path, disk) as parts:
        await parts.send("a")
        disk.error = error
        with pytest.raises(JournalBrokenError):
            await parts.send("x", "y", "z")
        disk.error = None
        await parts.mended()
        assert (disk.refused, parts.opened) == (1, 2)
        await parts.send("b", "c")
        found = parts.found()
        assert [record for record in found if record in parts.kept] == parts.kept
        assert set(Counter(record.entry.request_id for record in found).values()) == {1}


async def test_it_breaks_and_mends_again(tmp_path: Path) -> None:
    disk = FailingDisk("journal.append.file")
    async with mending(tmp_path, disk) as parts:
        for name in "abc":
            await parts.send(name)
            disk.error = errno.EROFS
            with pytest.raises(JournalBrokenError):
                await parts.send("x")
            disk.error = None
            await parts.mended()
        found = parts.found()
        assert [record for record in found if record.entry.request_id in "abc"] == parts.kept
        assert parts.opened == 4


@pytest.mark.parametrize("error", [*REFUSALS, errno.EACCES])
@pytest.mark.parametrize("before", [(), ("a", "b")])
async def test_a_disk_that_refuses_at_the_start(
    error: int, before: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there is a journal already or not: nothing is acknowledged until it could be opened."""
    async with mending(tmp_path) as first:
        await first.send(*before)
    system = RefusingSystem(monkeypatch)
    system.error = error
    async with mending(tmp_path) as parts:
        for _ in range(3):
            with pytest.raises(JournalBrokenError, match=os.strerror(error)):
                await parts.send("x")
            await asyncio.sleep(0.02)
        assert (parts.opened, parts.journal.backlog()) == (1, 0)
        system.error = None
        await parts.mended()
        await parts.send("c")
        assert parts.opened == 2
        assert [record.entry.request_id for record in parts.found()] == [*before, "c"]


async def test_one_that_never_opens_closes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RefusingSystem(monkeypatch).error = errno.EROFS
    async with mending(tmp_path) as parts:
        assert parts.journal.broken is not None


async def test_one_that_stays_broken_closes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = RefusingSystem(monkeypatch)
    async with mending(tmp_path) as parts:
        await parts.send("a")
        system.error = errno.EROFS
        with pytest.raises(JournalBrokenError):
            await parts.send("x")
    system.error = None
    assert list(parts.found()) == parts.kept
