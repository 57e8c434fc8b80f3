"""Order within a lane, fairness between lanes, bounds, and how far a journal may be let go."""

from __future__ import annotations

from tests.transform_kit import make_table

from headrace.clock import SECOND, ManualClock
from headrace.journal.model import Entry, Record
from headrace.transform.lanes import Batch, Lanes, Need

TABLE = make_table()


def record(offset: int, rule: str = "a", size: int = 10, version: int = 1, journal: str = "j") -> Record:
    entry = Entry("r", "c", "p", rule, version, "s", "", b"x" * size, size, 1)
    return Record(journal, offset, 0, entry)


def lanes(clock: ManualClock, batch_bytes: int = 100, queue_bytes: int = 1000) -> Lanes:
    return Lanes(batch_bytes, 1.0, queue_bytes, clock)


def taken(batch: Batch | None) -> tuple[str, list[int]]:
    assert batch is not None
    return batch.key[1], [record.offset for record in batch.records]


def test_a_batch_waits_to_fill_or_to_age() -> None:
    clock = ManualClock()
    some = lanes(clock)
    some.put(record(0))
    clock.advance(SECOND)
    assert taken(some.take()) == ("a", [0])
    for offset in range(1, 15):
        some.put(record(offset))
    assert not some.is_idle()


def test_a_full_batch_is_cut_at_the_bound_and_at_a_new_version() -> None:
    clock = ManualClock()
    some = lanes(clock)
    for offset in range(12):
        some.put(record(offset, version=1 if offset < 3 else 2))
    first = some.take()
    assert taken(first) == ("a", [0, 1, 2])
    assert first is not None
    some.finish(first, ())
    clock.advance(SECOND)
    assert taken(some.take()) == ("a", list(range(3, 12)))


def test_one_batch_of_a_lane_runs_at_a_time() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10)
    for offset in range(3):
        some.put(record(offset))
    some.put(record(3, rule="b"))
    first = some.take()
    assert taken(first) == ("a", [0])
    assert taken(some.take()) == ("b", [3])
    assert first is not None
    some.finish(first, ())
    assert taken(some.take()) == ("a", [1])


def test_a_busy_lane_does_not_delay_a_quiet_one() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10, queue_bytes=10_000)
    for offset in range(50):
        some.put(record(offset, rule="busy"))
    some.put(record(50, rule="quiet", size=1))
    order = []
    clock.advance(SECOND)
    for _ in range(3):
        batch = some.take()
        assert batch is not None
        order.append(batch.key[1])
        some.finish(batch, ())
    assert "quiet" in order


def test_room_counts_what_waits_and_what_runs() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10, queue_bytes=50)
    for offset in range(3):
        some.put(record(offset))
    assert some.room() == 20
    batch = some.take()
    assert some.room() == 20
    assert batch is not None
    some.finish(batch, ())
    assert some.room() == 30


def test_the_watermark_is_the_first_record_that_is_not_durable() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    for offset, rule in enumerate("abab"):
        some.put(record(offset, rule))
    assert some.watermark("j", 4) == 0
    a, b = some.take(), some.take()
    assert a is not None
    assert b is not None
    some.finish(b, [Need(TABLE, "b", 3)])
    some.settle(lambda need: True)
    assert some.watermark("j", 4) == 0
    some.finish(a, [Need(TABLE, "a", 2)])
    some.settle(lambda need: False)
    assert some.watermark("j", 4) == 0
    assert some.unsettled_bytes("j") == 20
    assert some.settled_above("j", 0) == {"b": 3}
    some.settle(lambda need: need.app_id == "a")
    assert some.watermark("j", 4) == 4
    assert some.watermark("other", 9) == 9
    assert some.settled_above("j", 4) == {}


def test_a_retry_keeps_the_order_and_waits() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    for offset in range(4):
        some.put(record(offset))
    batch = some.take()
    assert batch is not None
    some.retry(batch, 5.0)
    assert some.watermark("j", 4) == 0
    clock.advance(5 * SECOND)
    again = some.take()
    assert taken(again) == ("a", [0, 1])
    assert again is not None
    assert again.attempt == 1
    some.finish(again, ())
    last = some.take()
    assert taken(last) == ("a", [2, 3])
    assert last is not None
    assert last.attempt == 0


def test_draining_waits_for_nothing() -> None:
    some = lanes(ManualClock())
    some.put(record(0))
    some.drain()
    assert taken(some.take()) == ("a", [0])


def test_a_closed_lane_hands_out_nothing() -> None:
    some = lanes(ManualClock())
    some.put(record(0))
    some.close()
    assert some.take() is None
    assert some.watermark("j", 1) == 0


def test_an_abandoned_batch_keeps_the_journal_until_a_reset() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10)
    some.put(record(0))
    some.put(record(1, rule="b"))
    batch, other = some.take(), some.take()
    assert batch is not None
    assert other is not None
    some.abandon(batch)
    assert some.watermark("j", 2) == 0
    assert not some.reset()
    some.finish(other, ())
    assert some.reset()
    assert some.is_idle()
    assert some.watermark("j", 0) == 0
