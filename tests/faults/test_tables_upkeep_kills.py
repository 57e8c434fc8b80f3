"""The process dies at any step of compaction, checkpoint, vacuum, retention and removal: each row is there once.

A step is any call that changes the folder: a sync, a file that is renamed, removed or made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tables_kit import (
    APP,
    DAY_ONE,
    Bench,
    ProcessKilledError,
    StoppingDisk,
    expected,
    make_table,
)

from headrace.catalog.model import Table
from headrace.clock import DAY, HOUR, MINUTE, ManualClock
from headrace.settings import TableSettings
from headrace.tables.delta import log_file
from headrace.tables.maintenance import Compaction

_SETTINGS = TableSettings(small_file_bytes=0, checkpoint_commits=2, vacuum_seconds=900)
_COMPACTION = Compaction(least=3)
_COMMITS = 4
_MOST_STEPS = 150
_CALLS = ("unlink", "rename", "replace", "rmdir", "mkdir")
_REMOVED = {"unlink", "tables.log.file", "replace"}
_JOINED = {*_REMOVED, "tables.data.file", "tables.checkpoint.file"}


class Steps(StoppingDisk):
    """Counts the syncs and the system's calls that change a folder, and ends the process at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, stop_at: int | None = None, *, after: bool = False) -> None:
        super().__init__(None, after=after)
        self.counting = False
        self._at = stop_at
        for name in _CALLS:
            self._watch(patch, name)

    def _watch(self, patch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            done: list[object] = []
            self._step(name, lambda: done.append(real(*arguments, **named)))
            return done[0]

        patch.setattr(os, name, call)

    def _step(self, site: str, sync: Callable[[], None]) -> None:
        if not self.counting:
            sync()
            return
        if self._at is not None and len(self.sites) >= self._at:
            # Nothing runs in a dead process, whatever its `finally` would like to do.
            raise ProcessKilledError(site)
        self._stop_at = None if self._at is None else self._at - 1
        super()._step(site, sync)


def _filled(root: Path, table: Table, clock: ManualClock) -> None:
    """Some committed files of one day, and one of two days before."""
    with Bench(root, table=table, settings=_SETTINGS, compaction=_COMPACTION, clock=clock) as bench:
        for offset in range(_COMMITS):
            bench.publish(offset, start=DAY_ONE + (7 if offset == 0 else 9) * DAY)
            bench.store.commit(table)
        for path in bench.folder.glob("_delta_log/*.json"):
            os.utime(path, (1_000_000_000, 1_000_000_000))


def _upkeep(bench: Bench) -> None:
    """Compaction and a checkpoint; when nobody reads the old files any more, their removal."""
    assert bench.store.maintain().failures == ()
    bench.clock.advance(16 * MINUTE)
    assert bench.store.maintain().failures == ()


def _retention(bench: Bench) -> None:
    """The first day goes, then its file."""
    bench.clock.advance(11 * MINUTE)
    assert bench.store.maintain(retention=lambda _: 1).failures == ()
    bench.clock.advance(16 * MINUTE)
    assert bench.store.maintain(retention=lambda _: 1).failures == ()
    assert bench.places() == expected(_COMMITS) - expected(1)


def _whole(bench: Bench) -> None:
    assert bench.places() == expected(_COMMITS)


def _whole_or_without_the_first_day(bench: Bench) -> None:
    assert bench.places() in (expected(_COMMITS), expected(_COMMITS) - expected(1))


@pytest.mark.parametrize(
    ("work", "sound", "seen", "after"),
    [
        (_upkeep, _whole, _JOINED, False),
        (_upkeep, _whole, _JOINED, True),
        (_retention, _whole_or_without_the_first_day, _REMOVED, True),
    ],
    ids=["upkeep, before each step", "upkeep, after each step", "retention, after each step"],
)
def test_a_kill_at_any_step_of_upkeep(
    work: Callable[[Bench], None],
    sound: Callable[[Bench], None],
    seen: set[str],
    after: bool,
    tmp_path: Path,
) -> None:
    table = make_table()
    ready = tmp_path / "ready"
    _filled(ready / "tables", table, _noon())
    for stop_at in range(1, _MOST_STEPS):
        root = tmp_path / str(stop_at) / "tables"
        shutil.copytree(ready, root.parent)
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, stop_at, after=after)
            killed = _killed(root, table, steps, work)
        _check(root, table, work, sound, steps)
        shutil.rmtree(root.parent)
        if not killed:
            assert seen <= set(steps.sites)
            assert stop_at > 8
            return
    pytest.fail("upkeep has more steps than the test tries")


def _noon() -> ManualClock:
    return ManualClock(DAY_ONE + 9 * DAY + 12 * HOUR)


def _killed(root: Path, table: Table, steps: Steps, work: Callable[[Bench], None]) -> bool:
    """Do the work, and say whether the process ended at the wanted step; a reader is at work all the time."""
    with Bench(
        root, disk=steps, table=table, settings=_SETTINGS, compaction=_COMPACTION, clock=_noon()
    ) as bench:
        bench.store.recover()
        steps.counting = True
        try:
            work(bench)
        except ProcessKilledError:
            return True
        finally:
            steps.counting = False
    return False


def _check(
    root: Path,
    table: Table,
    work: Callable[[Bench], None],
    sound: Callable[[Bench], None],
    steps: Steps,
) -> None:
    """What queries see before the next start, after it, and after the next upkeep; and no file is left over."""
    with Bench(root, table=table, settings=_SETTINGS, compaction=_COMPACTION, clock=_noon()) as bench:
        sound(bench)
        assert not any(item.failed or item.lost for item in bench.store.recover()), steps.sites
        sound(bench)
        assert bench.store.durable(table, APP) == _COMMITS - 1
        bench.replay(_COMMITS)
        sound(bench)
        work(bench)
        sound(bench)
        bench.publish(_COMMITS)
        bench.store.commit(table)
        assert {place: count for place, count in bench.places().items() if place[1] == _COMMITS} == (
            expected(_COMMITS + 1) - expected(_COMMITS)
        )
        bench.clock.advance(16 * MINUTE)
        assert bench.store.maintain().failures == ()
        assert set(bench.folder.glob("v*/*")) == {
            bench.folder / file.path for file in bench.reader.pin(table).files
        }


def test_a_kill_at_any_step_of_removing_a_deleted_table(tmp_path: Path) -> None:
    table, other = make_table(), make_table(name="Others_CL")
    ready = tmp_path / "ready"
    _filled(ready / "tables", table, _noon())
    _filled(ready / "tables", other, _noon())

    def work(bench: Bench) -> None:
        for key in bench.store.stored():
            if key.incarnation == table.incarnation:
                bench.store.drop(key)
        assert bench.store.maintain().failures == ()
        bench.clock.advance(16 * MINUTE)
        assert bench.store.maintain().failures == ()

    for stop_at in range(1, _MOST_STEPS):
        root = tmp_path / str(stop_at) / "tables"
        shutil.copytree(ready, root.parent)
        with pytest.MonkeyPatch.context() as patch:
            killed = _killed(root, table, Steps(patch, stop_at), work)
        with Bench(root, table=other, settings=_SETTINGS, clock=_noon()) as bench:
            assert not any(item.failed for item in bench.store.recover())
            work(bench)
            assert bench.places() == expected(_COMMITS)
        assert [path for path in root.glob("*/*/*") if not path.name.startswith(".")] == [bench.folder]
        assert list(root.glob("*/*/.*")) == []
        if not killed:
            assert stop_at > 5
            return
    pytest.fail("removal has more steps than the test tries")


def test_the_log_goes_only_behind_its_checkpoint(tmp_path: Path) -> None:
    """The made-up work above really reaches the removal of log entries."""
    table = make_table()
    _filled(tmp_path / "tables", table, _noon())
    with Bench(
        tmp_path / "tables", table=table, settings=_SETTINGS, compaction=_COMPACTION, clock=_noon()
    ) as bench:
        bench.store.recover()
        _upkeep(bench)
        assert not log_file(bench.folder, 1).exists()
