from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import OperationalError

from headrace.clock import ManualClock
from headrace.identity.store import principal
from headrace.store.database import (
    Database,
    StoreError,
    StoreNotReadyError,
    StoreTooNewError,
    change_number,
)
from headrace.store.live import LiveView
from headrace.store.metadata import metadata


def row(name: str) -> dict[str, object]:
    return {"object_id": name, "kind": "User", "display_name": name, "enabled": True, "created": 0}


def test_migrations_make_exactly_the_declared_tables(database: Database) -> None:
    for room in ("identity", "arm"):
        if importlib.util.find_spec(f"headrace.{room}.store") is not None:
            importlib.import_module(f"headrace.{room}.store")
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(principal), [row("a")])
    database.migrate()
    with database.read() as connection:
        assert connection.execute(select(principal.c.object_id)).scalars().all() == ["a"]


def test_each_write_raises_the_number_with_its_content_and_tells_listeners(database: Database) -> None:
    seen: list[int] = []
    remove = database.on_change(seen.append)
    with database.write() as connection:
        connection.execute(insert(principal), [row("a")])
        inside = change_number(connection)
        assert database.change() == inside - 1
        assert seen == []
    assert database.change() == inside
    assert seen == [inside]
    remove()
    with database.write():
        pass
    assert seen == [inside]


def test_a_failed_block_leaves_nothing_behind(database: Database) -> None:
    seen: list[int] = []
    database.on_change(seen.append)
    before = database.change()
    with pytest.raises(KeyError), database.write() as connection:
        connection.execute(insert(principal), [row("a")])
        raise KeyError
    assert (database.change(), seen) == (before, [])
    with database.write() as connection:
        assert connection.execute(select(principal)).all() == []


def test_a_rehearsal_sees_what_it_would_write_and_leaves_nothing(database: Database) -> None:
    told: list[int] = []
    database.on_change(told.append)
    before = database.change()
    with database.rehearsal() as connection:
        connection.execute(insert(principal), [row("a")])
        assert change_number(connection) == before + 1
        assert connection.execute(select(principal.c.object_id)).scalars().all() == ["a"]
        with pytest.raises(RuntimeError), database.write():
            pass
    assert (database.change(), told) == (before, [])
    with database.write() as connection:
        assert connection.execute(select(principal.c.object_id)).scalars().all() == []


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    with database.read() as connection:
        before = change_number(connection)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_touch, database).result()
        assert change_number(connection) == before
    assert database.change() == before + 1


def test_writers_of_many_threads_never_share_a_number(database: Database) -> None:
    numbers: list[int] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for _ in range(15):
            with database.write() as connection:
                numbers.append(change_number(connection))

    first = database.change() + 1
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work) for _ in range(6)]:
            done.result()
    assert numbers == list(range(first, first + 90))


def test_writes_do_not_nest(database: Database) -> None:
    with database.write(), pytest.raises(RuntimeError, match="already open"), database.write():
        pass
    with database.write():
        pass


def test_what_was_committed_survives_the_death_of_its_process(tmp_path: Path, database: Database) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from headrace.store.database import Database
database = Database.open(Path(sys.argv[1]))
for _ in range(7):
    with database.write():
        pass
    print(database.change(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store.db")], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    last = int(done.stdout.split()[-1])
    reader = Database.open(tmp_path / "store.db", read_only=True)
    assert reader.change() == last == database.change()
    reader.close()


def test_another_process_reads_while_this_one_holds_a_write_open(tmp_path: Path, database: Database) -> None:
    reader = Database.open(tmp_path / "store.db", read_only=True)
    with database.write() as connection:
        assert reader.change() == change_number(connection) - 1
    assert reader.change() == database.change()
    reader.close()


def test_a_store_opened_for_reading_cannot_be_written(tmp_path: Path, database: Database) -> None:
    reader = Database.open(tmp_path / "store.db", read_only=True)
    with pytest.raises(RuntimeError, match="for reading"), reader.write():
        pass
    with pytest.raises(OperationalError, match="readonly"), reader.read() as connection:
        connection.execute(update(principal).values(enabled=False))
    reader.close()


def test_a_reader_waits_for_the_first_migration(tmp_path: Path) -> None:
    path = tmp_path / "deep %41 &?#.db"
    with pytest.raises(StoreNotReadyError, match="no store"):
        Database.open(path, read_only=True)
    database = Database.open(path)
    with pytest.raises(StoreNotReadyError, match="brought up"):
        Database.open(path, read_only=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Database.open, path, read_only=True, wait_seconds=30)
        database.migrate()
        waiting.result().close()
    database.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_store_of_a_newer_version_is_refused_by_name(tmp_path: Path, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("update alembic_version set version_num = '9999_future'"))
    for attempt in (lambda: Database.open(tmp_path / "store.db", read_only=True), database.migrate):
        with pytest.raises(StoreTooNewError, match="9999_future"):
            attempt()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, surely" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Database.open(tmp_path / "store.db")
    with pytest.raises(StoreError):
        Database.open(tmp_path / "store.db", read_only=True)


def test_a_damaged_store_is_refused_in_words(tmp_path: Path, database: Database) -> None:
    database.close()
    path = tmp_path / "store.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(4096) + content[8192:])
    damaged = Database.open(path)
    with pytest.raises(StoreError, match=r"store\.db .*malformed"):
        damaged.migrate()
    damaged.close()


def test_foreign_keys_are_enforced_and_commits_are_synced(database: Database) -> None:
    with database.read() as connection:
        for pragma, value in (("foreign_keys", 1), ("synchronous", 2), ("journal_mode", "wal")):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value


def test_a_live_view_loads_again_only_when_something_changed(database: Database) -> None:
    clock = ManualClock()
    loads: list[int] = []

    def load(_connection: object, change: int) -> int:
        loads.append(change)
        return change

    view = LiveView(database, load, clock=clock)
    assert view.refresh() is False
    _touch(database)
    assert view.current == view.change == database.change() - 1
    assert view.refresh() is True
    assert view.current == view.change == database.change()
    assert len(loads) == 2
    clock.advance(3_000_000)
    assert view.age() == 3.0
    view.refresh()
    assert view.age() == 0.0


def test_a_live_view_keeps_its_value_when_loading_fails(database: Database) -> None:
    clock = ManualClock()
    broken = False

    def load(_connection: object, change: int) -> int:
        if broken:
            raise ValueError("unreadable")
        return change

    view = LiveView(database, load, clock=clock)
    before = view.current
    broken = True
    _touch(database)
    clock.advance(1_000_000)
    with pytest.raises(ValueError, match="unreadable"):
        view.refresh()
    assert (view.current, view.age()) == (before, 1.0)


def _touch(database: Database) -> None:
    with database.write():
        pass


def test_a_store_that_another_process_writes_for_too_long_is_refused_in_words(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.store.database.BUSY_SECONDS", 0.05)
    other = Database.open(tmp_path / "store.db")
    with (
        database.write(),
        pytest.raises(StoreError, match="cannot be written now: database is locked"),
        other.write(),
    ):
        pass
    _touch(other)
    other.close()
