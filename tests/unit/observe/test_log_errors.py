"""Error rows: their wire form, their bound, and their way through a pipeline, once each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.transform_kit import COLUMNS, CUSTOMER, STREAM, PipelineBench, make_flow, make_rule, make_table

from headrace.catalog import standard
from headrace.catalog.model import Table, Workspace
from headrace.clock import HOUR
from headrace.observe import log_errors
from headrace.observe.log_errors import ErrorRow, Repeats, decode_rows, encode_rows

ERRORS = replace(standard.untouched(CUSTOMER, log_errors.TABLE) or make_table())
SHOWN = ("OperationName", "InputStreamId", "Message", "ClientRequestId", "CorrelationId", "_ResourceId")


def test_rows_come_back_as_they_were() -> None:
    row = ErrorRow("Ingestion", "Custom-A", "m", "c", "r", "/subscriptions/s")
    assert decode_rows(encode_rows([row, row])) == [row, row]
    assert set(log_errors.COLUMNS) == {*SHOWN, "SourceSystem"}


def test_a_kind_is_told_some_times_an_hour_then_summed_up_then_silent() -> None:
    repeats = Repeats(limit=3)
    start = 500 * HOUR
    told = [repeats.message(("a",), start + place, "It failed.") for place in range(10)]
    assert told[:3] == ["It failed."] * 3
    assert told[3] is not None
    assert told[3].startswith("It failed. Such errors came 3 times")
    assert told[4:] == [None] * 6
    assert repeats.message(("b",), start, "It failed.") == "It failed."
    assert repeats.message(("a",), start + HOUR, "It failed.") == "It failed."


def test_kinds_are_bounded() -> None:
    repeats = Repeats(limit=1, most=2)
    for kind in "abc":
        repeats.message((kind,), 0, "m")
    assert repeats.message(("c",), 0, "m") != "m"
    assert repeats.message(("a",), 0, "m") == "m"


@pytest.fixture
def things() -> Table:
    return make_table()


@pytest.fixture
def bench(tmp_path: Path, things: Table) -> Iterator[PipelineBench]:
    # The second flow's table is gone: all its rows become letters.
    rule = make_rule(make_flow(0), make_flow(1, table="Gone_CL"), make_flow(2, stream="Custom-Other"))
    rules = {(rule.immutable_id, 1): rule}
    with PipelineBench(tmp_path, rules, (things, ERRORS)) as opened:
        yield opened


def test_dead_letters_are_told_once_a_batch_with_their_count(bench: PipelineBench, things: Table) -> None:
    bench.send([{"Id": 1}, {"Id": 2}], client="client")
    bench.send([{"Id": 3}])
    bench.drain()
    assert len(bench.rows("Id", table=things)) == 3
    (row,) = bench.rows(*SHOWN, table=ERRORS)
    operation, stream, message, client, request, resource = row
    assert (operation, stream, client, request) == ("Transformation", STREAM, "client", "request")
    assert str(message).startswith("3 rows could not be stored in Gone_CL (TableNotFound)")
    assert resource == "/rules/r"


def test_a_replay_tells_nothing_twice(bench: PipelineBench) -> None:
    bench.send([{"Id": 1}])
    bench.drain()
    for path in (bench.root / "checkpoints").iterdir():
        path.unlink()
    bench.close()
    bench.open()
    bench.send([{"Id": 2}])
    bench.drain()
    told = bench.rows("Message", "_Offset", table=ERRORS)
    assert [offset for _, offset in told] == [0, 1]
    assert all(str(message).startswith("1 row ") for message, _ in told)


@pytest.mark.parametrize("point", ["lettered", "publish errors", "published errors"])
def test_a_crash_at_any_step_tells_each_error_once(bench: PipelineBench, point: str) -> None:
    def step(name: str) -> None:
        if name == point:
            raise KeyError(name)

    bench.send([{"Id": 1}])
    pipeline = bench.pipeline(step)
    pipeline.start()
    while pipeline.progress().failure is None:
        pass
    assert not pipeline.stop()
    bench.close()
    bench.open()
    bench.drain()
    assert len(bench.rows("Message", table=ERRORS)) == 1
    assert len(bench.rows("Id")) == 1


def test_what_the_gateway_tells_becomes_rows(bench: PipelineBench) -> None:
    told = ErrorRow("Ingestion", "Custom-Other", "Left out.", "c", "r", "/rules/r")
    bench.send(encode_rows([told]), stream=log_errors.STREAM, count=1)
    bench.drain()
    assert bench.rows(*SHOWN, table=ERRORS) == [
        ("Ingestion", "Custom-Other", "Left out.", "c", "r", "/rules/r")
    ]
    assert bench.letters is not None
    assert len(bench.letters) == 0


def test_a_diagnostic_setting_chooses_another_workspace_or_none(bench: PipelineBench) -> None:
    other = replace(ERRORS, workspace="9a1de1a5-6a5c-4e51-9a11-000000000002")
    errors = Workspace(other.workspace, "/workspaces/errors", "e", "eastus", {other.name: other})
    bench.view.current = replace(
        bench.view.current,
        workspaces={**bench.view.current.workspaces, other.workspace: errors},
        by_resource_id={**bench.view.current.by_resource_id, errors.resource_id: errors},
        error_destinations={"/rules/r": (errors.resource_id,)},
    )
    bench.send([{"Id": 1}])
    bench.send(
        encode_rows([ErrorRow("Ingestion", STREAM, "Refused.", "c", "r", "/rules/r")]),
        stream=log_errors.STREAM,
        count=1,
    )
    bench.drain()
    assert bench.rows("Message", table=ERRORS) == []
    assert len(bench.rows("Message", table=other)) == 2
    bench.view.current = replace(bench.view.current, error_destinations={"/rules/r": ()})
    bench.send([{"Id": 2}])
    bench.drain()
    assert (bench.rows("Message", table=ERRORS), len(bench.rows("Message", table=other))) == ([], 2)


def test_without_the_workspace_nothing_is_held_up(tmp_path: Path, things: Table) -> None:
    rule = make_rule(make_flow(0), make_flow(1, table="Gone_CL"))
    with PipelineBench(tmp_path, {(rule.immutable_id, 1): rule}, (things,)) as bench:
        bench.send([{name: None for name, _ in COLUMNS}])
        bench.drain()
        assert len(bench.rows("Id")) == 1
