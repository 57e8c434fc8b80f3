"""The power fails at any sync: what was durable is there, each row once; and no sync can be left out."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.tables_kit import APP, DAY_ONE, FIRST_SCHEMA, SECOND_SCHEMA, Bench, expected, make_table

from headrace.catalog.model import Table
from headrace.clock import DAY
from headrace.settings import TableSettings
from headrace.tables.delta import log_file
from headrace.tables.maintenance import Compaction
from headrace.tables.model import CommitError, ManifestError
from headrace.testing.powercut import PowerCut, PowerCutDisk

_OTHER = "journal/dcr-2/0"
_APPS = (APP, _OTHER)
_COMPACTION = Compaction(least=3)
_SITES = (
    "tables.root",
    "tables.data.file",
    "tables.data.dir",
    "tables.data.folder",
    "tables.parent",
    "tables.log.file",
    "tables.log.dir",
    "tables.log.folder",
    "tables.checkpoint.file",
    "tables.checkpoint.dir",
    "tables.recover.file",
    "tables.recover.dir",
    "tables.recover.folder",
)
_RECOVERY = ("tables.recover.file", "tables.recover.dir", "tables.recover.folder")
_CHECKPOINT = ("tables.checkpoint.file", "tables.checkpoint.dir")
_SYNCS_BEFORE_LOG = 6
"""Syncs of a first commit with one file before that of its log entry."""
_WORST_SEED = 150


class _Machine:
    """A machine with a journal that loses nothing and a table that may: the pipeline's part is here."""

    def __init__(self, folder: Path, seed: int, without: frozenset[str] = frozenset()) -> None:
        folder.mkdir(parents=True)
        self.rng = random.Random(seed)
        self.disk = PowerCutDisk(folder, without=without)
        self.root = folder / "tables"
        narrow = make_table()
        self.tables = (narrow, dataclasses.replace(narrow, schemas=(FIRST_SCHEMA, SECOND_SCHEMA)))
        self.table: Table = narrow
        self.trimmed = dict.fromkeys(_APPS, -1)
        """What the journal has let go of: these rows can come from nowhere else."""
        small = self.rng.choice((0, 1_000_000))
        rewritten = self.rng.choice((0, 4096))
        self.settings = TableSettings(
            small_file_bytes=small, rewrite_below_rows=rewritten, checkpoint_commits=2
        )

    @contextmanager
    def running(self) -> Iterator[Bench]:
        """A process of it; it ends as if killed when the power fails."""
        bench = Bench(
            self.root, disk=self.disk, table=self.table, settings=self.settings, compaction=_COMPACTION
        )
        with bench:
            recovered = bench.store.recover()
            assert not any(item.failed for item in recovered)
            yield bench

    def work(self, bench: Bench) -> None:
        """Some of everything, in any order; the journal is trimmed to what the store calls durable."""
        for _ in range(self.rng.randint(1, 9)):
            action = self.rng.choice(("publish", "publish", "publish", "commit", "commit", "maintain", "age"))
            if action == "publish":
                app_id = self.rng.choice(_APPS)
                self.table = self.rng.choice(self.tables)
                bench.publish(
                    bench.store.position(self.table, app_id) + 1,
                    app_id=app_id,
                    table=self.table,
                    start=DAY_ONE + self.rng.choice((0, DAY - 1_000_000)),
                )
            elif action == "commit":
                bench.store.commit(self.table)
            elif action == "maintain":
                assert bench.store.maintain().failures == ()
            else:
                self.age(bench)
            for app_id in _APPS:
                self.trimmed[app_id] = bench.store.durable(self.table, app_id)

    def age(self, bench: Bench) -> None:
        """Make all log entries old enough for their removal."""
        for path in bench.folder.glob("_delta_log/*.json"):
            os.utime(path, (1_000_000_000, 1_000_000_000))

    def check(self, bench: Bench) -> None:
        """Exactly the rows up to each position, and none of the trimmed ones lost."""
        places = bench.places()
        for app_id in _APPS:
            position = bench.store.position(self.table, app_id)
            durable = bench.store.durable(self.table, app_id)
            assert self.trimmed[app_id] <= durable <= position
            found = {place: count for place, count in places.items() if place[0] == app_id}
            assert found == expected(position + 1, app_ids=[app_id])
            self.trimmed[app_id] = durable

    def live(self, rounds: int) -> None:
        """Work, fail, start again, over and over."""
        for _ in range(rounds):
            if self.rng.random() < 0.7:
                self.disk.arm(self.rng.randrange(25), after=self.rng.random() < 0.5)
            try:
                with self.running() as bench:
                    self.check(bench)
                    self.work(bench)
            except PowerCut:
                pass
            if self.rng.random() < 0.3:
                self.disk.restart()
            else:
                self.disk.cut(self.rng.randrange(2**32))
        with self.running() as bench:
            self.check(bench)
            assert bench.store.maintain().failures == ()
            self.check(bench)


def _life(folder: Path, seed: int, without: frozenset[str] = frozenset()) -> set[str]:
    machine = _Machine(folder, seed, without)
    try:
        machine.live(rounds=6)
        return set(machine.disk.sites)
    finally:
        machine.disk.close()


def test_no_power_cut_loses_or_doubles_a_row(tmp_path: Path) -> None:
    reached: set[str] = set()
    for seed in range(20):
        reached |= _life(tmp_path / str(seed), seed)
    assert reached >= set(_SITES), "every sync of the protocol was on the way"


@pytest.mark.parametrize("site", [site for site in _SITES if site not in _RECOVERY + _CHECKPOINT])
def test_without_any_one_sync_rows_are_lost(tmp_path: Path, site: str) -> None:
    for seed in range(_WORST_SEED):
        try:
            _life(tmp_path / str(seed), seed, frozenset({site}))
        except Exception:  # noqa: BLE001 - any way of failing shows that the sync is needed
            return
    pytest.fail(f"nothing broke without {site}")


def test_what_recovery_calls_durable_survives_a_power_cut(tmp_path: Path) -> None:
    for seed in range(12):
        _killed_then_cut(tmp_path / str(seed), seed)


@pytest.mark.parametrize("site", _RECOVERY)
def test_without_any_one_sync_of_recovery_rows_are_lost(tmp_path: Path, site: str) -> None:
    with pytest.raises((AssertionError, ManifestError, CommitError)):
        for seed in range(12):
            _killed_then_cut(tmp_path / str(seed), seed, frozenset({site}))


def test_log_entries_go_only_after_their_checkpoint_is_durable(tmp_path: Path) -> None:
    for seed in range(12):
        _checkpoint_then_cut(tmp_path / str(seed), seed)


@pytest.mark.parametrize("site", _CHECKPOINT)
def test_without_any_one_sync_of_a_checkpoint_the_table_is_lost(tmp_path: Path, site: str) -> None:
    with pytest.raises((AssertionError, ManifestError, CommitError)):
        for seed in range(12):
            _checkpoint_then_cut(tmp_path / str(seed), seed, frozenset({site}))


def _checkpoint_then_cut(folder: Path, seed: int, without: frozenset[str] = frozenset()) -> None:
    """A checkpoint takes the place of old log entries; the power fails at once."""
    machine = _Machine(folder, seed, without)
    try:
        with machine.running() as bench:
            for offset in range(4):
                bench.publish(offset)
                bench.store.commit(machine.table)
            machine.age(bench)
            assert bench.store.maintain().failures == ()
            assert not log_file(bench.folder, 1).exists()
            machine.check(bench)
        machine.disk.cut(seed)
        with machine.running() as bench:
            machine.check(bench)
            assert machine.trimmed[APP] == 3
    finally:
        machine.disk.close()


def _killed_then_cut(folder: Path, seed: int, without: frozenset[str] = frozenset()) -> None:
    """The process dies when its first commit is in the log and not yet synced; after the restart the
    power fails as soon as recovery is done."""
    machine = _Machine(folder, seed, without)
    try:
        with machine.running() as bench:
            bench.publish(0)
            machine.disk.arm(_SYNCS_BEFORE_LOG)
            with pytest.raises(PowerCut, match=r"tables\.log\.file"):
                bench.store.commit(machine.table)
        machine.disk.restart()
        with machine.running() as bench:
            machine.check(bench)
            assert machine.trimmed[APP] == 0
        machine.disk.cut(seed)
        with machine.running() as bench:
            machine.check(bench)
    finally:
        machine.disk.close()
