"""From the journal to table files: order, replay, bad input, versions, counts."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from tests.tables_kit import FailingDisk
from tests.transform_kit import (
    COLUMNS,
    JOURNAL,
    RULE,
    STREAM,
    PipelineBench,
    by_flow,
    make_catalog,
    make_flow,
    make_rule,
    make_table,
    wait_idle,
)

from headrace.catalog.rules import Rule
from headrace.clock import DAY, MINUTE, iso
from headrace.tables.reader import TableReader
from headrace.transform.dead_letters import WHOLE
from headrace.transform.model import Neighbours
from headrace.transform.pipeline import Pipeline
from headrace.transform.progress import FlowCounts


def rules_of(*rules: Rule) -> dict[tuple[str, int], Rule]:
    return {(rule.immutable_id, rule.version): rule for rule in rules}


def test_rows_reach_the_table_with_their_place(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        bench.send([{"Id": 1, "Text": "a"}, {"Id": 2}], zipped=True)
        bench.send([{"Id": 3, "Text": None}])
        pipeline = bench.drain()
        found = bench.rows("Id", "Text", "_Offset", "_Row", "_Source", "_RuleVersion", "_ResourceId")
        source = f"{JOURNAL}/{RULE}/0"
        assert found == [
            (1, "a", 0, 0, source, 1, ""),
            (2, "", 0, 1, source, 1, ""),
            (3, "", 1, 0, source, 1, ""),
        ]
        assert by_flow(pipeline.progress()) == {(RULE, 0): FlowCounts(received=3, stored=3)}


def test_times_far_from_the_receipt_give_way_to_it(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        now = bench.clock.now()
        kept = {0: -2 * DAY + MINUTE, 1: DAY - MINUTE, 2: 0}
        replaced = {3: -2 * DAY - MINUTE, 4: DAY + MINUTE, 5: -400 * DAY, 6: 9000 * DAY}
        times = {number: iso(now + away) for number, away in (kept | replaced).items()}
        bench.send([{"Id": number, "TimeGenerated": text} for number, text in times.items()])
        bench.send([{"Id": 7, "TimeGenerated": None}, {"Id": 8}])
        bench.drain()
        rows = bench.rows("Id", "epoch_us(TimeGenerated)", "epoch_us(_TimeReceived)")
        found = {number: (generated, received) for number, generated, received in rows}
        assert len(found) == 9
        for number, (generated, received) in found.items():
            assert (generated == received) == (number not in kept), number
        assert all(found[number][0] == now + away for number, away in kept.items())


def test_all_is_durable_and_let_go_after_a_stop(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        for number in range(5):
            bench.send([{"Id": number}])
        journal = bench.drain().progress().journals[JOURNAL]
        assert (journal.watermark, journal.next, journal.unsettled_bytes) == (5, 5, 0)


def test_a_replay_gives_nothing_twice(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        for number in range(5):
            bench.send([{"Id": number}])
        bench.drain()
        (tmp_path / "checkpoints" / f"{JOURNAL}.json").unlink()
        bench.close()
        bench.open()
        bench.send([{"Id": 5}])
        pipeline = bench.drain()
        assert [row[0] for row in bench.rows("Id")] == [0, 1, 2, 3, 4, 5]
        assert by_flow(pipeline.progress())[RULE, 0].received == 1


@pytest.mark.parametrize(
    "damage", [(b'"watermark":5', b'"watermark":7'), (b"settled", b"se\xfftled"), (b"{", b"\0")]
)
def test_a_damaged_checkpoint_passes_over_nothing(
    tmp_path: Path, damage: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        for number in range(5):
            bench.send([{"Id": number}])
        bench.drain()
        path = tmp_path / "checkpoints" / f"{JOURNAL}.json"
        assert damage[0] in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(*damage))
        bench.close()
        bench.open()
        bench.send([{"Id": 5}])
        bench.send([{"Id": 6}])
        bench.drain()
        assert [row[0] for row in bench.rows("Id")] == [0, 1, 2, 3, 4, 5, 6]
        assert f"{path} is damaged" in caplog.text


def test_records_go_through_their_version_of_the_rule(tmp_path: Path) -> None:
    other = make_table("Others_CL", incarnation="inc-2")
    rules = rules_of(make_rule(), make_rule(make_flow(table="Others_CL"), version=2))
    with PipelineBench(tmp_path, rules, (make_table(), other)) as bench:
        for number in range(9):
            bench.send([{"Id": number}], version=1 + number % 2)
        bench.drain()
        assert [row[0] for row in bench.rows("Id", table=bench.tables[0])] == [0, 2, 4, 6, 8]
        assert [row[0] for row in bench.rows("Id", table=other)] == [1, 3, 5, 7]


def _twins(*names: str, transform: str = "source") -> dict[tuple[str, int], Rule]:
    return rules_of(*(make_rule(make_flow(transform=transform), immutable_id=name) for name in names))


def test_rules_that_do_the_same_share_a_file_and_keep_their_own_places_and_counts(tmp_path: Path) -> None:
    newer = make_rule(make_flow(transform="source | where Id != 12"), version=7, immutable_id="dcr-b")
    rules = _twins("dcr-a", "dcr-c", transform="source | where Id != 12") | rules_of(newer)
    with PipelineBench(tmp_path, rules, (make_table(),), transform={"batch_seconds": 0.3}) as bench:
        bench.send([{"Id": 1}], rule="dcr-a")
        bench.send([{"Id": 11}, {"Id": 12}], rule="dcr-b", version=7)
        bench.send([{"Id": 2}], rule="dcr-a")
        bench.send([{"Id": 21}], rule="dcr-c")
        pipeline = bench.pipeline()
        pipeline.start()
        wait_idle(pipeline)
        assert bench.store is not None
        assert bench.reader is not None
        snapshot = TableReader(tmp_path / "tables").pin(bench.tables[0])
        assert [file.rows for file in snapshot.files] == [4], "one file for the three rules"
        places = {
            name: bench.store.position(bench.tables[0], f"{JOURNAL}/{name}/0")
            for name in ("dcr-a", "dcr-b", "dcr-c")
        }
        assert places == {"dcr-a": 2, "dcr-b": 1, "dcr-c": 3}
        assert pipeline.stop()
        assert bench.rows("Id", "_Offset", "_Row", "_Source", "_RuleVersion") == [
            (1, 0, 0, f"{JOURNAL}/dcr-a/0", 1),
            (11, 1, 0, f"{JOURNAL}/dcr-b/0", 7),
            (2, 2, 0, f"{JOURNAL}/dcr-a/0", 1),
            (21, 3, 0, f"{JOURNAL}/dcr-c/0", 1),
        ]
        assert by_flow(pipeline.progress()) == {
            ("dcr-a", 0): FlowCounts(received=2, stored=2),
            ("dcr-b", 0): FlowCounts(received=2, stored=1, filtered=1),
            ("dcr-c", 0): FlowCounts(received=1, stored=1),
        }
        assert pipeline.progress().journals[JOURNAL].watermark == 4


def test_a_transform_into_tables_of_other_columns_gives_each_its_own(tmp_path: Path) -> None:
    """Tables of one form share what is compiled; one that lacks a column, or is another's namesake, does not."""
    tables = (
        make_table("A_CL"),
        make_table("B_CL", incarnation="inc-2"),
        make_table("C_CL", COLUMNS[:2], incarnation="inc-3"),
    )
    rules = rules_of(
        *(
            make_rule(make_flow(transform="source | where Id > 1", table=table.name), immutable_id=table.name)
            for table in tables
        )
    )
    with PipelineBench(tmp_path, rules, tables) as bench:
        for name in ("A_CL", "B_CL", "C_CL"):
            bench.send([{"Id": 1}, {"Id": 2, "Text": name}], rule=name)
        bench.drain()
        assert bench.letters is not None
        assert not len(bench.letters)
        assert bench.rows("Id", "Text", table=tables[0]) == [(2, "A_CL")]
        assert bench.rows("Id", "Text", table=tables[1]) == [(2, "B_CL")]
        assert bench.rows("Id", table=tables[2]) == [(2,)]


def test_a_bad_row_of_one_rule_costs_only_itself_in_a_shared_run(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, _twins("dcr-a", "dcr-b"), (make_table(),)) as bench:
        bench.send([{"Id": 1}], rule="dcr-a")
        bench.send(b'[{"Id": 2}, {"Text": "\xff"}]', rule="dcr-b", count=2)
        bench.send(b"[{", rule="dcr-a", count=1)
        pipeline = bench.drain()
        assert bench.letters is not None
        letters = [(one.rule, one.offset, one.row, one.reason) for one in bench.letters.read()]
        assert sorted(letters) == [
            ("dcr-a", 2, WHOLE, "MalformedJson"),
            ("dcr-b", 1, 1, "InvalidUtf8"),
        ]
        assert bench.rows("Id", "_Source") == [(1, f"{JOURNAL}/dcr-a/0"), (2, f"{JOURNAL}/dcr-b/0")]
        assert by_flow(pipeline.progress()) == {
            ("dcr-a", 0): FlowCounts(received=2, stored=1, dead=1),
            ("dcr-b", 0): FlowCounts(received=2, stored=1, dead=1),
        }


def test_a_shared_run_that_was_published_in_part_is_replayed_rule_by_rule(tmp_path: Path) -> None:
    """After a crash the table has rows of one rule beyond those of the other: neither is lost or doubled."""
    with PipelineBench(tmp_path, _twins("dcr-a", "dcr-b"), (make_table(),)) as bench:
        bench.send([{"Id": 1}], rule="dcr-a")
        bench.drain()
        (tmp_path / "checkpoints" / f"{JOURNAL}.json").unlink()
        bench.close()
        bench.open()
        bench.send([{"Id": 2}], rule="dcr-b")
        bench.send([{"Id": 3}], rule="dcr-a")
        bench.drain()
        assert bench.rows("Id", "_Source") == [
            (1, f"{JOURNAL}/dcr-a/0"),
            (2, f"{JOURNAL}/dcr-b/0"),
            (3, f"{JOURNAL}/dcr-a/0"),
        ]


def test_a_rule_that_lags_does_not_hold_up_another(tmp_path: Path) -> None:
    """More than the queue holds waits for one rule, which stands still: what comes behind it is stored all the same."""
    go_on, blocked = threading.Event(), threading.Event()

    def stand_still(step: str) -> None:
        if step == "transform" and not blocked.is_set():
            blocked.set()
            assert go_on.wait(60)

    quiet = make_rule(make_flow(transform="source | extend Level = int(1)"), immutable_id="dcr-quiet")
    transform = {"batch_bytes": 100_000, "queue_bytes": 1024 * 1024, "threads": 3}
    with PipelineBench(tmp_path, rules_of(make_rule(), quiet), (make_table(),), transform=transform) as bench:
        pipeline = bench.pipeline(stand_still)
        pipeline.start()
        for number in range(60):
            bench.send([{"Id": number, "Text": "x" * 50_000}])
        assert blocked.wait(60)
        for number in range(3):
            bench.send([{"Id": 1000 + number}], rule="dcr-quiet")
        deadline = time.monotonic() + 60
        while not {row[0] for row in bench.rows("Id")} >= {1000, 1001, 1002}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not pipeline.idle()
        assert pipeline.progress().journals[JOURNAL].next < 60
        go_on.set()
        wait_idle(pipeline)
        bench.send([{"Id": 60, "Text": "after"}])
        wait_idle(pipeline)
        assert pipeline.stop()
        assert pipeline.progress().journals[JOURNAL].watermark == 64
        rows = bench.rows("Id", "_Source")
        assert [row[0] for row in rows] == [*range(60), 1000, 1001, 1002, 60]
        assert by_flow(pipeline.progress()) == {
            (RULE, 0): FlowCounts(received=61, stored=61),
            ("dcr-quiet", 0): FlowCounts(received=3, stored=3),
        }


def test_late_records_survive_a_stop_in_between(tmp_path: Path) -> None:
    go_on = threading.Event()

    def stand_still(step: str) -> None:
        if step == "transform" and not go_on.is_set():
            go_on.wait(60)
            raise OSError("the disk is gone for a moment")

    quiet = make_rule(make_flow(transform="source | extend Level = int(1)"), immutable_id="dcr-quiet")
    transform = {"batch_bytes": 100_000, "queue_bytes": 1024 * 1024, "threads": 3}
    with PipelineBench(tmp_path, rules_of(make_rule(), quiet), (make_table(),), transform=transform) as bench:
        for number in range(60):
            bench.send([{"Id": number, "Text": "x" * 50_000}])
        bench.send([{"Id": 1000}], rule="dcr-quiet")
        pipeline = bench.pipeline(stand_still)
        pipeline.start()
        time.sleep(0.3)
        stopping = threading.Thread(target=pipeline.stop, args=(0.2,))
        stopping.start()
        time.sleep(0.5)
        go_on.set()
        stopping.join()
        bench.close()
        bench.open()
        bench.drain()
        assert {row[0] for row in bench.rows("Id")} == {*range(60), 1000}


def test_batches_of_one_rule_run_side_by_side_and_are_published_in_order(tmp_path: Path) -> None:
    published: list[int] = []
    with PipelineBench(
        tmp_path, rules_of(make_rule()), (make_table(),), transform={"batch_bytes": 1024, "threads": 3}
    ) as bench:
        for number in range(30):
            bench.send([{"Id": number, "Text": "x" * (900 if number % 3 else 300)}])
        assert bench.store is not None
        store, table = bench.store, bench.tables[0]

        def note(step: str) -> None:
            if step == "published":
                published.append(store.position(table, f"{JOURNAL}/{RULE}/0"))

        pipeline = bench.pipeline(note)
        pipeline.start()
        wait_idle(pipeline)
        assert pipeline.stop()
        assert published == sorted(published)
        assert len(published) > 10
        assert bench.rows("Id") == [(number,) for number in range(30)]


def test_two_flows_take_every_record(tmp_path: Path) -> None:
    other = make_table("Others_CL", incarnation="inc-2")
    rule = make_rule(make_flow(0), make_flow(1, table="Others_CL"))
    with PipelineBench(tmp_path, rules_of(rule), (make_table(), other)) as bench:
        bench.send([{"Id": 1}, {"Id": 2}])
        bench.drain()
        assert bench.rows("Id") == bench.rows("Id", table=other) == [(1,), (2,)]


def test_streams_of_one_rule_do_not_hold_each_other_up(tmp_path: Path) -> None:
    rule = make_rule(make_flow(0), make_flow(1, stream="Custom-More"))
    with PipelineBench(tmp_path, rules_of(rule), (make_table(),)) as bench:
        for number in range(20):
            bench.send([{"Id": number}], stream=(STREAM, "Custom-More")[number % 2])
        bench.drain()
        assert {row[0] for row in bench.rows("Id")} == set(range(20))
        assert len(bench.rows("Id")) == 20


def test_batches_are_cut_at_their_bound(tmp_path: Path) -> None:
    settings = {"batch_bytes": 1024, "queue_bytes": 1024 * 1024}
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),), transform=settings) as bench:
        for number in range(40):
            bench.send([{"Id": number, "Text": "x" * 200}])
        bench.drain()
        assert [row[0] for row in bench.rows("Id")] == list(range(40))


@pytest.mark.parametrize("body", [b"[{]", b"", b'[{"Id": 1}] 2'], ids=["syntax", "empty", "trailing"])
def test_an_unreadable_payload_costs_only_itself(tmp_path: Path, body: bytes) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        bench.send([{"Id": 1}])
        bench.send(body, count=3)
        bench.send([{"Id": 2}])
        pipeline = bench.drain()
        assert bench.rows("Id") == [(1,), (2,)]
        assert bench.letters is not None
        (letter,) = bench.letters.read()
        assert (letter.offset, letter.flow, letter.row, letter.reason) == (1, 0, WHOLE, "MalformedJson")
        assert (letter.body, letter.rows, letter.rule, letter.rule_version) == (body, 3, RULE, 1)
        assert by_flow(pipeline.progress())[RULE, 0] == FlowCounts(received=5, stored=2, dead=3)


def test_a_row_that_is_not_utf8_costs_only_itself(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        bench.send(b'[{"Id": 1}, {"Text": "\xff"}, {"Id": 2}]', count=3)
        pipeline = bench.drain()
        assert bench.rows("Id", "_Row") == [(1, 0), (2, 2)]
        assert bench.letters is not None
        (letter,) = bench.letters.read()
        assert (letter.row, letter.reason, letter.body) == (1, "InvalidUtf8", b'{"Text": "\xff"}')
        assert by_flow(pipeline.progress())[RULE, 0] == FlowCounts(received=3, stored=2, dead=1)


def test_broken_gzip_goes_to_the_letters(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        record = bench.send([{"Id": 1}], zipped=True)
        assert bench.journal is not None
        broken = record.entry.body[:-9]
        entry = type(record.entry)("r", "c", "p", RULE, 1, STREAM, "gzip", broken, record.entry.length, 1)
        bench.loop.run_until_complete(bench.journal.append(entry))
        bench.drain()
        assert bench.rows("Id") == [(1,)]
        assert bench.letters is not None
        assert [(letter.offset, letter.reason) for letter in bench.letters.read()] == [(1, "BrokenGzip")]


def test_vanished_rules_tables_and_streams_go_to_the_letters(tmp_path: Path) -> None:
    gone = make_rule(make_flow(table="Gone_CL"), immutable_id="dcr-gone-table")
    with PipelineBench(tmp_path, rules_of(make_rule(), gone), (make_table(),)) as bench:
        bench.send([{"Id": 1}], rule="dcr-nobody")
        bench.send([{"Id": 2}], rule="dcr-gone-table")
        bench.send([{"Id": 3}], stream="Custom-Unknown")
        bench.send([{"Id": 4}])
        bench.drain()
        assert bench.letters is not None
        found = {letter.offset: (letter.reason, letter.flow) for letter in bench.letters.read()}
        assert found == {0: ("RuleNotFound", WHOLE), 1: ("TableNotFound", 0), 2: ("NoDataFlow", WHOLE)}
        assert bench.rows("Id") == [(4,)]


def test_rows_of_a_deleted_table_do_not_hold_the_journal(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        bench.send([{"Id": 1}])
        pipeline = bench.pipeline()
        pipeline.start()
        wait_idle(pipeline)
        assert bench.store is not None
        (key,) = bench.store.stored()
        bench.store.drop(key)
        bench.view.current = make_catalog()
        assert pipeline.stop()
        assert pipeline.progress().journals[JOURNAL].watermark == 1


def test_settled_records_never_reach_a_table_made_anew(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        bench.send([{"Id": 1}])
        bench.drain()
        bench.close()
        remade = make_table(incarnation="inc-9")
        bench.view.current = make_catalog(remade)
        bench.open()
        bench.send([{"Id": 2}])
        bench.drain()
        assert bench.rows("Id", table=remade) == [(2,)]


def test_members_that_are_no_objects_are_dropped_in_compatible_mode(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),), mode="compatible") as bench:
        bench.send([{"Id": 1}, 7, "x", None, [1], {}, {"Id": 2}])
        bench.send(b'{"Id": 3}', count=1)
        bench.drain()
        assert bench.rows("Id", "_Row") == [(1, 0), (None, 5), (2, 6)]


def test_a_stop_without_work_is_clean(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        assert by_flow(bench.drain().progress()) == {}


def test_work_that_comes_while_it_runs_is_taken(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        pipeline = bench.pipeline()
        pipeline.start()
        for number in range(3):
            bench.send([{"Id": number}])
            wait_idle(pipeline)
        assert pipeline.stop()
        assert [row[0] for row in bench.rows("Id")] == [0, 1, 2]


def test_a_pipeline_that_rested_takes_what_comes_then(tmp_path: Path) -> None:
    """While nothing comes the journals are looked at more rarely; whoever waits for rows has them looked at at once."""
    with PipelineBench(
        tmp_path, rules_of(make_rule()), (make_table(),), transform={"batch_seconds": 0.2}
    ) as bench:
        pipeline = bench.pipeline()
        pipeline.start()
        for number in range(3):
            time.sleep(0.3)
            bench.send([{"Id": number}])
            wait_idle(pipeline)
            assert len(bench.rows("Id")) == number + 1
        assert pipeline.stop()


def test_a_damaged_record_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),)) as bench:
        bench.send([{"Id": 1}])
        bench.send([{"Id": 2, "Text": "spoil me"}])
        bench.send([{"Id": 3}])
        (segment,) = (
            path for path in (tmp_path / "journal" / JOURNAL).iterdir() if b"spoil me" in path.read_bytes()
        )
        with segment.open("r+b") as file:
            file.seek(segment.read_bytes().index(b"spoil me"))
            file.write(b"s")
            file.write(b"P")
        pipeline = bench.drain()
        assert bench.rows("Id") == [(1,), (3,)]
        journal = pipeline.progress().journals[JOURNAL]
        assert (journal.watermark, journal.damaged) == (3, 1)


def test_a_table_that_the_disk_broke_is_mended_and_filled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.transform.pipeline.REPAIR_SECONDS", 0.1)
    disk = FailingDisk("tables.data.file")
    settings = {"commit_bytes": 1024}
    rules = rules_of(make_rule())
    with PipelineBench(tmp_path, rules, (make_table(),), disk=disk, store_settings=settings) as bench:
        pipeline = bench.pipeline()
        pipeline.start()
        for number in range(6):
            bench.send([{"Id": number, "Text": "x" * 100}])
            time.sleep(0.05)
        time.sleep(0.5)
        assert pipeline.progress().journals[JOURNAL].watermark == 0
        disk.failing = False
        wait_idle(pipeline)
        assert pipeline.stop()
        assert [row[0] for row in bench.rows("Id")] == list(range(6))
        assert pipeline.progress().journals[JOURNAL].watermark == 6


def test_a_journal_that_cannot_be_trimmed_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.transform.pipeline.REPAIR_SECONDS", 0.05)
    disk = FailingDisk("journal.trim.dir")
    with PipelineBench(tmp_path, rules_of(make_rule()), (make_table(),), disk=disk) as bench:
        for number in range(3):
            # Each start of a journal begins another segment.
            bench.close()
            bench.open()
            bench.send([{"Id": number}])
        assert [row[0] for row in _drained(bench)] == [0, 1, 2]
        bench.close()
        bench.open()
        bench.send([{"Id": 3}])
        assert [row[0] for row in _drained(bench)] == [0, 1, 2, 3]
        disk.failing = False
        bench.close()
        bench.open()
        bench.send([{"Id": 4}])
        assert [row[0] for row in _drained(bench)] == [0, 1, 2, 3, 4]
        assert len([*(tmp_path / "journal" / JOURNAL).glob("*.seg")]) == 1
    assert caplog.text.count("cannot be trimmed: Input/output error") == 2


def _drained(bench: PipelineBench) -> list[tuple[object, ...]]:
    bench.drain()
    return bench.rows("Id")


class _StoreRefusesError(Exception):
    """As the resource store's, which the pipeline does not know."""


def test_a_rule_that_cannot_be_looked_up_for_now_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = True

    def rules(rule: str, version: int) -> Rule:
        if refusing:
            raise _StoreRefusesError
        return make_rule()

    with PipelineBench(tmp_path, {}, (make_table(),)) as bench:
        assert bench.store is not None
        assert bench.letters is not None
        assert bench.reader is not None
        readers = {JOURNAL: bench.reader}
        neighbours = Neighbours(rules, bench.view, bench.store, bench.letters, passing=(_StoreRefusesError,))
        pipeline = Pipeline(lambda: readers, neighbours, bench.settings, bench.clock)
        for number in range(3):
            bench.send([{"Id": number}])
        pipeline.start()
        while pipeline.progress().retries < 2:
            time.sleep(0.005)
        refusing = False
        wait_idle(pipeline)
        assert pipeline.stop()
        assert [row[0] for row in bench.rows("Id")] == [0, 1, 2]
    assert caplog.text.count("will be tried again") == 1
