"""Repeated calls are known again: in journal order, across journals, restarts and lost power, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.tables_kit import FailingDisk
from tests.transform_kit import RULE, STREAM, PipelineBench, by_flow, make_flow, make_rule, make_table

from headrace.clock import MINUTE, SECOND, ManualClock
from headrace.disk import RealDisk
from headrace.journal.model import Entry, Record
from headrace.observe.log_errors import STREAM as LOG_ERRORS
from headrace.transform.progress import FlowCounts
from headrace.transform.seen import SITE, SeenCalls

ONE, OTHER = "0b5c1f0a-1111-4222-8333-444455556666", "0b5c1f0a-1111-4222-8333-777788889999"
WINDOW = 600.0
START = ManualClock().now()


def call(
    offset: int,
    client: str = "client",
    body: bytes = b"[{}]",
    *,
    journal: str = ONE,
    at: float = 0,
    version: int = 1,
    stream: str = STREAM,
    resource: str = "",
) -> Record:
    request = f"00000000-0000-4000-8000-{offset:012d}"
    entry = Entry(request, client, "p", RULE, version, stream, "", body, len(body), 1, resource_id=resource)
    return Record(journal, offset, START + int(at * SECOND), entry)


def open_seen(root: Path, clock: ManualClock | None = None, disk: RealDisk | None = None) -> SeenCalls:
    return SeenCalls(
        root / "seen", disk or RealDisk(), clock or ManualClock(), WINDOW, segment_calls=8, max_segments=6
    )


def repeats(seen: SeenCalls, records: Sequence[Record]) -> list[int]:
    seen.note(records)
    return [one.offset for one in records if seen.original(one.journal, one.offset) is not None]


def test_only_the_same_call_is_a_repeat(tmp_path: Path) -> None:
    seen = open_seen(tmp_path)
    records = [
        call(0),
        call(1),
        call(2, body=b"[{ }]"),
        call(3, "another"),
        call(4, version=2),
        call(5, stream="Custom-Other"),
        call(6, ""),
        call(7, ""),
        call(8, stream=LOG_ERRORS),
        call(9, stream=LOG_ERRORS),
        call(10),
        call(11, resource="/one"),
        call(12, resource="/two"),
        call(13, resource="/one"),
    ]
    assert repeats(seen, records) == [1, 10, 13]
    assert seen.original(ONE, 10) == "00000000-0000-4000-8000-000000000000"
    seen.close()


def test_the_window_counts_from_the_original(tmp_path: Path) -> None:
    seen = open_seen(tmp_path)
    assert repeats(seen, [call(0), call(1, at=599)]) == [1]
    assert repeats(seen, [call(2, at=601), call(3, at=1200)]) == [3]
    assert seen.original(ONE, 3) == "00000000-0000-4000-8000-000000000002"
    seen.close()


def test_a_restart_decides_the_same_whatever_is_read_first(tmp_path: Path) -> None:
    seen = open_seen(tmp_path)
    assert repeats(seen, [call(0)]) == []
    assert repeats(seen, [call(0, journal=OTHER, at=-1), call(1, "x", journal=OTHER)]) == [0]
    seen.close()
    again = open_seen(tmp_path)
    assert repeats(again, [call(0, journal=OTHER, at=-1), call(1, "x", journal=OTHER)]) == [0]
    assert repeats(again, [call(0), call(1), call(2, "x")]) == [1, 2]
    again.close()


def test_files_roll_and_many_calls_are_found_again(tmp_path: Path) -> None:
    seen = open_seen(tmp_path)
    for offset in range(40):
        assert repeats(seen, [call(offset, f"c{offset}", at=offset)]) == []
    assert len(list((tmp_path / "seen").iterdir())) > 5
    assert repeats(seen, [call(100 + offset, f"c{offset}", at=50) for offset in range(40)]) == [
        100 + offset for offset in range(40)
    ]
    seen.close()


def test_what_can_meet_no_repeat_is_dropped_and_no_more(tmp_path: Path) -> None:
    clock = ManualClock()
    seen = open_seen(tmp_path, clock)
    for offset in range(12):
        seen.note([call(offset, f"c{offset}")])
    seen.note([call(12, "late", at=300)])
    before = len(seen)
    clock.advance(5000 * MINUTE)
    seen.settled(ONE, 12)
    # Offset 12 may come again in a replay, and is within the window of all.
    assert len(seen) == before
    assert repeats(seen, [call(12, "late", at=300), call(13, "c0", at=300)]) == [13]
    seen.settled(ONE, 14)
    assert len(seen) < before
    seen.close()


def test_files_are_bounded(tmp_path: Path) -> None:
    seen = open_seen(tmp_path)
    for offset in range(200):
        seen.note([call(offset, f"c{offset}")])
        seen.settled(ONE, offset + 1)
    assert len(list((tmp_path / "seen").iterdir())) <= 7
    seen.close()


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    seen = open_seen(tmp_path)
    seen.note([call(0)])
    seen.note([call(1, "torn")])
    seen.close()
    (path,) = (tmp_path / "seen").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    again = open_seen(tmp_path)
    assert repeats(again, [call(5), call(6, "torn")]) == [5]
    again.close()


def test_after_a_refused_sync_all_is_noted_anew(tmp_path: Path) -> None:
    disk = FailingDisk(SITE)
    seen = SeenCalls(tmp_path / "seen", disk, ManualClock(), WINDOW)
    disk.failing = False
    seen.note([call(0)])
    disk.failing = True
    with pytest.raises(OSError, match="Input"):
        seen.sync()
    disk.failing = False
    with pytest.raises(OSError, match="may be lost"):
        seen.sync()
    assert seen.lost()
    seen.reopen()
    assert repeats(seen, [call(0), call(1)]) == [1]
    seen.sync()
    seen.close()


def test_several_journals_are_synced_before_rows_are_published(tmp_path: Path) -> None:
    disk = FailingDisk(SITE)
    seen = SeenCalls(tmp_path / "seen", disk, ManualClock(), WINDOW)
    disk.failing = False
    seen.note([call(0)])
    disk.failing = True
    seen.among(1)
    seen.before_publishing()
    seen.among(2)
    with pytest.raises(OSError, match="Input"):
        seen.before_publishing()
    seen.close()


def test_a_repeated_call_is_stored_once_and_counted(tmp_path: Path) -> None:
    rule = make_rule(make_flow(0), make_flow(1, "source | where Id > 1", "Others_CL"))
    tables = (make_table(), make_table("Others_CL", incarnation="inc-2"))
    with PipelineBench(tmp_path, {(RULE, 1): rule}, tables) as bench:
        bench.send([{"Id": 1}, {"Id": 2}], client="c")
        bench.send([{"Id": 1}, {"Id": 2}], client="c")
        bench.drain()
        bench.close()
        bench.open()
        bench.send([{"Id": 1}, {"Id": 2}], client="c")
        bench.send([{"Id": 3}], client="c")
        pipeline = bench.drain()
        assert [row[0] for row in bench.rows("Id")] == [1, 2, 3]
        assert [row[0] for row in bench.rows("Id", table=tables[1])] == [2, 3]
        counts = FlowCounts(received=3, stored=1, duplicate=2)
        assert by_flow(pipeline.progress()) == {(RULE, 0): counts, (RULE, 1): counts}


def test_a_repeat_of_a_dead_letter_makes_no_other(tmp_path: Path) -> None:
    rule = make_rule(make_flow(0, table="Gone_CL"))
    with PipelineBench(tmp_path, {(RULE, 1): rule}, (make_table(),)) as bench:
        bench.send([{"Id": 1}], client="c")
        bench.send([{"Id": 1}], client="c")
        pipeline = bench.drain()
        assert bench.letters is not None
        assert len(bench.letters) == 1
        assert by_flow(pipeline.progress()) == {(RULE, 0): FlowCounts(received=2, dead=1, duplicate=1)}


@pytest.mark.parametrize("place", [3, 70, 140])
def test_damage_costs_its_calls_alone(tmp_path: Path, place: int) -> None:
    seen = open_seen(tmp_path)
    calls = [call(offset, f"client-{offset}") for offset in range(3)]
    for one in calls:
        seen.note([one])
    seen.close()
    (path,) = (tmp_path / "seen").iterdir()
    content = bytearray(path.read_bytes())
    content[place] ^= 0x04
    path.write_bytes(content)
    again = open_seen(tmp_path)
    damaged = place // (len(content) // 3)
    repeated = [call(offset + 5, f"client-{offset}") for offset in range(3)]
    assert repeats(again, repeated) == [offset + 5 for offset in range(3) if offset != damaged]
    again.close()
