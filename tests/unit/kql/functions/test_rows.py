"""Aggregates and window functions, through whole queries."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.kql.conformance import run

ROWS = """
datatable(g: string, x: long, r: real, s: string, b: bool, d: dynamic)
[
    "a", 3, 1.5, "x", true, dynamic({"k": 1}),
    "a", 1, 2.5, "", false, dynamic({"k": 2, "m": 3}),
    "a", long(null), real(null), "x", true, dynamic(null),
    "b", long(null), real(null), "", bool(null), dynamic(null),
]
"""


def _by_group(aggregate: str) -> list[Any]:
    _, rows = run(f"{ROWS} | summarize v = {aggregate} by g | sort by g asc | project v", {})
    return [
        json.loads(row[0]) if isinstance(row[0], str) and row[0].startswith(("[", "{")) else row[0]
        for row in rows
    ]


@pytest.mark.parametrize(
    ("aggregate", "result"),
    [
        ("count()", [3, 1]),
        ("countif(b)", [2, 0]),
        ("sum(x)", [4, 0]),
        ("sumif(x, b)", [3, 0]),
        ("avg(x)", [2.0, None]),
        ("min(x)", [1, None]),
        ("max(s)", ["x", ""]),
        ("dcount(s)", [2, 1]),
        ("count_distinct(x)", [2, 0]),
        ("make_list(x)", [[3, 1], []]),
        ("make_list(x, 1)", [[3], []]),
        ("make_list_with_nulls(x)", [[3, 1, None], [None]]),
        ("make_list_if(x, b)", [[3], []]),
        ("array_sort_asc(make_set(s))", [["", "x"], [""]]),
        ("make_bag(d)", [{"k": 1, "m": 3}, {}]),
        ("stdev(r)", [0.7071067811865476, 0.0]),
        ("variance(r)", [0.5, 0.0]),
        ("percentile(x, 50)", [1, None]),
        ("take_anyif(x, b)", [3, None]),
        ("binary_all_or(x)", [3, None]),
        ("dcount_hll(hll(x))", [2, 0]),
        ("percentile_tdigest(tdigest(x), 100, typeof(long))", [3, None]),
    ],
)
def test_aggregate(aggregate: str, result: list[Any]) -> None:
    found = _by_group(aggregate)
    if aggregate.startswith("avg"):
        assert found[0] == 2.0
        assert found[1] != found[1] or found[1] is None
    else:
        assert found == result


def test_arg_max_gives_all_from_one_row() -> None:
    columns, rows = run(f"{ROWS} | summarize arg_max(x, s, b, r) by g | sort by g asc", {})
    assert [column["name"] for column in columns] == ["g", "x", "s", "b", "r"]
    assert rows[0] == ["a", 3, "x", True, 1.5]
    assert rows[1][:2] == ["b", None]


def test_weighted_percentiles() -> None:
    query = "datatable(v: long, w: long)[1, 7, 2, 2, 9, 1] | summarize percentilesw(v, w, 50, 80, 100)"
    columns, rows = run(query, {})
    assert [column["name"] for column in columns] == [
        "percentile_v_50",
        "percentile_v_80",
        "percentile_v_100",
    ]
    assert rows == [[1, 2, 9]]


SORTED = "datatable(x: long, g: string)[10, 'a', 20, 'a', 20, 'b', 30, 'b'] | sort by x asc, g asc "


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("row_number()", [1, 2, 3, 4]),
        ("row_number(10)", [10, 11, 12, 13]),
        ("row_number(1, g != prev(g))", [1, 2, 1, 2]),
        ("row_cumsum(x)", [10, 30, 50, 80]),
        ("row_cumsum(x, g != prev(g))", [10, 30, 20, 50]),
        ("prev(x)", [None, 10, 20, 20]),
        ("prev(x, 2, -1)", [-1, -1, 10, 20]),
        ("next(x)", [20, 20, 30, None]),
        ("prev(g)", ["", "a", "a", "b"]),
        ("row_rank_dense(x)", [1, 2, 2, 3]),
        ("row_rank_min(x)", [1, 2, 2, 4]),
    ],
)
def test_window_function(call: str, result: list[Any]) -> None:
    _, rows = run(f"{SORTED} | extend v = {call} | project v", {})
    assert [row[0] for row in rows] == result


def test_sessions_end_by_gaps_and_by_length() -> None:
    query = """
    range i from 0 to 9 step 1
    | extend t = datetime(2020-01-01) + i * 1m + iff(i > 6, 1h, 0m)
    | sort by t asc
    | extend s = row_window_session(t, 3m, 5m)
    | project n = datetime_diff('minute', s, datetime(2020-01-01))
    """
    _, rows = run(query, {})
    assert [row[0] for row in rows] == [0, 0, 0, 0, 4, 4, 4, 67, 67, 67]
