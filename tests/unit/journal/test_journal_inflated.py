from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.clock import ManualClock
from headrace.disk import RealDisk
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.journal.inflated import INFLATED_NAME, SMALLEST_BYTES, InflatedReader, InflatedWriter
from headrace.journal.model import Entry
from headrace.settings import JournalSettings

KIB = 1024

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="memory is shared by memfd_create, which only Linux has"
)


def content(number: int, size: int = SMALLEST_BYTES) -> bytes:
    """Bytes that tell their number everywhere."""
    return (b"%08d" % number * (size // 8 + 1))[:size]


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def writer(folder: Path, size: int = 64 * KIB) -> InflatedWriter:
    made = InflatedWriter.create(folder, size)
    assert made is not None
    return made


def leave(ring: InflatedWriter, offset: int, data: bytes) -> None:
    begin = ring.keep(data)
    assert begin is not None
    ring.name(offset, begin)


def find(reader: InflatedReader, offset: int, data: bytes) -> bytes | None:
    return reader.find(offset, len(data), packed(data))


def test_a_reader_finds_what_was_left(tmp_path: Path) -> None:
    ring, reader = writer(tmp_path), InflatedReader(tmp_path)
    bodies = {7: content(7), 8: content(8, 10_001), 9: content(9, 16 * KIB)}
    for offset, data in bodies.items():
        leave(ring, offset, data)
    for offset, data in bodies.items():
        assert find(reader, offset, data) == data
    assert find(reader, 10, content(10)) is None


def test_another_process_finds_it(tmp_path: Path) -> None:
    ring = writer(tmp_path)
    leave(ring, 3, content(3))
    (tmp_path / "body").write_bytes(packed(content(3)))
    program = f"""
import sys
from pathlib import Path
from headrace.journal.inflated import InflatedReader
folder = Path(sys.argv[1])
found = InflatedReader(folder).find(3, {SMALLEST_BYTES}, (folder / "body").read_bytes())
sys.stdout.buffer.write(found or b"nothing")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True, timeout=60
    )
    assert done.stdout == content(3)
    ring.close()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True, timeout=60
    )
    assert done.stdout == b"nothing"


def test_what_is_overwritten_is_not_found(tmp_path: Path) -> None:
    ring, reader = writer(tmp_path, 64 * KIB), InflatedReader(tmp_path)
    for offset in range(9):
        leave(ring, offset, content(offset))
    assert find(reader, 0, content(0)) is None
    assert all(find(reader, offset, content(offset)) == content(offset) for offset in range(1, 9))
    # Said to be there, and is not any more: the next body has not got its name yet.
    ring.keep(content(9))
    assert find(reader, 1, content(1)) is None


def test_what_does_not_fit_the_checksum_is_not_taken(tmp_path: Path) -> None:
    ring, reader = writer(tmp_path), InflatedReader(tmp_path)
    leave(ring, 0, content(0))
    assert reader.find(0, SMALLEST_BYTES, packed(content(1))) is None
    assert reader.find(0, SMALLEST_BYTES, b"") is None
    assert find(reader, 0, content(0)) == content(0)


@pytest.mark.parametrize("size", [0, SMALLEST_BYTES - 1, 16 * KIB + 1])
def test_bodies_too_small_or_too_large_are_not_kept(tmp_path: Path, size: int) -> None:
    assert writer(tmp_path, 64 * KIB).keep(b"x" * size) is None


def test_no_memory_is_an_ordinary_case(tmp_path: Path) -> None:
    assert InflatedWriter.create(tmp_path, 0) is None
    assert not (tmp_path / INFLATED_NAME).exists()
    assert find(InflatedReader(tmp_path), 0, content(0)) is None


@pytest.mark.parametrize(
    "place", ["", "/nowhere\nff\n", "/proc/self/fd/0", f"{os.devnull}\nnonce", f"{os.devnull}\n00\n", "é"]
)
def test_a_broken_or_old_place_is_an_ordinary_case(tmp_path: Path, place: str) -> None:
    (tmp_path / INFLATED_NAME).write_text(place, encoding="latin-1")
    assert find(InflatedReader(tmp_path), 0, content(0)) is None


def test_a_place_that_is_a_pipe_does_not_hold_the_reader_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / INFLATED_NAME).write_text(f"{tmp_path / 'pipe'}\n00\n", encoding="ascii")
    assert find(InflatedReader(tmp_path), 0, content(0)) is None


def test_a_writer_that_starts_again_is_found(tmp_path: Path) -> None:
    now = 0.0
    first = writer(tmp_path)
    reader = InflatedReader(tmp_path, lambda: now)
    leave(first, 0, content(0))
    assert find(reader, 0, content(0)) == content(0)
    first.close()
    second = writer(tmp_path)
    leave(second, 1, content(1))
    assert find(reader, 1, content(1)) is None
    assert find(reader, 0, content(0)) == content(0)
    now = 1.0
    assert find(reader, 1, content(1)) == content(1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(SMALLEST_BYTES, 16 * KIB), st.booleans()), min_size=1, max_size=30))
def test_what_is_found_is_always_right(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[tuple[int, bool]]
) -> None:
    """Whatever is kept, with a name or without; and the last two that fit are always there."""
    folder = tmp_path_factory.mktemp("ring")
    ring, reader = writer(folder, 64 * KIB), InflatedReader(folder)
    named: dict[int, bytes] = {}
    for offset, (size, has_name) in enumerate(bodies):
        data = content(offset, size)
        if has_name:
            leave(ring, offset, data)
            named[offset] = data
        else:
            ring.keep(data)
        for asked, wanted in named.items():
            found = find(reader, asked, wanted)
            assert found == wanted or (found is None and asked < offset - 1)
    ring.close()


def test_bodies_that_are_overwritten_while_they_are_read(tmp_path: Path) -> None:
    ring, reader = writer(tmp_path, 64 * KIB), InflatedReader(tmp_path)
    bodies = [content(number, 16 * KIB) for number in range(64)]
    wires = [packed(data) for data in bodies]
    done = threading.Event()
    last = 0

    def write() -> None:
        nonlocal last
        for offset in range(20_000):
            leave(ring, offset, bodies[offset % 64])
            last = offset
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    found = 0
    while not done.is_set():
        asked = max(last - 2, 0)
        data = reader.find(asked, 16 * KIB, wires[asked % 64])
        assert data is None or data == bodies[asked % 64]
        found += data is not None
    thread.join()
    assert reader.find(19_999, 16 * KIB, wires[19_999 % 64]) == bodies[19_999 % 64]


@pytest.mark.anyio
async def test_a_journal_hands_inflated_bodies_to_its_readers(tmp_path: Path) -> None:
    folder = tmp_path / "00000000-0000-4000-8000-000000000001"
    data = content(1, 20_000)
    entry = Entry("r", "", "p", "dcr", 1, "Custom-A", "gzip", packed(data), len(data), 1)
    journal = FileJournal.open(folder, JournalSettings(), RealDisk(), ManualClock())
    await journal.submit(entry, data)
    await journal.submit(entry)
    reader = FileJournalReader(folder)
    with_memory, without = reader.read(0, 1 << 20)
    assert with_memory.inflated() == data
    assert without.inflated() is None
    assert with_memory.entry == without.entry == entry
    held, as_before = with_memory.holding(), without.holding()
    await journal.close()
    assert not (folder / INFLATED_NAME).exists()
    again = FileJournal.open(folder, JournalSettings(), RealDisk(), ManualClock())
    assert FileJournalReader(folder).read(0, 1 << 20)[0].inflated() is None
    await again.close()
    reader.close()
    assert held.inflated() == data, "it does not go with the writer's memory"
    assert as_before.inflated() is None
