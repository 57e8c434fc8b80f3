"""What the doctor finds, one check at a time; the whole of it is in tests/server."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.tables_kit import Bench

from headrace.cli import doctor
from headrace.cli.doctor import Finding
from headrace.data_folder import DataFolder, open_data_folder
from headrace.disk import RealDisk
from headrace.tables.delta import log_file


def one(findings: object) -> Finding:
    (found,) = list(findings)  # type: ignore[call-overload]
    assert isinstance(found, Finding)
    return found


@pytest.mark.parametrize(("apart", "level"), [(0, "good"), (20, "good"), (90, "warning"), (-600, "bad")])
def test_clocks_apart(apart: int, level: str) -> None:
    now = time.time()
    found = doctor.check_clock(formatdate(now + apart, usegmt=True), now)
    assert found.level == level
    assert bool(found.cure) is (level != "good")


def test_a_server_that_does_not_tell_its_time() -> None:
    assert doctor.check_clock(None, 0).level == "warning"


def test_a_port_that_is_taken_and_one_that_is_free() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = one(doctor.check_port("127.0.0.1", port))
        assert taken.level == "bad" and "--port" in taken.cure
    assert one(doctor.check_port("127.0.0.1", port)).level == "good"
    elsewhere = one(doctor.check_port("192.0.2.1", 0))
    assert elsewhere.level == "bad" and "--host" in elsewhere.cure


def test_a_data_folder_before_and_after_its_first_use(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    levels = {found.check: found.level for found in doctor.check_folder(folder)}
    assert levels["data folder"] == "good"
    open_data_folder(folder, RealDisk())
    levels = {found.check: found.level for found in doctor.check_folder(folder)}
    assert levels["data folder"] == "good" and "disk" in levels
    folder.chmod(0o755)
    wide = next(found for found in doctor.check_folder(folder) if found.check == "data folder")
    assert (wide.level, wide.cure) == ("warning", f"chmod 700 {folder}")


def test_formats_and_a_store_that_are_not_whole(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    formats = tmp_path / "format.json"
    formats.write_text(json.dumps({"journal": 99}))
    assert "newer release" in one(doctor.check_store(folder)).message
    formats.write_text("{")
    assert one(doctor.check_store(folder)).level == "bad"
    formats.write_text(json.dumps({"journal": 1}))
    with sqlite3.connect(folder.store) as connection:
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 500)
    connection.close()
    assert one(doctor.check_store(folder)).level == "good"
    content = bytearray(folder.store.read_bytes())
    content[8192:9000] = b"\xff" * 808
    folder.store.write_bytes(content)
    assert one(doctor.check_store(folder)).level == "bad"
    folder.store.write_bytes(b"no database")
    assert one(doctor.check_store(folder)).level == "bad"


def test_damaged_files_of_a_table_are_named(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with Bench(folder.tables) as bench:
        for offset in range(2):
            bench.publish(offset)
            bench.store.commit(bench.table)
        assert list(doctor.check_tables(folder)) == []
        data = bench.folder / bench.reader.pin(bench.table).files[0].path
        content = data.read_bytes()
        for damaged in (content[:50], bytes(len(content))):
            data.write_bytes(damaged)
            found = one(doctor.check_tables(folder))
            assert (found.level, str(data) in found.message) == ("bad", True)
        data.write_bytes(content)
        entry = log_file(bench.folder, 1)
        entry.write_bytes(b"\0\xff")
        assert str(entry) in one(doctor.check_tables(folder)).message


def test_numbers_of_the_metrics() -> None:
    text = "# HELP x\nheadrace_pipeline_lag_seconds 75.5\nheadrace_dead_letters 3.0\n"
    lag, letters = doctor.check_numbers(text)
    assert (lag.level, letters.level) == ("warning", "warning")
    assert "76 s" in lag.message and "3 could not" in letters.message
    assert (
        one(doctor.check_numbers("headrace_pipeline_lag_seconds 0.0\nheadrace_dead_letters 0\n")).level
        == "good"
    )


def test_a_clock_that_was_ahead() -> None:
    lines = [f'headrace_journal_ahead_seconds{{gateway="{n}",journal="j{n}"}} 172800.0\n' for n in range(2)]
    found = one(doctor.check_numbers("".join(lines)))
    assert (found.level, found.check) == ("warning", "received times")
    assert "48.0 h" in found.message and "clock.md" in found.cure
    assert list(doctor.check_numbers("headrace_journal_ahead_seconds 1.5\n")) == []


def test_an_address_where_nothing_answers() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        found = doctor.check_certificate(f"https://127.0.0.1:{holder.getsockname()[1]}", {})
    assert found.level == "bad" and "cannot be reached" in found.message
