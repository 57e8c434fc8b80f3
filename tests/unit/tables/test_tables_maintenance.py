from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable
from tests.tables_kit import APP, DAY_ONE, FIRST_SCHEMA, SECOND_SCHEMA, Bench, expected, make_table

from headrace.clock import DAY, HOUR, MINUTE, SECOND, ManualClock
from headrace.settings import TableSettings
from headrace.tables.maintenance import Compaction, Effort
from headrace.tables.manifest import read_manifest
from headrace.tables.model import CommitError, TableKey
from headrace.tables.reader import TableReader

_SETTINGS = TableSettings(small_file_bytes=0, checkpoint_commits=5)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "tables", settings=_SETTINGS, compaction=Compaction(least=4)) as bench:
        yield bench


def _commit_each(bench: Bench, offsets: range) -> None:
    for offset in offsets:
        bench.publish(offset)
        bench.store.commit(bench.table)


def _files(bench: Bench) -> set[str]:
    return {path.relative_to(bench.folder).as_posix() for path in bench.folder.glob("v*/*")}


def test_small_files_of_a_day_are_joined_and_stay_readable_for_a_while(bench: Bench) -> None:
    _commit_each(bench, range(6))
    old = bench.reader.pin(bench.table)
    assert len(old.files) == 6
    assert bench.store.maintain().failures == ()
    new = bench.reader.pin(bench.table)
    assert [file.rows for file in new.files] == [18]
    assert bench.places() == expected(6)
    bench.clock.advance(14 * MINUTE)
    bench.store.maintain()
    sql = old.scan([("c0", "Count")]).sql("duckdb")
    assert len(bench.engine.execute(sql).fetchall()) == 18
    bench.clock.advance(MINUTE)
    bench.store.maintain()
    assert len(_files(bench)) == 1
    assert bench.places() == expected(6)
    assert DeltaTable(bench.folder).to_pyarrow_table().num_rows == 18


def test_while_the_pipeline_lags_small_files_wait_for_more(tmp_path: Path) -> None:
    rule = Compaction(least=2, least_while_busy=5)
    with Bench(tmp_path / "tables", settings=_SETTINGS, compaction=rule) as bench:
        _commit_each(bench, range(4))
        bench.store.maintain(busy=True)
        pinned = bench.reader.pin(bench.table)
        assert len(pinned.files) == 4
        _commit_each(bench, range(4, 5))
        bench.store.maintain(busy=True)
        pinned = bench.reader.pin(bench.table)
        assert len(pinned.files) == 1
        assert bench.places() == expected(5)


def test_days_and_schema_versions_are_joined_apart(tmp_path: Path) -> None:
    table = make_table((FIRST_SCHEMA, SECOND_SCHEMA))
    older = make_table(workspace=table.workspace, incarnation=table.incarnation)
    with Bench(tmp_path / "tables", settings=_SETTINGS, compaction=Compaction(least=2), table=table) as bench:
        for offset in range(8):
            bench.publish(offset, start=DAY_ONE + offset % 2 * DAY, table=older if offset < 4 else table)
            bench.store.commit(table)
        bench.store.maintain()
        snapshot = bench.reader.pin(table)
        groups = [(file.schema_version, file.day, file.rows) for file in snapshot.files]
        day = DAY_ONE // DAY
        assert sorted(groups) == [(1, day, 6), (1, day + 1, 6), (2, day, 6), (2, day + 1, 6)]
        assert bench.places() == expected(8)


def test_raw_files_are_made_dense_once(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=_SETTINGS, compaction=Compaction(below=100, least=2)) as bench:
        _commit_each(bench, range(4))
        bench.store.maintain()
        snapshot = bench.reader.pin(bench.table)
        (dense,) = snapshot.files
        assert dense.dense
        _commit_each(bench, range(4, 8))
        bench.store.maintain()
        snapshot = bench.reader.pin(bench.table)
        assert len(snapshot.files) == 2
        assert dense in snapshot.files
        assert bench.places() == expected(8)


def test_files_that_tell_of_the_same_times_again_are_sorted(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=_SETTINGS, compaction=Compaction(least=4)) as bench:
        for offset in range(4):
            bench.publish(offset, start=DAY_ONE + offset, rows=10)
            bench.store.commit(bench.table)
        bench.store.maintain()
        snapshot = bench.reader.pin(bench.table)
        (file,) = snapshot.files
        times = bench.engine.execute(
            """SELECT epoch_us("TimeGenerated") FROM read_parquet(?)""", [str(bench.folder / file.path)]
        ).fetchall()
        assert times == sorted(times)


def test_work_that_is_not_urgent_takes_a_share_of_the_time() -> None:
    clock = ManualClock()
    effort = Effort(clock)
    assert effort.is_free()
    with effort.spending(0.25):
        clock.advance(2 * SECOND)
    clock.advance(5 * SECOND)
    assert not effort.is_free()
    clock.advance(1 * SECOND)
    assert effort.is_free()


def test_a_table_that_is_always_due_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    class Slow(ManualClock):
        """Each look at it takes a second."""

        def monotonic(self) -> float:
            self.advance(SECOND)
            return super().monotonic()

    clock = Slow()
    with Bench(tmp_path / "tables", settings=_SETTINGS, compaction=Compaction(least=2), clock=clock) as bench:
        other = Bench(bench.root, settings=_SETTINGS, clock=clock, store=bench.store)
        with other:
            for turn in range(3):
                for one in (bench, other):
                    _commit_each(one, range(2 * turn, 2 * turn + 2))
                clock.advance(HOUR)
                bench.store.maintain()
            assert all(len(one.reader.pin(one.table).files) < 6 for one in (bench, other))


def test_checkpoints_come_every_so_many_commits_and_are_recorded(bench: Bench) -> None:
    _commit_each(bench, range(3))
    bench.store.maintain()
    assert not list(bench.folder.glob("_delta_log/*.checkpoint.parquet"))
    _commit_each(bench, range(3, 9))
    bench.store.maintain()
    checkpoints = sorted(bench.folder.glob("_delta_log/*.checkpoint.parquet"))
    assert len(checkpoints) == 1
    manifest = read_manifest(bench.folder)
    assert manifest is not None
    assert int(checkpoints[0].name[:20]) == manifest.checkpoint
    assert bench.places() == expected(9)


def test_old_log_entries_go_and_everyone_still_reads(bench: Bench) -> None:
    follower = TableReader(bench.root)
    _commit_each(bench, range(4))
    assert follower.pin(bench.table).rows == 12
    _commit_each(bench, range(4, 8))
    for path in bench.folder.glob("_delta_log/*.json"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    bench.store.maintain()
    assert not (bench.folder / "_delta_log" / f"{1:020}.json").exists()
    _commit_each(bench, range(8, 10))
    assert follower.pin(bench.table).rows == 30
    assert bench.places() == expected(10)
    with Bench(bench.root, table=bench.table) as again:
        again.store.recover()
        assert again.store.durable(bench.table, APP) == 9
        assert again.places() == expected(10)


def test_files_that_nobody_names_go_after_a_while(bench: Bench) -> None:
    _commit_each(bench, range(2))
    bench.publish(2)
    orphan = bench.write(3).path
    with Bench(bench.root, settings=_SETTINGS, table=bench.table, compaction=Compaction(least=100)) as again:
        again.store.recover()
        issued = again.store.new_file(bench.table)
        issued.write_bytes(b"being written")
        again.store.maintain()
        assert orphan in _files(bench), "another process may have pinned a manifest that names it"
        again.clock.advance(HOUR)
        again.store.maintain()
        assert orphan not in _files(bench)
        assert issued.exists()
        assert again.places() == expected(3)


def test_a_commit_removes_the_small_files_only_after_a_while(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        small = {bench.publish(offset).path for offset in range(3)}
        old = bench.reader.pin(bench.table)
        bench.store.commit(bench.table)
        bench.store.maintain()
        assert small < _files(bench)
        assert len(bench.engine.execute(old.scan([("c0", "Count")]).sql("duckdb")).fetchall()) == 9
        bench.clock.advance(HOUR)
        bench.store.maintain()
        assert not small & _files(bench)
        assert bench.places() == expected(3)


def test_a_clock_that_jumps_deletes_nothing_early(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        small = {bench.publish(offset).path for offset in range(3)}
        bench.store.commit(bench.table)
        bench.clock.set(bench.clock.now() + 400 * DAY)
        bench.store.maintain()
        assert small < _files(bench)


@pytest.mark.parametrize("rewritten", [0, 4096])
def test_what_a_failed_commit_or_compaction_made_is_gone_at_once(tmp_path: Path, rewritten: int) -> None:
    """On a full disk it would take the room that the next try needs."""
    settings = TableSettings(rewrite_below_rows=rewritten)
    with Bench(tmp_path / "tables", settings=settings, compaction=Compaction(least=2)) as bench:
        for offset in range(3):
            bench.publish(offset)
        damaged = bench.folder / bench.publish(3).path
        content = damaged.read_bytes()
        before = _files(bench)
        damaged.write_bytes(content[: len(content) // 2])
        for _ in range(2):
            with pytest.raises(CommitError):
                bench.store.commit(bench.table)
        assert _files(bench) == before
        damaged.write_bytes(content)
        for offset in range(4, 8):
            assert bench.store.commit(bench.table)
            bench.publish(offset)
        before = _files(bench)
        newest = max((bench.folder / one for one in before), key=lambda path: path.stat().st_mtime_ns)
        bench.store.commit(bench.table)
        newest.write_bytes(newest.read_bytes()[:40])
        assert len(bench.store.maintain().failures) == 1
        assert _files(bench) == before


def test_a_table_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    with Bench(tmp_path / "tables", clock=clock) as bench:
        bench.publish(0)
        bench.store.drop(TableKey.of(bench.table))
        assert bench.store.maintain().done == (TableKey.of(bench.table),)
        clock.advance(DAY)
        bench.store.maintain()
        assert not bench.folder.exists()
        assert bench.store.maintain().done == ()
