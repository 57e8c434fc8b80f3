"""Usage by hour and table, kept over restarts and told once; and rows about the server on their way to their tables."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.transform_kit import (
    CUSTOMER,
    WORKSPACE,
    PipelineBench,
    make_catalog,
    make_flow,
    make_rule,
    make_table,
)

from headrace.catalog import standard
from headrace.clock import DAY, HOUR, MINUTE, ManualClock, iso
from headrace.observe.operations import Events
from headrace.observe.own_rows import OPERATION, USAGE, stream_of
from headrace.observe.usage import UsageMeter
from headrace.transform.own_rule import own_rule

START = 480_000 * HOUR
"""The first hour of a day."""


def test_an_hour_is_told_once_it_is_over(tmp_path: Path) -> None:
    clock = ManualClock(START + 59 * MINUTE)
    meter = UsageMeter(tmp_path / "usage.json", clock)
    meter.stored("w", "A_CL", 2, 1_500_000)
    meter.stored("w", "A_CL", 1, 500_000)
    meter.stored("w", "B_CL", 5, 10)
    assert meter.due() == []
    clock.advance(MINUTE)
    meter.stored("w", "A_CL", 9, 9)
    (hour,) = meter.due()
    first, second = hour.rows("/workspaces/w")
    assert (first.DataType, first.Quantity, first.QuantityUnit) == ("A_CL", 2.0, "MBytes")
    assert (first.StartTime, first.EndTime, first.TimeGenerated) == (
        iso(START),
        iso(START + HOUR),
        iso(START + HOUR),
    )
    assert (second.DataType, second.Quantity, second.ResourceUri) == ("B_CL", 0.00001, "/workspaces/w")
    meter.told(hour)
    assert meter.due() == []


def test_counts_outlive_a_restart_and_a_torn_file_costs_them(tmp_path: Path) -> None:
    clock = ManualClock(START)
    meter = UsageMeter(tmp_path / "usage.json", clock)
    meter.stored("w", "A_CL", 2, 100)
    meter.save()
    again = UsageMeter(tmp_path / "usage.json", clock)
    again.stored("w", "A_CL", 3, 100)
    clock.advance(HOUR)
    (hour,) = again.due()
    assert hour.tables == (("A_CL", 5, 200),)
    again.told(hour)
    again.save()
    assert UsageMeter(tmp_path / "usage.json", clock).due() == []
    (tmp_path / "usage.json").write_bytes(b'[["torn"')
    assert UsageMeter(tmp_path / "usage.json", clock).due() == []


def test_a_day_is_summed_up_once(tmp_path: Path) -> None:
    clock = ManualClock(START)
    meter = UsageMeter(tmp_path / "usage.json", clock)
    for _ in range(24):
        meter.stored("w", "A_CL", 2, 100)
        clock.advance(HOUR)
        for hour in meter.due():
            meter.told(hour)
    assert meter.past_days() == [(START, "w", 48, 2400)]
    assert meter.past_days() == []


def test_a_lasting_trouble_is_said_once_an_hour() -> None:
    events = Events()
    said = [events.trouble(START + minute * MINUTE, "c", "k", "Warning", "d") for minute in range(0, 180, 10)]
    assert [row.TimeGenerated for row in said if row is not None] == [iso(START + n * HOUR) for n in range(3)]
    assert events.trouble(START, "c", "another", "Warning", "d") is not None


def test_own_rows_go_through_the_pipeline_and_are_no_usage(tmp_path: Path) -> None:
    tables = [standard.untouched(CUSTOMER, name) for name in (USAGE, OPERATION)]
    usage, operation = (table for table in tables if table is not None)
    things = make_table()
    workspace = make_catalog(usage, operation, things).workspaces[CUSTOMER]
    own = own_rule(workspace)
    rule = make_rule(make_flow(0, "source | where Id != 2"))
    rules = {(one.immutable_id, 1): one for one in (own, rule)}
    with PipelineBench(tmp_path, rules, (usage, operation, things)) as bench:
        now = bench.clock.now()
        clock = ManualClock(now)
        bench.usage = UsageMeter(tmp_path / "usage.json", clock)
        bench.send(b'[{"Id": 1}, {"Id": 2}, {"Id": 3}, {"Id": 4}]', count=4)
        bench.drain()
        clock.advance(HOUR)
        (hour,) = bench.usage.due()
        assert hour.tables == (("Things_CL", 3, 44 * 3 // 4),)
        rows = hour.rows(WORKSPACE)
        event = Events().row(now, "Server", "Start", "Succeeded", "It started.")
        bench.send(msgspec.json.encode(rows), rule=own.immutable_id, stream=stream_of("Usage"), count=1)
        bench.send(
            msgspec.json.encode([event]),
            rule=own.immutable_id,
            stream=stream_of("Operation"),
            count=1,
        )
        bench.drain()
        assert bench.rows("DataType", "Quantity", "IsBillable", "Solution", table=usage) == [
            ("Things_CL", 0.000033, True, "LogManagement")
        ]
        assert bench.rows("OperationKey", "OperationStatus", "Detail", table=operation) == [
            ("Start", "Succeeded", "It started.")
        ]
        clock.advance(DAY)
        assert len(bench.usage.due()) == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b'[[480000,"w","A_\xff",1,2]]'])
def test_a_damaged_file_is_told_and_counting_goes_on(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(content)
    meter = UsageMeter(path, ManualClock(START))
    assert f"{path} is damaged" in caplog.text
    meter.stored("w", "A_CL", 2, 10)
    meter.save()
    (hour,) = UsageMeter(path, ManualClock(START + HOUR)).due()
    assert hour.tables == (("A_CL", 2, 10),)
