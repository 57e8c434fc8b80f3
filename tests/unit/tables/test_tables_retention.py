"""Old days leave a table as a whole, never under a running query, and never because a clock is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from tests.tables_kit import DAY_ONE, Bench, ProcessKilledError, StoppingDisk, make_table

from headrace.clock import DAY, HOUR, MINUTE, ManualClock, SteadyClock
from headrace.settings import TableSettings

SETTINGS = TableSettings(small_file_bytes=0)


def fill(bench: Bench, days: int, first: int = 0) -> None:
    """One committed file of three rows a day."""
    for day in range(first, days):
        bench.publish(day, start=DAY_ONE + day * DAY)
        bench.store.commit(bench.table)


def days_of(bench: Bench) -> list[int]:
    snapshot = bench.reader.pin(bench.table)
    return sorted((file.min_time or 0) // DAY - DAY_ONE // DAY for file in snapshot.files)


def clock_at(day: int) -> ManualClock:
    """Steady, at noon of a day counted from the first one."""
    return ManualClock(DAY_ONE + day * DAY + 12 * HOUR)


def test_days_past_the_retention_go_and_their_files_later(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=SETTINGS, clock=clock_at(9)) as bench:
        fill(bench, 10)
        bench.clock.advance(11 * MINUTE)
        old = bench.reader.pin(bench.table)
        assert bench.store.maintain(retention=lambda _: 4).failures == ()
        # Noon less four days: that day is kept whole.
        assert days_of(bench) == [5, 6, 7, 8, 9]
        assert len(DeltaTable(bench.folder).to_pyarrow_table()) == 15
        sql = old.scan([("c0", "Count")]).sql("duckdb")
        assert len(bench.engine.execute(sql).fetchall()) == 30
        bench.clock.advance(15 * MINUTE)
        bench.store.maintain(retention=lambda _: 4)
        assert len(list(bench.folder.glob("v*/*"))) == 5
        bench.clock.advance(DAY)
        bench.store.maintain(retention=lambda _: 4)
        assert days_of(bench) == [6, 7, 8, 9]


def test_positions_outlive_the_rows(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=SETTINGS, clock=clock_at(9)) as bench:
        fill(bench, 3)
        bench.clock.advance(11 * MINUTE)
        bench.store.maintain(retention=lambda _: 4)
        assert days_of(bench) == []
        bench.replay(3)
        assert days_of(bench) == []


def test_a_longer_retention_and_an_unknown_one_keep_everything(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=SETTINGS, clock=clock_at(9)) as bench:
        fill(bench, 10)
        bench.clock.advance(11 * MINUTE)
        bench.store.maintain(retention=lambda _: 30)
        bench.store.maintain(retention=lambda _: None)
        bench.store.maintain()
        assert days_of(bench) == list(range(10))
        bench.store.maintain(retention=lambda _: 8)
        assert days_of(bench) == list(range(1, 10))


def test_a_clock_that_was_set_removes_nothing(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables", settings=SETTINGS, clock=clock_at(9)) as bench:
        fill(bench, 10)
        bench.clock.advance(11 * MINUTE)
        right = bench.clock.now()
        bench.clock.set(right + 1000 * DAY)
        bench.store.maintain(retention=lambda _: 30)
        bench.clock.set(right)
        bench.store.maintain(retention=lambda _: 4)
        bench.clock.advance(9 * MINUTE)
        bench.store.maintain(retention=lambda _: 4)
        assert days_of(bench) == list(range(10))
        bench.clock.advance(2 * MINUTE)
        bench.store.maintain(retention=lambda _: 4)
        assert days_of(bench) == [5, 6, 7, 8, 9]


def test_a_clock_is_trusted_after_a_while_and_may_be_corrected() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    assert steady.now() is None
    for _ in range(10):
        clock.advance(MINUTE)
        clock.set(clock.now() + MINUTE // 30)
        found = steady.now()
    assert found == clock.now()
    clock.set(clock.now() - HOUR)
    assert steady.now() is None


def test_a_crash_at_any_sync_of_the_removal_keeps_what_is_to_stay(tmp_path: Path) -> None:
    table = make_table()
    stopped = 0
    for number in range(20):
        root = tmp_path / str(number)
        with Bench(root, settings=SETTINGS, clock=clock_at(9), table=table) as bench:
            fill(bench, 10)
        disk = StoppingDisk(number)
        with Bench(root, settings=SETTINGS, clock=clock_at(9), table=table) as bench:
            bench.store.recover()
        with Bench(root, settings=SETTINGS, clock=clock_at(9), table=table, disk=disk) as bench:
            try:
                bench.store.recover()
                bench.clock.advance(11 * MINUTE)
                bench.store.maintain(retention=lambda _: 4)
            except ProcessKilledError:
                stopped += 1
        with Bench(root, settings=SETTINGS, clock=clock_at(9), table=table) as bench:
            bench.store.recover()
            bench.replay(10)
            bench.clock.advance(11 * MINUTE)
            bench.store.maintain(retention=lambda _: 4)
            assert days_of(bench) == [5, 6, 7, 8, 9]
        if disk.sites and len(disk.sites) <= number:
            break
    assert stopped == len(disk.sites) > 0


@pytest.mark.parametrize("plan", ["Analytics", "Basic", "Auxiliary"])
def test_queries_see_the_interactive_part(plan: str) -> None:
    table = make_table(retention=(30, 90), plan=plan)
    assert table.queryable_days == (90 if plan == "Auxiliary" else 30)
