from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tables_kit import DAY_ONE, Bench

from headrace.clock import DAY, HOUR, SECOND
from headrace.settings import TableSettings
from headrace.tables.counts import RowCount, count_files
from headrace.tables.model import StoredFile
from headrace.tables.reader import TableReader


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = TableSettings(small_file_bytes=0, checkpoint_commits=2)
    with Bench(tmp_path / "tables", settings=settings) as bench:
        yield bench


def _file(low: int | None, high: int | None, rows: int = 1, *, timed: bool = True) -> StoredFile:
    return StoredFile("v1/a.parquet", rows, 1, low, high, timed=timed)


def test_files_count_by_steps_and_others_are_read() -> None:
    inside, more, apart = _file(0, 9, 5), _file(3, 3, 2), _file(12, 17, 4)
    across = _file(9, 10)
    unknown = [_file(0, None), _file(None, 5), _file(None, None), _file(0, 9, timed=False)]
    counted = count_files([inside, across, more, *unknown, apart], None, None, lambda time: time // 10)
    assert counted.times == [(0, 6), (9, 1), (12, 3), (17, 1)]
    assert counted.read == [across, *unknown]


@pytest.mark.parametrize(
    ("low", "high", "known"), [(0, 9, True), (1, 9, False), (0, 8, False), (None, 9, True)]
)
def test_a_bound_within_a_file_makes_it_read(low: int | None, high: int | None, known: bool) -> None:
    counted = count_files([_file(0, 9)], low, high, lambda _: 0)
    assert bool(counted.times) is known
    assert bool(counted.read) is not known


def test_a_scan_says_how_many_rows_each_row_stands_for(bench: Bench) -> None:
    hours = RowCount("n", lambda time: time // HOUR)
    assert bench.query(["Type"], rows=hours) == []
    for offset, start in enumerate((DAY_ONE, DAY_ONE + HOUR - SECOND, DAY_ONE + DAY)):
        bench.publish(offset, rows=4, start=start)
    assert sorted(bench.query(["Type"], rows=hours)) == [("Things_CL", 1)] * 6 + [("Things_CL", 3)] * 2
    assert sorted(bench.query([], rows=hours)) == [(1,)] * 6 + [(3,)] * 2
    assert bench.query(["Message"], rows=hours, time_range=(DAY_ONE + DAY, None)) == [
        (f"m{row}", 1) for row in range(4)
    ]


def test_bounds_are_known_to_hold_for_all_rows_whichever_way_a_file_is_found(bench: Bench) -> None:
    follower = TableReader(bench.root)
    for offset in range(5):
        bench.publish(offset)
        assert all(file.timed for file in follower.pin(bench.table).files)
        bench.store.commit(bench.table)
        bench.store.maintain()
    assert list(bench.folder.glob("_delta_log/*.checkpoint.parquet"))
    for reader in (follower, TableReader(bench.root)):
        files = reader.pin(bench.table).files
        assert sum(file.rows for file in files) == 15
        assert all(file.timed for file in files)


def test_a_file_with_rows_without_a_time_is_not_published(bench: Bench) -> None:
    path = bench.store.new_file(bench.table)
    bench.engine.execute(
        f"""COPY (SELECT * FROM (VALUES (TIMESTAMPTZ '2024-10-04 00:00:00Z'), (NULL)) t("TimeGenerated"))
        TO '{path}' (FORMAT parquet)"""
    )
    with pytest.raises(ValueError, match="without TimeGenerated"):
        bench.store.data_file(bench.table, path, {"journal/dcr-1/0": 0})
