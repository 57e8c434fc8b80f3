from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable
from tests.tables_kit import APP, DAY_ONE, Bench, FailingDisk, expected, make_table

from headrace.clock import DAY, HOUR, MINUTE, SECOND
from headrace.settings import TableSettings
from headrace.tables.model import (
    DataFile,
    PositionError,
    TableBrokenError,
    TableDroppedError,
    TableKey,
    TablesError,
)
from headrace.tables.writer import MAX_PUBLISHED

_NO_SMALL = TableSettings(small_file_bytes=0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "tables") as bench:
        yield bench


def test_published_rows_are_visible_at_once_and_durable_after_the_commit(bench: Bench) -> None:
    store, table = bench.store, bench.table
    assert (store.position(table, APP), store.durable(table, APP)) == (-1, -1)
    bench.publish(0)
    bench.publish(5)
    assert bench.places().total() == 6
    assert (store.position(table, APP), store.durable(table, APP)) == (5, -1)
    assert store.commit(table)
    assert bench.places().total() == 6
    assert (store.position(table, APP), store.durable(table, APP)) == (5, 5)
    assert not store.commit(table)


def test_rows_that_the_table_has_are_refused(bench: Bench) -> None:
    file = bench.publish(3)
    with pytest.raises(PositionError):
        bench.store.publish(bench.table, file)
    bench.store.commit(bench.table)
    with pytest.raises(PositionError):
        bench.publish(3)
    with pytest.raises(PositionError):
        bench.publish(2)
    bench.publish(2, app_id="journal/dcr-1/1")
    assert bench.places().total() == 6


def test_a_batch_without_rows_moves_only_the_position(bench: Bench) -> None:
    bench.store.publish(bench.table, DataFile("", 0, 0, 1, None, None, {APP: 7}))
    assert bench.store.position(bench.table, APP) == 7
    assert bench.store.durable(bench.table, APP) == -1
    assert bench.store.commit(bench.table)
    assert bench.store.durable(bench.table, APP) == 7
    bench.publish(8)
    assert bench.store.commit(bench.table)
    assert bench.places().total() == 3
    assert bench.query(["Count"]) == [(0,), (1,), (2,)]


def test_an_empty_parquet_file_has_only_positions(bench: Bench) -> None:
    file = bench.write(1, rows=0)
    assert (file.path, file.rows, file.positions) == ("", 0, {APP: 1})


def test_small_files_become_one_sorted_file_a_day(bench: Bench) -> None:
    for offset in range(4):
        bench.publish(offset, start=DAY_ONE + (4 - offset) * HOUR)
    bench.publish(4, start=DAY_ONE + 23 * HOUR, step=HOUR, rows=30)
    bench.publish(5, start=DAY_ONE + 3 * DAY)
    bench.store.commit(bench.table)
    snapshot = bench.reader.pin(bench.table)
    files = sorted(snapshot.files, key=lambda file: file.day or 0)
    first = DAY_ONE // DAY
    assert [(file.day, file.rows) for file in files] == [
        (first, 13),
        (first + 1, 24),
        (first + 2, 5),
        (first + 3, 3),
    ]
    for file in files:
        assert file.day is not None
        assert file.min_time is not None and file.max_time is not None
        assert file.min_time // DAY == file.day == file.max_time // DAY
        times = bench.engine.execute(
            """SELECT epoch_us("TimeGenerated") FROM read_parquet(?)""", [str(bench.folder / file.path)]
        ).fetchall()
        assert times == sorted(times)
    assert bench.places().total() == 45


def test_large_files_of_one_day_are_committed_as_they_are(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=_NO_SMALL) as bench:
        published = [bench.publish(offset).path for offset in range(3)]
        bench.store.commit(bench.table)
        snapshot = bench.reader.pin(bench.table)
        assert sorted(file.path for file in snapshot.files) == sorted(published)


def test_rows_before_1970_keep_their_day(bench: Bench) -> None:
    bench.publish(0, start=-DAY // 2, step=DAY, rows=2)
    bench.store.commit(bench.table)
    snapshot = bench.reader.pin(bench.table)
    assert sorted(file.day or 0 for file in snapshot.files) == [-1, 0]


def test_rows_on_the_edge_of_a_day_keep_their_day(bench: Bench) -> None:
    bench.publish(0, start=DAY_ONE + DAY - 1, step=1, rows=2)
    bench.store.commit(bench.table)
    snapshot = bench.reader.pin(bench.table)
    assert sorted((file.day, file.rows) for file in snapshot.files) == [
        (DAY_ONE // DAY, 1),
        (DAY_ONE // DAY + 1, 1),
    ]


def test_one_commit_carries_several_applications(bench: Bench) -> None:
    apps = [f"journal/dcr-{number}/0" for number in range(3)]
    for app_id in apps:
        bench.publish(11, app_id=app_id)
    bench.store.commit(bench.table)
    assert [bench.store.durable(bench.table, app_id) for app_id in apps] == [11, 11, 11]
    table = DeltaTable(bench.folder)
    assert [table.transaction_version(app_id) for app_id in apps] == [11, 11, 11]
    assert table.version() == 1


def test_a_table_commits_when_it_is_large_or_old_or_has_many_files(tmp_path: Path) -> None:
    settings = TableSettings(commit_bytes=20_000, commit_seconds=60)
    with Bench(tmp_path / "tables", settings=settings) as bench:
        assert bench.store.commit_due().done == ()
        bench.publish(0)
        assert bench.store.commit_due().done == ()
        bench.clock.advance(60 * SECOND)
        assert bench.store.commit_due().done == (TableKey.of(bench.table),)
        assert bench.store.commit_due().done == ()
        bench.publish(1, rows=20_000)
        assert sum(file.bytes for file in bench.reader.pin(bench.table).published) > 20_000
        assert bench.store.commit_due().done == (TableKey.of(bench.table),)
        assert not bench.reader.pin(bench.table).published
        for offset in range(2, 2 + MAX_PUBLISHED):
            assert bench.store.commit_due().done == ()
            bench.store.publish(bench.table, DataFile("", 0, 0, 1, None, None, {APP: offset}))
        assert bench.store.commit_due().done == (TableKey.of(bench.table),)


def test_tables_of_one_name_never_mix(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        other = make_table()
        again = make_table(workspace=bench.table.workspace)
        bench.publish(0, rows=2)
        bench.publish(0, rows=3, table=other)
        bench.publish(0, rows=4, table=again)
        for _ in range(2):
            counts = [len(bench.query(["TenantId"], table)) for table in (bench.table, other, again)]
            assert counts == [2, 3, 4]
            bench.store.commit_due(everything=True)
        assert {row[0] for row in bench.query(["TenantId"], other)} == {other.workspace}
        assert bench.store.durable(other, APP) == 0
        assert bench.store.durable(make_table(), APP) == -1


def test_a_dropped_table_takes_nothing_and_goes_after_a_while(bench: Bench) -> None:
    bench.publish(0)
    bench.store.commit(bench.table)
    bench.publish(1)
    bench.store.drop(TableKey.of(bench.table))
    with pytest.raises(TableDroppedError):
        bench.publish(2)
    with pytest.raises(TableDroppedError):
        bench.store.commit(bench.table)
    assert bench.places().total() == 6, "a running query may still read it"
    bench.store.maintain()
    bench.clock.advance(10 * MINUTE)
    bench.store.drop(TableKey.of(bench.table))
    bench.store.maintain()
    assert bench.folder.exists()
    bench.clock.advance(10 * MINUTE)
    bench.store.drop(TableKey.of(bench.table))
    bench.store.maintain()
    assert not bench.folder.exists()
    assert list(bench.folder.parent.iterdir()) == []
    assert bench.places().total() == 0
    with pytest.raises(TableDroppedError):
        bench.store.new_file(bench.table)


def test_a_table_stays_dropped_after_a_restart(bench: Bench) -> None:
    bench.publish(0)
    bench.store.drop(TableKey.of(bench.table))
    with Bench(bench.root, table=bench.table) as again:
        again.store.recover()
        with pytest.raises(TableDroppedError):
            again.publish(1)
        again.store.maintain()
        again.clock.advance(30 * MINUTE)
        again.store.maintain()
    assert not bench.folder.exists()


def test_a_discarded_file_is_gone(bench: Bench) -> None:
    path = bench.store.new_file(bench.table)
    path.write_bytes(b"half a file")
    bench.store.discard(bench.table, path)
    assert not path.exists()
    bench.store.discard(bench.table, bench.store.new_file(bench.table))


def test_what_is_not_parquet_is_not_described(bench: Bench) -> None:
    path = bench.store.new_file(bench.table)
    path.write_bytes(b"not parquet at all")
    with pytest.raises(TablesError):
        bench.store.data_file(bench.table, path, {APP: 0})


@pytest.mark.parametrize(
    "site",
    [
        "tables.data.file",
        "tables.data.dir",
        "tables.data.folder",
        "tables.parent",
        "tables.log.file",
        "tables.log.dir",
        "tables.log.folder",
    ],
)
def test_a_refused_sync_stops_the_table_until_it_is_repaired(tmp_path: Path, site: str) -> None:
    disk = FailingDisk(site)
    with Bench(tmp_path / "tables", disk=disk) as bench:
        bench.publish(0)
        bench.publish(1)
        with pytest.raises(TableBrokenError):
            bench.store.commit(bench.table)
        with pytest.raises(TableBrokenError):
            bench.publish(2)
        disk.failing = False
        with pytest.raises(TableBrokenError):
            bench.store.commit(bench.table)
        assert bench.store.durable(bench.table, APP) == -1
        bench.store.repair(bench.table)
        assert bench.store.position(bench.table, APP) == -1, "rows that were written once come again"
        with pytest.raises(TableBrokenError):
            bench.publish(2)
        bench.store.resume(bench.table)
        bench.replay(3)
        bench.store.commit(bench.table)
        assert bench.places() == expected(3)
        assert bench.store.durable(bench.table, APP) == 2


def test_a_refused_sync_is_remembered_over_a_restart(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", disk=FailingDisk("tables.log.file")) as bench:
        bench.publish(0)
        with pytest.raises(TableBrokenError):
            bench.store.commit(bench.table)
    with Bench(tmp_path / "tables", table=bench.table) as again:
        again.store.recover()
        assert again.store.position(bench.table, APP) == -1
        again.replay(2)
        again.store.commit(bench.table)
        assert again.places() == expected(2)


def test_a_full_disk_loses_nothing(bench: Bench) -> None:
    file = bench.publish(0)
    blocked = bench.folder / "manifest.json"
    saved = blocked.read_bytes()
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(OSError):
        bench.publish(1)
    assert bench.store.position(bench.table, APP) == 0
    failures = bench.store.commit_due(everything=True).failures
    assert [failure.key for failure in failures] == [TableKey.of(bench.table)]
    assert bench.store.durable(bench.table, APP) == -1
    blocked.rmdir()
    blocked.write_bytes(saved)
    bench.publish(1)
    assert bench.store.commit(bench.table)
    assert bench.places() == expected(2)
    assert bench.store.durable(bench.table, APP) == 1
    assert file.rows == 3
