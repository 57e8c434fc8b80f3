"""Rows that must come out, and how it is told where they do not."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.transform.expected import Row, difference, same

A, B, C, D = ({"Id": number, "Name": name} for number, name in enumerate("abcd"))


@pytest.mark.parametrize(
    ("value", "expected", "alike"),
    [
        ("2026-01-01T00:00:00.000000Z", "2026-01-01T01:00:00+01:00", True),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", False),
        ("2026-13-01T00:00:00Z", "2026-13-01T00:00:00Z", True),
        ("20260101", "2026-01-01", False),
        (1, 1.0, True),
        (True, 1, False),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, True),
        ({"a": [True]}, {"a": [1]}, False),
        ([1], [1, 2], False),
        ("", None, False),
    ],
)
def test_values_are_the_same_as_people_mean_it(value: Any, expected: Any, alike: bool) -> None:
    assert same(value, expected) is alike


def lines(expected: list[Row], rows: list[Row]) -> list[str]:
    return (difference(expected, rows) or "").splitlines()


def test_rows_that_are_there_need_no_words() -> None:
    assert difference([], []) is None
    assert difference([{"Id": 0}, {"Name": "b"}, {}], [A, B, C]) is None


def test_a_row_that_is_missing_does_not_make_the_others_differ() -> None:
    assert lines([A, B, C], [A, C]) == [
        "3 rows expected, 2 came out.",
        '  = {"Id": 0, "Name": "a"}',
        '  - {"Id": 1, "Name": "b"}',
        '  = {"Id": 2, "Name": "c"}',
    ]
    assert lines([A, C], [B, A, C])[1] == '  + {"Id": 1, "Name": "b"}'


def test_a_changed_row_is_told_by_its_columns() -> None:
    assert lines([{"Id": 0, "Name": "x"}, {"id": 3, "Name": "d"}], [A, B, D]) == [
        "2 rows expected, 3 came out.",
        '  ~ {"Id": 0, "Name": "a"}',
        '      Name is "a", expected "x"',
        '  + {"Id": 1, "Name": "b"}',
        '  ~ {"Id": 3, "Name": "d"}',
        "      there is no column id. Did you mean Id?",
    ]


def test_what_is_as_expected_far_from_a_difference_is_left_out() -> None:
    rows: list[Row] = [{"Id": number} for number in range(10)]
    found = lines([*rows, {"Id": 11}], rows)
    assert found[1] == "  ... 8 as expected" and len(found) == 5


def test_many_rows_are_compared_by_their_places() -> None:
    rows: list[Row] = [{"Id": number} for number in range(5000)]
    assert difference(rows, rows) is None
    found = lines([{"Id": -1} for _ in rows], rows)
    assert found[1:3] == ['  ~ {"Id": 0}', "      Id is 0, expected -1"] and found[-1] == "  ..."
    assert len(found) < 100
