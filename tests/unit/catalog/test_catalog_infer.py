"""Columns inferred from records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.catalog.infer import infer
from headrace.catalog.names import column_fault
from headrace.kql.api import compile_transform
from headrace.kql.types import KustoType, Schema, SchemaColumn

TEXTS = st.one_of(st.text(max_size=5), st.just("2026-01-01T00:00Z"))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS, st.just({}))
RECORDS = st.lists(st.dictionaries(st.text(min_size=1, max_size=50), VALUES, max_size=6), max_size=5)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1], KustoType.LONG),
        ([2**63], KustoType.REAL),
        ([1, 1.5], KustoType.REAL),
        ([True, None], KustoType.BOOL),
        ([True, 1], KustoType.STRING),
        (["2026-01-01T00:00:00Z", "2026-01-01 00:00"], KustoType.DATETIME),
        (["2026-01-01T00:00:00Z", "soon"], KustoType.STRING),
        (["2026-01-01"], KustoType.STRING),
        ([{"a": 1}], KustoType.DYNAMIC),
        ([[1], "x"], KustoType.DYNAMIC),
        ([None], KustoType.STRING),
    ],
)
def test_a_type_holds_all_values(values: list[Any], kind: KustoType) -> None:
    (column,) = infer([{"p": value} for value in values]).columns
    assert column.type is kind


def test_the_records_that_have_a_value_are_counted() -> None:
    found = infer([{"a": 1, "b": None}, {"a": 2}, {"a": None}])
    assert [(column.property, column.seen) for column in found.columns] == [("a", 2), ("b", 0)]


def test_the_time_is_the_property_named_most_like_one() -> None:
    moment = "2026-01-01T00:00:00Z"
    found = infer([{"Seen": moment, "@timestamp": moment, "Time": "no"}])
    assert found.time is not None and found.time.property == "@timestamp"
    assert infer([{"aa": 1}]).transform == "source | extend TimeGenerated = now()"
    assert infer([{"TimeGenerated": moment}]).transform == "source"


@given(RECORDS)
@example([{"_TimeGenerated": 1}])
@example([{"Time-Generated": "2026-01-01T00:00Z", "@TimeGenerated": "2026-01-01T00:00Z"}])
@example([{"_TimeGenerated": 1, "TimeGenerated": "2026-01-01T00:00Z"}])
def test_any_records_make_a_table_and_a_transform_that_fits(records: list[dict[str, Any]]) -> None:
    found = infer(records)
    names = [name for name, _ in found.table_columns]
    assert len(set(names)) == len(names) and not [name for name in names if column_fault(name)]
    stream = Schema(tuple(SchemaColumn(column.property, column.type) for column in found.columns))
    (statement,) = compile_transform(found.transform, stream).statements
    produced = {column.name: column.type for column in statement.columns}
    assert set(found.table_columns) <= set(produced.items())
