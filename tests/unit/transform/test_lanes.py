"""Order within a lane, fairness between lanes, bounds, and how far a journal may be let go."""

from __future__ import annotations

import threading

from tests.transform_kit import make_table

from headrace.clock import SECOND, ManualClock
from headrace.journal.model import Entry, Record
from headrace.tables.model import TableKey
from headrace.transform.batch import Batch, Need
from headrace.transform.lanes import LONGEST_WAIT, RUN_SECONDS, Lanes

TABLE = make_table()


def record(offset: int, rule: str = "a", size: int = 10, version: int = 1, journal: str = "j") -> Record:
    entry = Entry("r", "c", "p", rule, version, "s", "", b"x" * size, size, 1)
    return Record(journal, offset, 0, entry)


def lanes(clock: ManualClock, batch_bytes: int = 100, queue_bytes: int = 1000) -> Lanes:
    return Lanes(batch_bytes, 1.0, queue_bytes, clock)


def take(some: Lanes) -> Batch:
    """The one batch that runs next."""
    (batch,) = some.take() or ()
    return batch


def taken(batch: Batch) -> tuple[str, list[int]]:
    return batch.key[1], [record.offset for record in batch.records]


def test_a_batch_waits_to_fill_or_to_age() -> None:
    clock = ManualClock()
    some = lanes(clock)
    some.put(record(0))
    clock.advance(SECOND)
    assert taken(take(some)) == ("a", [0])
    for offset in range(1, 15):
        some.put(record(offset))
    assert not some.is_idle()


def test_a_full_batch_is_cut_at_the_bound_and_at_a_new_version() -> None:
    clock = ManualClock()
    some = lanes(clock)
    for offset in range(12):
        some.put(record(offset, version=1 if offset < 3 else 2))
    first = take(some)
    assert taken(first) == ("a", [0, 1, 2])
    some.finish(first, ())
    clock.advance(SECOND)
    assert taken(take(some)) == ("a", list(range(3, 12)))


def test_a_second_batch_of_a_lane_runs_only_when_it_is_full() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    for offset in range(7):
        some.put(record(offset))
    some.put(record(7, rule="b", size=20))
    first, second = take(some), take(some)
    assert (taken(first), taken(second)) == (("a", [0, 1]), ("b", [7]))
    third = take(some)
    assert taken(third) == ("a", [2, 3])
    some.put(record(8, rule="c", size=20))
    assert taken(take(some)) == ("c", [8]), "two of a lane run already"
    some.finish(first, ())
    assert taken(take(some)) == ("a", [4, 5])
    some.finish(third, ())
    some.put(record(9, rule="d", size=20))
    assert taken(take(some)) == ("d", [9]), "what is left is not full"


def test_each_batch_waits_for_its_turn() -> None:
    some = lanes(ManualClock(), batch_bytes=10)
    for offset in range(2):
        some.put(record(offset))
    first, second = take(some), take(some)
    turns: list[bool] = []
    waiting = threading.Thread(target=lambda: turns.append(some.turn(second)))
    waiting.start()
    assert some.turn(first)
    assert not turns
    some.finish(first, ())
    waiting.join()
    assert turns == [True]
    assert some.watermark("j", 2) == 0
    some.settle(lambda need: True)
    assert some.watermark("j", 2) == 1


def test_a_failure_takes_the_batches_behind_it_back() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    for offset in range(6):
        some.put(record(offset))
    first, second = take(some), take(some)
    some.retry(first, 2.0)
    assert not some.turn(second)
    some.overtaken(second)
    assert some.watermark("j", 6) == 0
    clock.advance(SECOND)
    some.put(record(6, rule="b", size=20))
    assert taken(take(some)) == ("b", [6]), "it is not time yet"
    clock.advance(SECOND)
    again = take(some)
    assert (taken(again), again.attempt) == (("a", [0, 1]), 1)
    behind = take(some)
    assert taken(behind) == ("a", [2, 3])
    assert some.turn(again)
    some.finish(again, ())
    assert some.turn(behind)


def test_a_later_batch_that_fails_does_not_touch_the_one_before() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10)
    for offset in range(3):
        some.put(record(offset))
    first, second = take(some), take(some)
    some.retry(second, 0.0)
    assert some.turn(first)
    some.finish(first, ())
    assert taken(take(some)) == ("a", [1])
    assert taken(take(some)) == ("a", [2])


def sharing(clock: ManualClock, batch_bytes: int = 100) -> Lanes:
    """Rules of the same first letter share; `x` never does."""

    def shares(one: Record) -> str | None:
        return None if one.entry.rule.startswith("x") else one.entry.rule[0]

    return Lanes(batch_bytes, 1.0, 10_000, clock, shares)


def test_lanes_that_share_run_together_up_to_a_bound() -> None:
    clock = ManualClock()
    some = sharing(clock)
    for offset, rule in enumerate(("a1", "a2", "b1", "a1", "x1", "x2", "a3")):
        some.put(record(offset, rule))
    some.put(record(7, "a4", size=90))
    clock.advance(SECOND)
    run = some.take() or ()
    assert [taken(batch) for batch in run] == [("a1", [0, 3]), ("a2", [1]), ("a3", [6]), ("a4", [7])]
    assert [taken(batch) for batch in some.take() or ()] == [("b1", [2])]
    assert [taken(batch) for batch in some.take() or ()] == [("x1", [4])]
    assert all(some.turn(batch) for batch in run)
    for batch in run:
        some.finish(batch, ())
    some.settle(lambda need: True)
    assert some.watermark("j", 8) == 2


def test_a_run_takes_no_more_of_others_than_fits() -> None:
    clock = ManualClock()
    some = sharing(clock, batch_bytes=30)
    for offset in range(3):
        some.put(record(2 * offset, "a1"))
        some.put(record(2 * offset + 1, "a2"))
    assert [taken(batch) for batch in some.take() or ()] == [("a1", [0, 2, 4])]
    assert [taken(batch) for batch in some.take() or ()] == [("a2", [1, 3, 5])]


def test_after_a_failure_lanes_run_apart() -> None:
    clock = ManualClock()
    some = sharing(clock)
    some.put(record(0, "a1"))
    some.put(record(1, "a2"))
    clock.advance(SECOND)
    run = some.take() or ()
    assert len(run) == 2
    some.retry(run[0], 0.0)
    assert some.turn(run[1])
    some.overtaken(run[1])
    some.put(record(2, "a3"))
    clock.advance(SECOND)
    apart = [[taken(batch) for batch in some.take() or ()] for _ in range(3)]
    assert sorted(apart) == [[("a1", [0])], [("a2", [1])], [("a3", [2])]]


def test_while_a_failed_batch_is_tried_again_what_follows_runs_apart_too() -> None:
    """Its rule may be to blame: the next failure would count against all that ran with it."""
    clock = ManualClock()
    some = sharing(clock, batch_bytes=20)
    for offset in range(2):
        some.put(record(offset, "a1"))
    some.retry((some.take() or ())[0], 0.0)
    for offset in range(2, 5):
        some.put(record(offset, "a1", size=9))
    some.put(record(5, "a2", size=1))
    apart = [[taken(batch) for batch in some.take() or ()] for _ in range(2)]
    assert apart == [[("a1", [0, 1])], [("a1", [2, 3])]]


def test_with_many_lanes_batches_wait_longer_to_fill() -> None:
    clock = ManualClock()
    some = lanes(clock, queue_bytes=100_000)
    for offset in range(150):
        some.put(record(offset, rule=f"r{offset}"))
    some.put(record(150, rule="full", size=100))
    clock.advance(int(LONGEST_WAIT / 2 * SECOND))
    soon = int(LONGEST_WAIT / 2 / RUN_SECONDS)
    assert [taken(take(some))[0] for _ in range(3)] == ["full", "r0", "r1"]
    assert len([take(some) for _ in range(soon - 2)]) == soon - 2
    assert not some.is_idle()
    clock.advance(int(LONGEST_WAIT / 2 * SECOND))
    assert len([take(some) for _ in range(150 - soon)]) == 150 - soon


def test_time_until_a_record_is_read_counts_as_waiting_up_to_a_bound() -> None:
    """A journal that is looked at more rarely while nothing comes makes no row show later."""
    clock = ManualClock()
    some = Lanes(100, 1.0, 1000, clock, unread_seconds=0.1)
    for place, (rule, age) in enumerate({"old": 5.0, "late": 0.05, "new": 0.0}.items()):
        entry = record(place, rule).entry
        some.put(Record("j", place, clock.now() - int(age * SECOND), entry))
    order = []
    for waited in (0.9, 0.05, 0.05):
        clock.advance(int(waited * SECOND))
        order.append(taken(take(some))[0])
    assert order == ["old", "late", "new"]


def test_when_the_queue_is_nearly_full_batches_do_not_wait_to_fill() -> None:
    """What is behind them could not be read; the one that waits longest goes first."""
    clock = ManualClock()
    some = lanes(clock, queue_bytes=400)
    for offset in range(30):
        some.put(record(offset, rule=f"r{offset % 20}"))
    assert taken(take(some)) == ("r0", [0, 20])
    some.put(record(30, rule="r0"))
    assert taken(take(some)) == ("r1", [1, 21])


def test_a_nearly_full_queue_shortens_no_rest_after_a_failure() -> None:
    clock = ManualClock()
    some = lanes(clock, queue_bytes=40)
    for offset in range(3):
        some.put(record(offset, rule="failed"))
    some.retry(take(some), 60.0)
    some.put(record(3, rule="other"))
    assert taken(take(some)) == ("other", [3])
    clock.advance(60 * SECOND)
    assert taken(take(some)) == ("failed", [0, 1, 2])


def test_a_busy_lane_does_not_delay_a_quiet_one() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10, queue_bytes=10_000)
    for offset in range(50):
        some.put(record(offset, rule="busy"))
    some.put(record(50, rule="quiet", size=1))
    order = []
    clock.advance(SECOND)
    for _ in range(3):
        batch = take(some)
        order.append(batch.key[1])
        some.finish(batch, ())
    assert "quiet" in order


def test_room_counts_what_waits_and_what_runs() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=10, queue_bytes=50)
    for offset in range(3):
        some.put(record(offset))
    assert some.room() == 20
    batch = take(some)
    assert some.room() == 20
    some.finish(batch, ())
    assert some.room() == 30


def test_the_watermark_is_the_first_record_that_is_not_durable() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    for offset, rule in enumerate("abab"):
        some.put(record(offset, rule))
    assert some.watermark("j", 4) == 0
    a, b = take(some), take(some)
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


def test_batches_of_one_table_settle_by_themselves() -> None:
    """A commit makes the rows of its table durable; the others need not be asked about."""
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    other = make_table("Other_CL", incarnation="inc-2")
    for offset, rule in enumerate("aabbcc"):
        some.put(record(offset, rule))
    some.finish(take(some), [Need(TABLE, "a", 1)])
    some.finish(take(some), [Need(other, "b", 3)])
    some.finish(take(some), [])
    asked: list[str] = []

    def durable(need: Need) -> bool:
        asked.append(need.app_id)
        return True

    some.settle(durable, {TableKey.of(other)})
    assert asked == ["b"]
    assert some.settled_above("j", 0) == {"b": 3, "c": 5}
    assert some.unsettled_bytes("j") == 20
    some.settle(durable)
    assert (some.watermark("j", 6), some.unsettled_bytes("j")) == (6, 0)


def test_a_retry_keeps_the_order_and_waits() -> None:
    clock = ManualClock()
    some = lanes(clock, batch_bytes=20)
    for offset in range(4):
        some.put(record(offset))
    batch = take(some)
    some.retry(batch, 5.0)
    assert some.watermark("j", 4) == 0
    clock.advance(5 * SECOND)
    again = take(some)
    assert taken(again) == ("a", [0, 1])
    assert again.attempt == 1
    some.finish(again, ())
    last = take(some)
    assert taken(last) == ("a", [2, 3])
    assert last.attempt == 0


def test_draining_waits_for_nothing() -> None:
    some = lanes(ManualClock())
    some.put(record(0))
    some.drain()
    assert taken(take(some)) == ("a", [0])


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
    batch, other = take(some), take(some)
    some.abandon(batch)
    assert some.watermark("j", 2) == 0
    assert not some.reset()
    some.finish(other, ())
    assert some.reset()
    assert some.is_idle()
    assert some.watermark("j", 0) == 0


def test_a_lane_of_before_a_reset_takes_none_of_after_it_away() -> None:
    some = lanes(ManualClock(), batch_bytes=10)
    some.put(record(0))
    some.finish(take(some), [Need(TABLE, "a", 0)])

    def begin_again(_: Need) -> bool:
        assert some.reset()
        some.put(record(0))
        return True

    some.settle(begin_again)
    assert some.watermark("j", 1) == 0


def test_a_batch_behind_an_abandoned_one_gives_way_to_the_reset() -> None:
    some = lanes(ManualClock(), batch_bytes=10)
    for offset in range(3):
        some.put(record(offset))
    first, second = take(some), take(some)
    some.abandon(first)
    assert not some.turn(second)
    assert not some.reset()
    some.overtaken(second)
    assert some.watermark("j", 3) == 0
    assert some.reset()
    assert some.is_idle()
