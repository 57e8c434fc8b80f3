"""The journal's promise on a disk that forgets, reorders and tears everything that was not synced."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.clock import SECOND, ManualClock
from headrace.journal.files import SITES, FileJournal, FileJournalReader
from headrace.journal.model import DiskFullError, Entry, JournalBrokenError, Record
from headrace.settings import JournalSettings
from headrace.testing.powercut import PowerCut, PowerCutDisk

JOURNAL = "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"
SETTINGS = JournalSettings(segment_bytes=64 * 1024, max_bytes=64 * 1024 * 1024, group_bytes=64 * 1024)


class Violation(AssertionError):
    """A promise was broken."""


class FailingDisk(PowerCutDisk):
    """Can refuse one of the coming syncs."""

    refusal: tuple[int, int] | None = None
    """How many syncs until then, and the error's number."""

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        self._refuse()
        super().sync_file(path, site, fd)

    def sync_dir(self, path: Path, site: str) -> None:
        self._refuse()
        super().sync_dir(path, site)

    def _refuse(self) -> None:
        if self.refusal is None:
            return
        left, number = self.refusal
        self.refusal = (left - 1, number) if left else None
        if not left:
            raise OSError(number, os.strerror(number))


class World:
    """A writer and a reader on a disk that can fail, with all that was promised so far."""

    def __init__(self, base: Path, without: frozenset[str] = frozenset()) -> None:
        root = base / "data"
        root.mkdir()
        self.disk = FailingDisk(root, without=without)
        self.folder = root / "journal" / JOURNAL
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.sent: dict[str, Entry] = {}
        self.promised: dict[int, Record] = {}
        self.trimmed = 0
        self.journal: FileJournal | None = None
        self.reader = FileJournalReader(self.folder, self.disk)

    def close(self) -> None:
        self.stop()
        self.runner.close()
        self.disk.close()

    def stop(self) -> None:
        if self.journal is not None:
            self.journal.abort()
            self.journal = None
        self.reader.close()

    def open(self) -> None:
        """Open, if it is not, and look at everything; what can be read is promised from now on."""
        if self.journal is not None:
            return
        self.reader = FileJournalReader(self.folder, self.disk)
        try:
            self.journal = FileJournal.open(self.folder, SETTINGS, self.disk, self.clock)
        except (PowerCut, OSError):
            self.crash(None)
            return
        self.check()

    def check(self) -> None:
        start, end = self.reader.start(), self.reader.end()
        found: list[Record] = []
        while (offset := found[-1].offset + 1 if found else start) < end:
            records = self.reader.read(offset, 50_000)
            if not records:
                raise Violation(f"{offset} cannot be read, the end is {end}")
            found.extend(records)
        if [record.offset for record in found] != list(range(start, end)):
            raise Violation(f"offsets from {start} to {end} are not {[r.offset for r in found]}")
        if any(later.received < earlier.received for earlier, later in pairwise(found)):
            raise Violation("received time goes back")
        if start > self.trimmed:
            raise Violation(f"starts at {start}, trimmed only to {self.trimmed}")
        for record in found:
            if record != self.promised.get(record.offset, record):
                raise Violation(f"{record.offset} is not what was acknowledged")
            if record.entry != self.sent.get(record.entry.request_id):
                raise Violation(f"{record.offset} was never sent like this")
        lost = [offset for offset in self.promised if offset >= end]
        if lost:
            raise Violation(f"lost {lost}")
        self.promised.update((record.offset, record) for record in found)

    def append(self, sizes: Sequence[int]) -> None:
        if self.journal is None:
            self.open()
        journal = self.journal
        if journal is None:
            return
        entries = [self.entry(size) for size in sizes]

        async def all_at_once() -> list[Record | BaseException]:
            return await asyncio.gather(*map(journal.append, entries), return_exceptions=True)

        broken = False
        for answer in self.runner.run(all_at_once()):
            if isinstance(answer, Record):
                if answer.offset in self.promised:
                    raise Violation(f"{answer.offset} was given twice")
                self.promised[answer.offset] = answer
            elif isinstance(answer, JournalBrokenError):
                broken = True
            elif not isinstance(answer, DiskFullError):
                raise answer
        if broken:
            self.crash(None)

    def entry(self, size: int) -> Entry:
        name = f"r{len(self.sent)}"
        body = random.Random(name).randbytes(size)
        entry = Entry(name, "", "who", "dcr-1", 3, "Custom-A", "gzip", body, size * 5, 7)
        self.sent[name] = entry
        return entry

    def trim(self, share: float) -> None:
        if self.journal is None:
            return
        start, end = self.reader.start(), self.reader.end()
        offset = start + round((end - start) * share)
        self.trimmed = max(self.trimmed, offset)
        try:
            self.reader.trim(offset)
        except PowerCut:
            self.crash(None)
        except OSError:
            return

    def crash(self, seed: int | None) -> None:
        """The process dies and starts again; with a seed, the power fails as well."""
        self.stop()
        self.disk.restart()
        self.disk.refusal = None
        if seed is not None:
            self.disk.cut(seed)

    def arm(self, syncs: int, after: bool) -> None:
        self.disk.arm(syncs, after=after)

    def refuse(self, syncs: int, number: int) -> None:
        self.disk.refusal = (syncs, number)

    def set_clock(self, seconds: int) -> None:
        self.clock.advance(seconds * SECOND)


Step = tuple[str, tuple[Any, ...]]

steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("append"), st.tuples(st.lists(st.integers(0, 30_000), min_size=1, max_size=6))),
    st.just(("append", ([90_000],))),
    st.tuples(st.just("trim"), st.tuples(st.floats(0, 1))),
    st.tuples(st.just("crash"), st.tuples(st.none() | st.integers(0, 2**32))),
    st.tuples(st.just("open"), st.just(())),
    st.tuples(st.just("arm"), st.tuples(st.integers(0, 6), st.booleans())),
    st.tuples(st.just("refuse"), st.tuples(st.integers(0, 6), st.sampled_from((errno.EIO, errno.ENOSPC)))),
    st.tuples(st.just("set_clock"), st.tuples(st.integers(-5000, 5000))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, min_size=3, max_size=16), st.integers(0, 2**32))
def test_what_was_acknowledged_survives(todo: list[Step], seed: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        world = World(Path(base))
        try:
            for step, arguments in todo:
                getattr(world, step)(*arguments)
            for last in (seed, seed + 1):
                world.crash(last)
                world.open()
        finally:
            world.close()


def drive(world: World, rng: random.Random) -> None:
    """A random life of a journal with crashes of the process and of the machine."""
    for _ in range(rng.randint(1, 8)):
        kind = rng.random()
        if kind < 0.4:
            world.append([rng.randint(0, 30_000) for _ in range(rng.randint(1, 6))])
        elif kind < 0.6:
            world.trim(rng.random())
        elif kind < 0.9:
            world.open()
            world.arm(rng.randint(0, 3), rng.random() < 0.5)
            world.append([rng.randint(0, 30_000)])
            world.crash(None)
            world.open()
        else:
            world.crash(rng.getrandbits(32))
    for _ in range(2):
        world.crash(rng.getrandbits(32))
        world.open()


def violated(base: Path, without: frozenset[str], seeds: range) -> bool:
    for seed in seeds:
        folder = base / str(seed)
        folder.mkdir()
        world = World(folder, without)
        try:
            drive(world, random.Random(seed))
        except Violation:
            return True
        finally:
            world.close()
    return False


@pytest.mark.parametrize("site", sorted(SITES))
def test_every_sync_is_needed(site: str, tmp_path: Path) -> None:
    assert violated(tmp_path, frozenset({site}), range(400))


def test_the_lives_that_prove_it_are_harmless_with_all_syncs(tmp_path: Path) -> None:
    assert not violated(tmp_path, frozenset(), range(60))


def test_no_sync_is_unknown(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.open()
        for _ in range(3):
            world.append([30_000] * 5)
            world.crash(None)
            world.open()
            world.trim(1.0)
        assert set(world.disk.sites) == SITES
    finally:
        world.close()
