"""Real processes: a writer that is killed at random moments, a reader beside it that never sees too much."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from headrace.clock import SystemClock
from headrace.disk import RealDisk
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.settings import JournalSettings

JOURNAL = "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"
ROUNDS = 8

WRITER = """
    import asyncio, pathlib, random, sys
    from headrace.clock import SystemClock
    from headrace.disk import RealDisk
    from headrace.journal.files import FileJournal
    from headrace.journal.model import Entry
    from headrace.journal.syncs import best_syncs, thread_syncs
    from headrace.settings import JournalSettings

    async def connection(journal, name, seed):
        rng = random.Random(f"{name}{seed}")
        for number in range(1_000_000):
            body = rng.randbytes(rng.choice((10, 2_000, 30_000)))
            entry = Entry(f"{name}-{seed}-{number}", "", "", "dcr", 1, "s", "", body, len(body), 1)
            record = await journal.append(entry)
            sys.stdout.write(f"{record.offset} {entry.request_id} {len(body)}\\n")
            sys.stdout.flush()

    async def main(folder, seed):
        settings = JournalSettings(segment_bytes=256 * 1024)
        syncs = best_syncs if int(seed) % 2 else thread_syncs
        journal = FileJournal.open(folder, settings, RealDisk(), SystemClock(), syncs=syncs)
        print("open", flush=True)
        await asyncio.gather(*(connection(journal, name, seed) for name in "abcd"))

    asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
"""

READER = """
    import pathlib, sys, time
    from headrace.journal.files import FileJournalReader

    reader = FileJournalReader(pathlib.Path(sys.argv[1]))
    stop = pathlib.Path(sys.argv[2])
    offset = 0
    while True:
        last = stop.exists()
        while records := reader.read(offset, 1 << 20):
            for record in records:
                sys.stdout.write(f"{record.offset} {record.entry.request_id} {len(record.entry.body)}\\n")
            offset = records[-1].offset + 1
        if last:
            break
        time.sleep(0.001)
    assert not reader.damaged(), reader.damaged()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_at_random_moments_loses_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "journal" / JOURNAL
    stop = tmp_path / "stop"
    rng = random.Random(7)
    acknowledged: list[str] = []
    with (tmp_path / "seen").open("w+") as seen:
        command = [sys.executable, "-c", textwrap.dedent(READER), str(folder), str(stop)]
        with subprocess.Popen(command, stdout=seen) as reading:
            for seed in range(ROUNDS):
                with start(WRITER, folder, seed) as writing:
                    assert writing.stdout is not None
                    assert writing.stdout.readline() == "open\n"
                    time.sleep(rng.random() * 0.3)
                    writing.send_signal(signal.SIGKILL)
                    lines = writing.stdout.read().split("\n")
                acknowledged.extend(lines[:-1])
            journal = FileJournal.open(folder, JournalSettings(), RealDisk(), SystemClock())
            journal.abort()
            stop.touch()
            assert reading.wait(60) == 0
        seen.seek(0)
        by_the_reader = seen.read().splitlines()
    reader = FileJournalReader(folder)
    records = reader.read(0, 1 << 40)
    reader.close()
    found = [f"{record.offset} {record.entry.request_id} {len(record.entry.body)}" for record in records]
    assert by_the_reader == found
    assert len(acknowledged) > ROUNDS
    assert set(acknowledged) <= set(found)
    assert [record.offset for record in records] == list(range(len(records)))
    for name in "abcd":
        for seed in range(ROUNDS):
            mine = [
                record.entry for record in records if record.entry.request_id.startswith(f"{name}-{seed}-")
            ]
            again = random.Random(f"{name}{seed}")
            for number, entry in enumerate(mine):
                assert entry.request_id == f"{name}-{seed}-{number}"
                assert entry.body == again.randbytes(again.choice((10, 2_000, 30_000)))
