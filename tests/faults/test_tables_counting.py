"""Counting without a pause while rows are published, committed, compacted and vacuumed: never a fall.

One reader is a thread, one a process of its own, as the query process is.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import msgspec
import pytest
from tests.tables_kit import Bench, make_table

from headrace.catalog.model import Table
from headrace.settings import TableSettings
from headrace.tables.maintenance import Compaction
from headrace.tables.reader import TableReader

_ROWS = 5
_APPS = tuple(f"journal/dcr-{number}/0" for number in range(3))
_OFFSETS = 60
_STOP = "stop"


def count_until_told(root: Path, table: Table, stop: Path) -> list[int]:
    """Counts of rows, one after another, until `stop` exists; the last one began after that."""
    counts: list[int] = []
    with duckdb.connect() as engine:
        engine.execute("SET threads = 1")
        reader = TableReader(root)
        last = False
        while not last:
            last = stop.exists()
            snapshot = reader.pin(table)
            sql = snapshot.scan([("c0", "Count")]).sql("duckdb")
            found = engine.execute(f"SELECT count(c0) FROM ({sql})").fetchone()
            assert found is not None
            assert found[0] == snapshot.rows
            counts.append(int(found[0]))
    return counts


def main() -> None:
    """The reading process: arguments are the root, the table as JSON and the file that ends it."""
    table = msgspec.json.decode(sys.argv[2], type=Table)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    counts = count_until_told(Path(sys.argv[1]), table, Path(sys.argv[3]))
    sys.stdout.write(msgspec.json.encode(counts).decode())


@pytest.mark.slow
def test_a_count_never_falls_and_never_passes_what_was_sent(tmp_path: Path) -> None:
    root, stop, table = tmp_path / "tables", tmp_path / _STOP, make_table()
    settings = TableSettings(
        small_file_bytes=4000, rewrite_below_rows=0, checkpoint_commits=3, vacuum_seconds=900
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.test_tables_counting", root, msgspec.json.encode(table), stop],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    counted: list[int] = []
    reading = threading.Thread(target=lambda: counted.extend(count_until_told(root, table, stop)))
    reading.start()
    failures: list[BaseException] = []
    with Bench(root, table=table, settings=settings, compaction=Compaction(least=3)) as bench:
        writers = [threading.Thread(target=_write, args=(bench, app_id, failures)) for app_id in _APPS]
        try:
            for writer in writers:
                writer.start()
            while any(writer.is_alive() for writer in writers):
                assert bench.store.commit_due(everything=True).failures == ()
                assert bench.store.maintain().failures == ()
                bench.clock.advance(20_000_000)
            for writer in writers:
                writer.join()
            bench.store.commit(table)
            assert bench.store.maintain().failures == ()
        finally:
            stop.touch()
            reading.join()
            output, _ = process.communicate(timeout=60)
        assert failures == []
        assert process.returncode == 0
        everything = _ROWS * _OFFSETS * len(_APPS)
        for counts in (counted, msgspec.json.decode(output, type=list[int])):
            assert counts == sorted(counts)
            assert counts[-1] == everything
            assert len(counts) > 20
        assert bench.places().total() == len(bench.places()) == everything
        assert [bench.store.durable(table, app_id) for app_id in _APPS] == [_OFFSETS - 1] * len(_APPS)


def _write(bench: Bench, app_id: str, failures: list[BaseException]) -> None:
    """One pipeline thread: with an engine of its own."""
    try:
        with Bench(
            bench.root, table=bench.table, clock=bench.clock, settings=bench.settings, store=bench.store
        ) as own:
            for offset in range(_OFFSETS):
                own.publish(offset, _ROWS, app_id=app_id)
                time.sleep(0.002)
    except BaseException as error:  # noqa: BLE001 - told in the test's own thread
        failures.append(error)


if __name__ == "__main__":
    main()
