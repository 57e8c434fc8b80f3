"""Properties that no stream declares: found in the payload, named in the receipt, counted once."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.transform_kit import (
    JOURNAL,
    RULE,
    PipelineBench,
    by_flow,
    make_flow,
    make_rule,
    make_table,
    wait_idle,
)

from headrace.catalog.rulemodel import Stream
from headrace.clock import SystemClock
from headrace.disk import RealDisk
from headrace.kql.types import KustoType, SchemaColumn
from headrace.observe.receipts import CallRows, Frame, Receipts, id_bytes
from headrace.transform.progress import FlowCounts
from headrace.transform.undeclared import (
    LAST_BYTES,
    MOST_BYTES,
    MOST_CHARACTERS,
    MOST_NAMES,
    receipt_notes,
    undeclared,
)

DECLARED = frozenset({"Id", "Text"})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b'[{"Id": 1, "Text": "a"}, {"Id": 2}]', ()),
        (b'[{"Idd": 1, "Text": "a", "text": 2}, {"Other": 2}, null, {"Idd": 3}]', ("Idd", "text", "Other")),
        (b'[{"Idd": 1}]', ("Idd",)),
        (b' [ null,\n{"Idd": null} \n, {"Id": 1}]', ("Idd",)),
        (b'[{"Id": [{"a": 1}, {"b": 2}], "Idd": 1}, {"Id": 2}]', ("Idd",)),
        (b'[{"Id": {"a": 1}, "Idd": "}, {"}]', ("Idd",)),
        (b'[{"Id": {"a": 1}, "Idd": 1, "x": []}]', ("Idd", "x")),
        (b'[{"\\u0049d": 1, "\\u00e9": 1}]', ("é",)),
        ('[{"Größe": 1}]'.encode(), ("Größe",)),
        (b'[{"Idd": ' + b"9" * 9000 + b', "Id": [{}, {}]}]', ("Idd",)),
        (b'[{"Id": 1}' + b', {"Id": 2}' * 900 + b', {"Idd": 3}, null]', ("Idd",)),
        (
            b'[{"Id": 1, "a": 1}, {"b": 2}' + b', {"Id": 2}' * 900 + b', {"c": [{"d": 1}, {"e": 2}]}]',
            ("a", "c"),
        ),
        (b'[{"Id": 1}' + b', {"Id": "}, {"}' * 900 + b', {"Id": "\\"}, {\\"x\\": 1}, "}]', ()),
        (b"[{}]", ()),
        (b"[]", ()),
        (b"", ()),
        (b"[null, null]", ()),
        (b'[{"Idd": 1', ()),
        (b'[{"Id": [{}, {}]}, {"Idd\xff": 2}]', ()),
        (b'[{"Id\xff": 1, "Idd": 2}]', ()),
        (b'[{"Idd": 1, "\\ud800": 1}]', ()),
    ],
)
def test_names_are_compared(text: bytes, names: tuple[str, ...]) -> None:
    assert undeclared(text, DECLARED) == names


ROWS = st.lists(
    st.dictionaries(
        st.text(max_size=12),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=8,
    ),
    min_size=1,
    max_size=4,
)


@given(ROWS, st.booleans(), st.booleans())
def test_any_small_payload_is_read_however_it_is_written(
    rows: list[dict[str, Any]], plain: bool, spaced: bool
) -> None:
    text = json.dumps(rows, ensure_ascii=plain, separators=(" , ", " : ") if spaced else (",", ":"))
    declared = {*list(rows[0])[::2]}
    names = list(dict.fromkeys(name for row in rows for name in row if name not in declared))
    assert undeclared(text.encode(), declared) == tuple(names[:MOST_NAMES])


@given(ROWS, ROWS, st.booleans())
def test_the_first_and_the_last_rows_of_a_long_payload_are_read(
    first: list[dict[str, Any]], last: list[dict[str, Any]], spaced: bool
) -> None:
    between = [{"Id": number, "Text": "}, {"} for number in range(200)]
    text = json.dumps([first[0], *between, *last], separators=(" , ", " : ") if spaced else (",", ":"))
    assume(len(json.dumps([*last, {}], separators=(" , ", " : "))) < LAST_BYTES)
    told = undeclared(text.encode(), {*DECLARED, *first[0]})
    names = [name for row in last for name in row if name not in DECLARED and name not in first[0]]
    assert told == tuple(dict.fromkeys(names))[:MOST_NAMES]


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(data: bytes) -> None:
    for name in undeclared(b"[{" + data, DECLARED):
        msgspec.msgpack.encode(name)


def test_what_is_told_is_bounded() -> None:
    names = [f"{number:03}" + "x" * 200 for number in range(40)]
    told = undeclared(json.dumps([dict.fromkeys(names)]).encode(), DECLARED)
    assert told == tuple(name[:MOST_CHARACTERS] for name in names[:MOST_NAMES])
    assert undeclared(json.dumps([{"Idd": "x" * MOST_BYTES}]).encode(), DECLARED) == ()
    assert undeclared(b'[{"Idd": ' + b"[{}, {}, " * 1500 + b"]" * 1500 + b"}]", DECLARED) == ()


def test_a_note_names_the_cure() -> None:
    stream = Stream("Custom-In", (SchemaColumn("Time", KustoType.DATETIME),))
    assert receipt_notes(stream, ["Tme", "time", "Elsewhere"]) == [
        "A row has 'Tme', which Custom-In does not declare: it is not read. Did you mean 'Time'?",
        "A row has 'time', which Custom-In does not declare: it is not read. Did you mean 'Time'?",
        "A row has 'Elsewhere', which Custom-In does not declare: it is not read. "
        "Declare it in Custom-In, or do not send it.",
    ]


def test_each_flow_counts_its_payloads_and_the_receipt_names_them(tmp_path: Path) -> None:
    rule = make_rule(make_flow(0), make_flow(1, "source | where Id > 1"))
    misspelt, right = str(uuid.uuid4()), str(uuid.uuid4())
    with PipelineBench(tmp_path, {(RULE, 1): rule}, (make_table(),)) as bench:
        bench.send([{"Id": 1, "Txt": "a"}, {"Id": 2}], request=misspelt, zipped=True)
        bench.send([{"Id": 3, "Text": "b"}, {"Id": 0}], request=right)
        receipts = Receipts(tmp_path / "receipts", RealDisk(), SystemClock())
        pipeline = bench.pipeline(receipts=receipts)
        pipeline.start()
        wait_idle(pipeline)
        assert pipeline.stop()
        assert by_flow(pipeline.progress()) == {
            (RULE, 0): FlowCounts(received=4, stored=4, undeclared=1),
            (RULE, 1): FlowCounts(received=4, stored=2, filtered=2, undeclared=1),
        }
        assert [one.call.undeclared for one in receipts.find(misspelt)] == [("Txt",)] * 2
        assert [one.call.undeclared for one in receipts.find(right)] == [()] * 2
        receipts.close()


@pytest.mark.parametrize("point", ["transform", "publish", "published", "commit"])
def test_a_crash_at_any_step_counts_once(tmp_path: Path, point: str) -> None:
    """Over the process that crashed and the one after it, as the rows are."""

    def step(name: str) -> None:
        if name == point and (point != "commit" or counted()):
            raise KeyError(name)

    def counted() -> int:
        return sum(flow.undeclared for flow in pipeline.progress().streams.values())

    with PipelineBench(tmp_path, {(RULE, 1): make_rule()}, (make_table(),)) as bench:
        bench.send([{"Id": 1, "Txt": "a"}])
        pipeline = bench.pipeline(step)
        pipeline.start()
        while pipeline.progress().failure is None:
            pass
        assert not pipeline.stop()
        before = by_flow(pipeline.progress()).get((RULE, 0), FlowCounts())
        bench.close()
        bench.open()
        after = by_flow(bench.drain().progress()).get((RULE, 0), FlowCounts())
        assert bench.rows("Id") == [(1,)]
    assert before.undeclared == before.received
    assert after.undeclared == after.received
    assert before.undeclared + after.undeclared == 1


def test_a_replay_counts_nothing_twice(tmp_path: Path) -> None:
    with PipelineBench(tmp_path, {(RULE, 1): make_rule()}, (make_table(),)) as bench:
        bench.send([{"Id": 1, "Txt": "a"}])
        assert by_flow(bench.drain().progress())[RULE, 0].undeclared == 1
        (tmp_path / "checkpoints" / f"{JOURNAL}.json").unlink()
        bench.close()
        bench.open()
        bench.send([{"Id": 2, "Txt": "b"}])
        assert by_flow(bench.drain().progress())[RULE, 0] == FlowCounts(received=1, stored=1, undeclared=1)


def test_receipts_from_before_are_still_read() -> None:
    call = CallRows(id_bytes(str(uuid.uuid4())) or b"", 3, 1, 2, 2, {})
    new = Frame("j", RULE, 1, "Custom-In", 0, 1, "w", "T_CL", "inc", "a", [call])
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(new))
    old[-1] = [one[:-1] for one in old[-1]]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Frame) == new
