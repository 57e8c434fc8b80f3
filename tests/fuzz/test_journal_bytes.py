"""A journal whose files were changed at random: nothing crashes, nothing wrong is read, what is whole is read."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.clock import ManualClock
from headrace.disk import RealDisk
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.journal.format import HEADER_BYTES
from headrace.journal.model import Entry, JournalFormatError, Record
from headrace.settings import JournalSettings

JOURNAL = "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"
SETTINGS = JournalSettings(segment_bytes=64 * 1024, max_bytes=16 * 1024 * 1024)

Image = dict[str, bytes]


def entry(number: int) -> Entry:
    body = random.Random(number).randbytes(number * 997 % 15_000)
    return Entry(f"r{number}", "", "", "dcr", 1, "s", "gzip", body, len(body), 1)


@cache
def original() -> tuple[Image, tuple[Record, ...]]:
    """The files of a journal of a few segments, as a crash leaves them, and its records."""

    async def fill(folder: Path) -> list[Record]:
        journal = FileJournal.open(folder, SETTINGS, RealDisk(), ManualClock())
        records: list[Record] = []
        for first in range(0, 32, 4):
            group = (journal.append(entry(number)) for number in range(first, first + 4))
            records.extend(await asyncio.gather(*group))
        journal.abort()
        return records

    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "journal" / JOURNAL
        records = asyncio.run(fill(folder))
        image = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in ("", ".seg")}
    return image, tuple(records)


places = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 4), places, st.integers(0, 7)),
        st.tuples(st.just("write"), st.integers(0, 4), places, st.binary(min_size=1, max_size=2000)),
        st.tuples(st.just("cut"), st.integers(0, 4), places, st.none()),
        st.tuples(st.just("copy"), st.integers(0, 4), places, places),
    ),
    min_size=1,
    max_size=5,
)


def change(block: bytearray, kind: str, place: float, what: object) -> None:
    position = int(place * len(block))
    if kind == "flip" and isinstance(what, int) and block:
        block[position] ^= 1 << what
    elif kind == "write" and isinstance(what, bytes):
        block[position : position + len(what)] = what
    elif kind == "cut":
        del block[position:]
    elif kind == "copy" and isinstance(what, float):
        source = int(what * len(block))
        block[position : position + 4000] = block[source : source + 4000]


def damage(folder: Path, image: Image, todo: Sequence[tuple[str, int, float, object]]) -> set[str]:
    """Write the files with changes; the names of those that were changed."""
    folder.mkdir(parents=True)
    names = sorted(image)
    blocks = {name: bytearray(content) for name, content in image.items()}
    touched = set()
    for kind, which, place, what in todo:
        name = names[which % len(names)]
        change(blocks[name], kind, place, what)
        touched.add(name)
    for name, block in blocks.items():
        (folder / name).write_bytes(block)
    return touched


@settings(max_examples=150, deadline=None)
@given(changes, st.booleans())
def test_any_bytes(todo: Sequence[tuple[str, int, float, object]], writer_first: bool) -> None:
    image, records = original()
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "journal" / JOURNAL
        touched = damage(folder, image, todo)
        reader = FileJournalReader(folder)
        if not writer_first:
            reader.read(0, 1 << 30)
        try:
            journal = FileJournal.open(folder, SETTINGS, RealDisk(), ManualClock())
        except JournalFormatError:
            reader.close()
            return
        more = asyncio.run(journal.append(entry(1000)))
        found = list(reader.read(0, 1 << 30))
        assert found[-1] == more
        assert set(found[:-1]) <= set(records)
        assert [record.offset for record in found] == sorted({record.offset for record in found})
        firsts = sorted(int(name[:20]) for name in image if name.endswith(".seg"))
        for first, following in zip(firsts, [*firsts[1:], len(records)], strict=True):
            if f"{first:020d}.seg" not in touched:
                kept = [record for record in found if first <= record.offset < following]
                assert kept == list(records[first:following])
        missing = set(range(more.offset)) - {record.offset for record in found}
        assert missing == {
            offset for part in reader.damaged() for offset in range(part.offset, part.offset + part.count)
        }
        assert len(image["00000000000000000000.seg"]) > HEADER_BYTES
        journal.abort()
        reader.close()
