"""One journal into the lanes: every record once and in order, whichever of the two readers brings it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.transform_kit import JOURNAL, RULE, PipelineBench, make_rule, make_table

from headrace.clock import SystemClock
from headrace.journal.model import Record
from headrace.transform.checkpoint import Checkpoint
from headrace.transform.feed import JournalFeed
from headrace.transform.lanes import Lanes


def test_the_second_reader_ends_where_the_first_goes_on(tmp_path: Path) -> None:
    """Records that came after the first reader's last look are queued once, and noted before they are queued."""
    noted: list[int] = []

    def note(_: str, records: Sequence[Record]) -> bool:
        noted.extend(record.offset for record in records)
        return True

    with PipelineBench(tmp_path, {(RULE, 1): make_rule()}, (make_table(),)) as bench:
        assert bench.reader is not None
        lanes = Lanes(10_000_000, 0.0, 1_000_000, SystemClock())
        feed = JournalFeed(JOURNAL, bench.reader, lanes, Checkpoint(), 0, 0)
        for number in range(8):
            bench.send([{"Id": number, "Text": "x" * 100_000}])
        assert feed.read(note)
        assert (feed.next, feed.place()) == (8, 5)
        bench.send([{"Id": 8}])
        bench.send([{"Id": 9}])
        taken: list[int] = []
        lanes.drain()
        while not lanes.is_idle():
            for batch in lanes.take() or ():
                taken.extend(record.offset for record in batch.records)
                assert set(taken) <= set(noted)
                lanes.finish(batch, ())
            feed.read(note)
        assert taken == noted == [*range(10)]
        assert feed.place() == 10
        feed.close()


def test_a_late_rule_that_stands_still_holds_up_no_other_late_one(tmp_path: Path) -> None:
    """The table of one takes nothing; the other was late for a moment, behind the first one's backlog."""
    rules = {(name, 1): make_rule(immutable_id=name) for name in ("dcr-stuck", "dcr-burst")}
    with PipelineBench(tmp_path, rules, (make_table(),)) as bench:
        assert bench.reader is not None
        lanes = Lanes(200_000, 0.0, 1_000_000, SystemClock())
        feed = JournalFeed(JOURNAL, bench.reader, lanes, Checkpoint(), 0, 0)
        for name in ("dcr-stuck",) * 12 + ("dcr-burst",) * 12:
            bench.send([{"Id": 1, "Text": "x" * 100_000}], rule=name)
        lanes.drain()
        taken: list[int] = []
        while len(taken) < 12:
            feed.read(lambda _key, _records: True)
            for batch in lanes.take() or ():
                if batch.key[1] == "dcr-stuck":
                    lanes.abandon(batch)
                else:
                    taken.extend(record.offset for record in batch.records)
                    lanes.finish(batch, ())
        assert taken == [*range(12, 24)]
        assert feed.place() < 12
        assert lanes.reset()
        feed.rewind(0)
        lanes.drain()
        taken.clear()
        while len(taken) < 24:
            feed.read(lambda _key, _records: True)
            for batch in lanes.take() or ():
                taken.extend(record.offset for record in batch.records)
                lanes.finish(batch, ())
        assert sorted(taken) == [*range(24)]
        assert feed.place() == 24
        feed.close()
