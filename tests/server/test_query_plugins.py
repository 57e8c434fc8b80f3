"""Columns that only the data knows: `evaluate` without a schema, through the query API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.kit import Api, eventually

pytestmark = [pytest.mark.server]


def answered(api: Api, text: str) -> tuple[list[tuple[str, str]], list[list[Any]]]:
    """The columns and rows of a query's first table."""
    answer = api.query(text)
    assert answer.status_code == 200, answer.text
    table = answer.json()["tables"][0]
    return [(column["name"], column["type"]) for column in table["columns"]], table["rows"]


def test_bag_unpack_and_pivot_over_a_table(api: Api) -> None:
    columns = {"Id": "string", "Level": "string", "Bag": "dynamic"}
    api.make_table("Unpacked_CL", columns)
    rule = api.make_rule("unpacked", columns, "Unpacked_CL")
    rule.send(
        [
            {"Id": "a", "Level": "Error", "Bag": {"Code": 5, "Text": "x"}},
            {"Id": "b", "Level": "Info", "Bag": {"Code": 6}},
            {"Id": "c", "Level": "Error", "Bag": {"Text": "y", "More": [1]}},
        ]
    )
    eventually(lambda: api.value("Unpacked_CL | count"), lambda count: count == 3)

    unpacked = "Unpacked_CL | project Id, Bag | evaluate bag_unpack(Bag) | sort by Id asc"
    assert answered(api, unpacked) == (
        [("Id", "string"), ("Code", "long"), ("More", "dynamic"), ("Text", "string")],
        [["a", 5, None, "x"], ["b", 6, None, ""], ["c", None, "[1]", "y"]],
    )
    used = "Unpacked_CL | evaluate bag_unpack(Bag, 'b_') | where b_Code > 5 | project Id, b_Code"
    assert answered(api, used)[1] == [["b", 6]]
    pivoted = "Unpacked_CL | summarize by Id, Level | evaluate pivot(Level) | sort by Id asc"
    assert answered(api, pivoted) == (
        [("Id", "string"), ("Error", "long"), ("Info", "long")],
        [["a", 1, 0], ["b", 0, 1], ["c", 1, 0]],
    )


def test_more_columns_than_a_result_may_have_are_refused(api: Api) -> None:
    wide = "range n from 1 to 600 step 1 | extend k = strcat('k', n) | evaluate pivot(k)"
    answer = api.query(wide)
    assert answer.status_code == 400
    assert "more than 500 columns" in answer.text
