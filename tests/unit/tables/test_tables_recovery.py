from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import CommitProperties, DeltaTable
from tests.tables_kit import APP, Bench, expected, make_table

from headrace.disk import RealDisk
from headrace.settings import TableSettings
from headrace.tables.delta import LOG, log_file, read_entry
from headrace.tables.manifest import NAME, read_manifest
from headrace.tables.model import Manifest, TableBrokenError, TableKey
from headrace.tables.recovery import Recovered, stored_tables


def _again(bench: Bench) -> Bench:
    """The same folder after a restart, not yet recovered."""
    return Bench(bench.root, table=bench.table, settings=bench.settings)


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_lost_file_takes_all_later_ones_with_it(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        files = [bench.publish(offset) for offset in range(4)]
        _damage(bench.folder / files[1].path)
    with _again(bench) as again:
        assert again.store.recover() == (Recovered(TableKey.of(bench.table), published=1, lost=3),)
        assert again.store.position(bench.table, APP) == 0
        assert again.places() == expected(1)
        again.replay(5)
        assert again.places() == expected(5)
        again.store.commit(bench.table)
        assert again.places() == expected(5)


def test_a_torn_manifest_means_what_delta_has(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        bench.publish(0)
        bench.store.commit(bench.table)
        bench.publish(1)
        _damage(bench.folder / NAME)
    with _again(bench) as again:
        again.store.recover()
        assert again.store.position(bench.table, APP) == again.store.durable(bench.table, APP) == 0
        assert again.places() == expected(1)
        again.replay(3)
        assert again.places() == expected(3)


def test_a_log_entry_torn_anywhere_is_no_commit(tmp_path: Path) -> None:
    """Also where it is cut between two lines: then each line is whole, and only the count tells."""
    with Bench(tmp_path / "whole" / "tables", settings=TableSettings(small_file_bytes=0)) as bench:
        bench.publish(0)
        bench.store.commit(bench.table)
        bench.publish(1)
        bench.publish(2)
        before = (bench.folder / NAME).read_bytes()
        bench.store.commit(bench.table)
        (bench.folder / NAME).write_bytes(before)
    content = log_file(bench.folder, 2).read_bytes()
    lines = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    cuts = {0, 1, len(content) - 1, *lines, *(place - 1 for place in lines), *range(5, len(content), 400)}
    for cut in sorted(cuts - {len(content)}):
        root = tmp_path / str(cut) / "tables"
        shutil.copytree(bench.root, root)
        with Bench(root, table=bench.table) as again:
            log_file(again.folder, 2).write_bytes(content[:cut])
            again.store.recover()
            assert again.places() == expected(3)
            again.replay(4)
            again.store.commit(bench.table)
            assert again.places() == expected(4), cut
            assert again.store.durable(bench.table, APP) == 3
            assert DeltaTable(again.folder).to_pyarrow_table().num_rows == 12


def test_a_commit_that_the_manifest_missed_is_found(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        bench.publish(0)
        bench.publish(1)
        before = (bench.folder / NAME).read_bytes()
        bench.store.commit(bench.table)
        (bench.folder / NAME).write_bytes(before)
    with _again(bench) as again:
        assert again.store.recover() == (Recovered(TableKey.of(bench.table), covered=2),)
        assert again.places() == expected(2)
        manifest = read_manifest(again.folder)
        assert manifest is not None
        assert (manifest.delta_version, manifest.published) == (1, ())


def test_an_entry_of_another_program_stays(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        bench.publish(0)
        bench.store.commit(bench.table)
        (bench.folder / NAME).unlink()
        table = DeltaTable(bench.folder)
        table.alter.set_table_description("kept", commit_properties=CommitProperties())
        entry = read_entry(bench.folder, 2)
        assert entry is not None and entry.whole
    with _again(bench) as again:
        again.store.recover()
        assert DeltaTable(bench.folder).metadata().description == "kept"
        assert again.places() == expected(1)


@pytest.mark.parametrize("damage", [_damage, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_checkpoint_that_was_not_made_durable_is_done_without(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with Bench(tmp_path / "tables") as bench:
        for offset in range(3):
            bench.publish(offset)
            bench.store.commit(bench.table)
        DeltaTable(bench.folder).create_checkpoint()
        (checkpoint,) = bench.folder.glob(f"{LOG}/*.checkpoint.parquet")
        damage(checkpoint)
    with _again(bench) as again:
        assert not any(item.failed for item in again.store.recover())
        assert again.places() == expected(3)
        assert again.store.durable(bench.table, APP) == 2


def test_one_table_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    other = make_table()
    with Bench(tmp_path / "tables") as bench:
        for table in (bench.table, other):
            bench.publish(0, table=table)
            bench.store.commit(table)
        log_file(bench.folder, 0).write_bytes(b"{not json")
    with _again(bench) as again:
        failed = [item.key for item in again.store.recover() if item.failed]
        assert failed == [TableKey.of(bench.table)]
        assert len(again.query(["Count"], other)) == 3
        again.publish(1, table=other)
        assert again.store.position(other, APP) == 1
        assert again.store.maintain().failures == ()


def test_a_log_that_lost_a_durable_version_stops_the_table(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        bench.publish(0)
        bench.store.commit(bench.table)
        log_file(bench.folder, 0).write_bytes(b"{not json")
    with _again(bench) as again:
        assert [item.failed for item in again.store.recover()] == [True]
        with pytest.raises(TableBrokenError):
            again.publish(1)
        assert again.store.position(bench.table, APP) == again.store.durable(bench.table, APP) == -1
        assert again.store.commit_due(everything=True).failures == ()


def test_names_that_are_no_tables_are_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "tables"
    (root / "a" / "b" / ".c.gone" / "v1").mkdir(parents=True)
    (root / "a" / "b" / "c d").mkdir()
    (root / "a" / "b" / "file").touch()
    (root / "a" / "b" / "real").mkdir()
    assert list(stored_tables(root)) == [TableKey("a", "b", "real")]
    with Bench(root) as bench:
        bench.store.recover()
    assert not (root / "a" / "b" / ".c.gone").exists()
    assert (root / "a" / "b" / "c d").exists()


class _AskingDisk(RealDisk):
    """Asks a question at every sync of the log, and never before."""

    def __init__(self) -> None:
        self.ask: Callable[[], int] = lambda: -1
        self.answers: dict[str, int] = {}

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        if site.startswith("tables.log."):
            self.answers[site] = self.ask()
        super().sync_file(path, site, fd)

    def sync_dir(self, path: Path, site: str) -> None:
        if site.startswith("tables.log."):
            self.answers[site] = self.ask()
        super().sync_dir(path, site)


def test_nothing_is_durable_before_the_last_sync(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        bench.publish(0)
        bench.store.commit(bench.table)
        bench.publish(1)
    disk = _AskingDisk()
    with Bench(bench.root, table=bench.table, disk=disk) as again:
        again.store.recover()
        disk.ask = lambda: again.store.durable(bench.table, APP)
        again.store.commit(bench.table)
        assert disk.answers["tables.log.file"] == disk.answers["tables.log.dir"] == 0
        assert again.store.durable(bench.table, APP) == 1


def test_an_untouched_folder_recovers_to_nothing(tmp_path: Path) -> None:
    with Bench(tmp_path / "tables") as bench:
        bench.store.new_file(bench.table)
        assert bench.store.stored() == (TableKey.of(bench.table),)
    with _again(bench) as again:
        assert not any(item.changed for item in again.store.recover())
        assert read_manifest(again.folder) == Manifest(serial=1)
        assert again.places().total() == 0


@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"PAR1 and nothing more"])
def test_log_entries_stand_in_for_a_damaged_checkpoint(tmp_path: Path, content: bytes) -> None:
    settings = TableSettings(checkpoint_commits=2)
    with Bench(tmp_path / "tables", settings=settings) as bench:
        for offset in range(3):
            bench.publish(offset)
            bench.store.commit(bench.table)
        assert bench.store.maintain().failures == ()
        (checkpoint,) = bench.folder.glob("_delta_log/*.checkpoint.parquet")
        checkpoint.write_bytes(content)
    with _again(bench) as again:
        assert not any(one.failed for one in again.store.recover())
        assert again.places() == expected(3)
        again.replay(4)
        again.store.commit(bench.table)
        assert again.store.maintain().failures == ()
        (made,) = bench.folder.glob("_delta_log/*.checkpoint.parquet")
        assert made.read_bytes() != content
    with _again(bench) as again:
        again.store.recover()
        assert again.places() == expected(4)


def test_a_log_that_cannot_be_read_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Bench(tmp_path / "tables") as bench:
        for offset in range(2):
            bench.publish(offset)
            bench.store.commit(bench.table)
        path = log_file(bench.folder, 1)
        path.write_bytes(b"\0" * 100)
    with _again(bench) as again:
        assert again.store.recover() == (Recovered(TableKey.of(bench.table), failed=True),)
        for _ in range(2):
            assert again.store.repair(bench.table).failed
    assert caplog.text.count("takes nothing") == caplog.text.count(f"damaged: {path}: put back a copy") == 1
