"""The rules' metrics: what counters grew belongs to minutes, over restarts of any process, within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.clock import DAY, MINUTE, ManualClock
from headrace.observe.metrics import Snapshot
from headrace.observe.rule_metrics import DEFINITIONS, RuleMetrics

START = 20_000 * DAY
GATEWAYS = ("headrace_wire_bytes_total", "headrace_rows_accepted_total", "headrace_requests_total")
NAMES = [definition.name for definition in DEFINITIONS]


def gateway(rows: float, started: float = 1.0, rule: str = "dcr-1") -> Snapshot:
    labels = ("0", rule, "Custom-A")
    return {
        "headrace_process_start_time_seconds": [(("gateway-0",), started)],
        "headrace_wire_bytes_total": [(labels, rows * 10)],
        "headrace_rows_accepted_total": [(labels, rows)],
        "headrace_requests_total": [((*labels, "204"), rows / 2), ((*labels, "400"), 1.0)],
    }


def engine(dropped: float, runs: float, seconds: float) -> Snapshot:
    flow = ("dcr-1", "Custom-A", "0")
    return {
        "headrace_process_start_time_seconds": [(("engine-0",), 1.0)],
        "headrace_flow_rows_total": [
            ((*flow, "stored"), 50.0),
            ((*flow, "filtered"), dropped),
            ((*flow, "dead_lettered"), 2.0),
            ((*flow, "duplicate"), 9.0),
        ],
        "headrace_transform_errors_total": [(("dcr-1", "Custom-A", "TableNotFound"), 2.0)],
        "headrace_transform_runs_total": [(flow[:2], runs)],
        "headrace_transform_seconds_total": [(flow[:2], seconds)],
    }


def found(
    metrics: RuleMetrics, rule: str = "dcr-1", start: int = START, days: int = 1
) -> set[tuple[object, ...]]:
    return {
        ((minute - START) // MINUTE, NAMES[point.metric], point.detail, point.total, point.count)
        for minute, point in metrics.points(rule, start, start + days * DAY)
    }


def test_each_counter_becomes_its_metric(tmp_path: Path) -> None:
    metrics = RuleMetrics(tmp_path, ManualClock(START))
    metrics.look([gateway(10), engine(3, 4, 0.5)])
    assert found(metrics) == {
        (0, "BytesReceived_Count", "", 100, 1),
        (0, "ApiCallReceived_Count", "204", 5, 1),
        (0, "ApiCallReceived_Count", "400", 1, 1),
        (0, "RowsReceived_Count", "", 10, 1),
        (0, "RowsDropped_Count", "", 5, 1),
        (0, "TransformationErrors_Count", "TableNotFound", 2, 1),
        (0, "TransformationRuntime_DurationMs", "", 500, 4),
    }
    assert found(metrics, "dcr-2") == set()


def test_what_grew_belongs_to_the_minute_and_outlives_restarts(tmp_path: Path) -> None:
    clock = ManualClock(START)
    metrics = RuleMetrics(tmp_path, clock)
    metrics.look([gateway(10)])
    metrics.look([gateway(12)])
    clock.advance(MINUTE)
    both, other = gateway(12), gateway(2, rule="dcr-2")
    metrics.look([{name: [*both[name], *other[name]] if name in GATEWAYS else both[name] for name in both}])
    clock.advance(MINUTE)
    metrics.look([gateway(20)])
    metrics.close()
    # The process that looks was started again, then the gateway, whose counters begin at 0.
    again = RuleMetrics(tmp_path, clock)
    clock.advance(MINUTE)
    again.look([gateway(21)])
    clock.advance(MINUTE)
    again.look([gateway(30, started=2.0)])
    rows = {one[:1] + one[3:] for one in found(again) if one[1] == "RowsReceived_Count"}
    assert rows == {(0, 12, 1), (2, 8, 1), (3, 1, 1), (4, 30, 1)}
    assert len(found(again, "dcr-2")) == 4


def test_a_process_that_does_not_answer_is_not_counted_twice(tmp_path: Path) -> None:
    metrics = RuleMetrics(tmp_path, ManualClock(START))
    metrics.look([gateway(10), engine(3, 1, 1)])
    metrics.look([{"headrace_process_up": [(("gateway-0",), 0.0)]}, engine(3, 1, 1)])
    metrics.look([gateway(11), engine(3, 1, 1)])
    assert (0, "RowsReceived_Count", "", 11, 1) in found(metrics)


def test_old_days_and_too_many_bytes_go(tmp_path: Path) -> None:
    clock = ManualClock(START)
    metrics = RuleMetrics(tmp_path, clock)
    for day in range(3):
        metrics.look([gateway(day + 1)])
        clock.advance(DAY)
    metrics.look([gateway(9)])
    assert len(list(tmp_path.glob("*.minutes"))) == 3
    clock.advance(92 * DAY)
    metrics.look([gateway(10)])
    assert found(metrics) == set()
    assert len(list(tmp_path.glob("*.minutes"))) == 2
    metrics.close()
    small = RuleMetrics(tmp_path, clock, max_bytes=300)
    small.look([gateway(11)])
    clock.advance(DAY)
    small.look([gateway(12)])
    assert len(list(tmp_path.glob("*.minutes"))) == 1


def minutes(path: Path, clock: ManualClock, ended: int) -> RuleMetrics:
    """Metrics of so many minutes that have ended, one row received in each, and of one under way."""
    metrics = RuleMetrics(path, clock)
    for rows in range(1, ended + 1):
        metrics.look([gateway(rows)])
        clock.advance(MINUTE)
    metrics.look([gateway(ended + 1)])
    return metrics


def received(metrics: RuleMetrics) -> list[tuple[object, ...]]:
    return sorted(one[:1] + one[3:4] for one in found(metrics) if one[1] == "RowsReceived_Count")


@pytest.mark.parametrize("lost", [3, 40, 10_000])
def test_a_crash_between_the_counters_and_their_minute_costs_nothing(tmp_path: Path, lost: int) -> None:
    clock = ManualClock(START)
    minutes(tmp_path, clock, 1)
    (path,) = tmp_path.glob("*.minutes")
    # The counters were kept at once with the minute; the write of that was cut short.
    path.write_bytes(path.read_bytes()[: -min(lost, path.stat().st_size)])
    again = RuleMetrics(tmp_path, clock)
    again.look([gateway(2)])
    assert received(again) == [(0, 1), (1, 1)]


def test_damage_costs_its_minute_alone(tmp_path: Path) -> None:
    clock = ManualClock(START)
    minutes(tmp_path, clock, 3)
    (path,) = tmp_path.glob("*.minutes")
    content = bytearray(path.read_bytes())
    for place in (len(content) // 2, 1):
        content[place] ^= 0x40
        path.write_bytes(content)
        again = RuleMetrics(tmp_path, clock)
        again.look([gateway(4)])
        assert (3, 1) in received(again)
        assert (2, 1) in received(again)
    assert len(received(again)) == 2


def test_a_clock_that_is_set_wrong_for_a_while_costs_no_minute(tmp_path: Path) -> None:
    clock = ManualClock()
    began = clock.now()
    metrics = RuleMetrics(tmp_path, clock)
    for minute in range(16):
        metrics.look([gateway(float(minute))])
        clock.advance(MINUTE)
    before = [minute for minute, _ in metrics.points("dcr-1", began, began + 15 * MINUTE)]
    for jump in (400, -400):
        clock.set(clock.now() + jump * DAY)
        metrics.look([gateway(100.0 + jump)])
        clock.advance(MINUTE)
        metrics.look([gateway(600.0 + jump)])
    metrics.close()
    assert len(before) >= 14
    assert [minute for minute, _ in metrics.points("dcr-1", began, began + 15 * MINUTE)] == before
