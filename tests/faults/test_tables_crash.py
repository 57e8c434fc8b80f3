"""The process dies at any sync of a commit, of a compaction or of recovery itself: each row is there once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tables_kit import (
    APP,
    DAY_ONE,
    FIRST_SCHEMA,
    SECOND_SCHEMA,
    Bench,
    ProcessKilledError,
    StoppingDisk,
    expected,
    make_table,
)

from headrace.settings import TableSettings
from headrace.tables.maintenance import Compaction

_OTHER = "journal/dcr-2/0"
_COMPACTION = Compaction(least=3)
_MOST_SYNCS = 60


def _first_commit(bench: Bench) -> None:
    bench.publish(0)
    bench.publish(1)
    bench.publish(0, app_id=_OTHER)
    bench.store.commit(bench.table)


def _later_commit(bench: Bench) -> None:
    bench.publish(2)
    bench.store.commit(bench.table)


def _wider_commit(bench: Bench) -> None:
    wider = dataclasses.replace(bench.table, schemas=(FIRST_SCHEMA, SECOND_SCHEMA))
    bench.publish(3, table=wider)
    bench.publish(4, start=DAY_ONE + 23 * 3_600_000_000, table=wider)
    bench.publish(1, app_id=_OTHER)
    bench.store.commit(wider)


def _upkeep(bench: Bench) -> None:
    assert bench.store.maintain().failures == ()


_STEPS: tuple[Callable[[Bench], None], ...] = (_first_commit, _later_commit, _wider_commit, _upkeep)


@pytest.mark.parametrize(
    ("small", "rewritten", "after"),
    [(0, 0, False), (1_000_000, 0, False), (1_000_000, 4096, False), (1_000_000, 4096, True)],
    ids=["as they are", "copied", "rewritten", "rewritten, after the sync"],
)
def test_a_killed_process_loses_and_doubles_nothing(
    tmp_path: Path, small: int, rewritten: int, after: bool
) -> None:
    settings = TableSettings(small_file_bytes=small, rewrite_below_rows=rewritten, checkpoint_commits=3)
    for stop_at in range(_MOST_SYNCS):
        root = tmp_path / str(stop_at) / "tables"
        table = make_table()
        disk = StoppingDisk(stop_at, after=after)
        if not _run_until_killed(Bench, root, disk, settings, table):
            break
        with Bench(root, settings=settings, table=table, compaction=_COMPACTION) as bench:
            recovered = bench.store.recover()
            assert not any(item.failed or item.lost for item in recovered), disk.sites[-1]
            _finish(bench)
    else:
        pytest.fail("the steps have more syncs than the test tries")
    assert stop_at > 12


def _run_until_killed(
    make: type[Bench], root: Path, disk: StoppingDisk, settings: TableSettings, table: object
) -> bool:
    try:
        bench = make(root, disk=disk, settings=settings, table=table, compaction=_COMPACTION)  # type: ignore[arg-type]
    except ProcessKilledError:
        return True
    with bench:
        try:
            for step in _STEPS:
                step(bench)
        except ProcessKilledError:
            return True
    return False


def _finish(bench: Bench) -> None:
    """Replay as the pipeline does, and look at every stage that each row is there exactly once."""
    for app_id, end in ((APP, 5), (_OTHER, 2)):
        seen = bench.store.position(bench.table, app_id)
        places = {place for place in bench.places() if place[0] == app_id}
        assert places == set(expected(seen + 1, app_ids=[app_id]))
        bench.replay(end, app_id=app_id)
    wanted = expected(5) + expected(2, app_ids=[_OTHER])
    assert bench.places() == wanted
    bench.store.commit_due(everything=True)
    assert bench.places() == wanted
    assert bench.store.durable(bench.table, APP) == 4
    assert bench.store.durable(bench.table, _OTHER) == 1
    assert bench.store.maintain().failures == ()
    assert bench.places() == wanted
    bench.clock.advance(3_600_000_000)
    assert bench.store.maintain().failures == ()
    assert bench.places() == wanted
    assert set(bench.folder.glob("v*/*")) == {
        bench.folder / file.path for file in bench.reader.pin(bench.table).files
    }


def test_a_crash_in_recovery_is_recovered_too(tmp_path: Path) -> None:
    for stop_at in range(10):
        root = tmp_path / str(stop_at) / "tables"
        with Bench(root) as first:
            first.publish(0)
            first.store.commit(first.table)
        dying = StoppingDisk(None)
        with Bench(root, table=first.table, disk=dying) as second:
            second.publish(1)
            dying.stop_at_site("tables.log.file")
            with pytest.raises(ProcessKilledError):
                second.store.commit(second.table)
        killed = False
        with Bench(root, table=first.table, disk=StoppingDisk(stop_at)) as third:
            try:
                third.store.recover()
            except ProcessKilledError:
                killed = True
        with Bench(root, table=first.table) as fourth:
            fourth.store.recover()
            assert fourth.store.durable(first.table, APP) == 1
            fourth.replay(3)
            assert fourth.places() == expected(3)
        if not killed:
            break
    assert stop_at >= 2


def test_a_second_handle_that_committed_first_is_seen(tmp_path: Path) -> None:
    """Two writers with one journal: the later one finds its positions in the log and adds nothing."""
    with Bench(tmp_path / "tables") as one:
        one.publish(0)
        one.store.commit(one.table)
        with Bench(one.root, table=one.table) as two:
            two.store.recover()
            one.publish(1)
            two.publish(1)
            one.store.commit(one.table)
            two.store.commit(one.table)
            assert two.store.durable(one.table, APP) == 1
            assert two.places() == expected(2)
