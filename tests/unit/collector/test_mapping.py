"""From properties to columns, and the rule that fills them."""

from __future__ import annotations

import json

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.names import MAX_COLUMNS
from headrace.collector.mapping import REST, TYPES, Columns, Shape, column_base, map_shapes, transform_text
from headrace.collector.migration import properties_of, rule_document
from headrace.collector.model import Source
from headrace.collector.shapes import read_shapes, shapes_query
from headrace.kql.api import compile_transform
from headrace.kql.types import KustoType, Schema, SchemaColumn
from headrace.transform.run import Body, batch_table

SOURCE = Source("w", "L", "At", "/subscriptions/s")
NAMES = st.text(min_size=1, max_size=60)
# A property often comes in several shapes.
PROPERTIES = st.one_of(NAMES, st.sampled_from(["p", "q-r"]))
SHAPES = st.builds(
    Shape, PROPERTIES, st.sampled_from(sorted(TYPES)), st.booleans(), st.booleans(), st.booleans()
)


def shapes_of(*records: object) -> set[tuple[str, str]]:
    with duckdb.connect() as connection:
        connection.register("h_batch", batch_table([Body(1, 0, json.dumps(records).encode())]))
        rows = connection.execute(shapes_query().sql(dialect="duckdb")).fetchall()
    return {(shape.property, shape.suffix) for shape in read_shapes(rows)}


@pytest.mark.parametrize(
    ("value", "suffix"),
    [
        ("text", "s"),
        ("", "s"),
        ("12", "s"),
        (12, "d"),
        (-1.5e3, "d"),
        (2**63, "d"),
        (True, "b"),
        ("2019-09-12T20:00:00.625Z", "t"),
        ("2019-09-12T20:00:00", "t"),
        ("2019-09-12", "s"),
        ("9909ED01-A74C-4874-8ABF-D2678E3AE23D", "g"),
        ("8145d82213a744ad859c36f31a84f6dd", "g"),
        ({"a": 1}, "s"),
        ([1], "s"),
    ],
)
def test_the_suffix_follows_from_the_json(value: object, suffix: str) -> None:
    assert shapes_of({"p": value}) == {("p", suffix)}


def test_null_is_no_value() -> None:
    assert shapes_of({"p": None}, {}) == set()


def test_a_table_is_widened_only_where_nothing_fits() -> None:
    text = Shape("p", "s", is_text=True)
    digits = Shape("p", "s", is_text=True, as_number=True)
    number = Shape("p", "d")
    there = {"p_d": KustoType.REAL}
    assert map_shapes([digits], there, grow=True).suffixes == {"p": ("d",)}
    assert map_shapes([text], there, grow=True).suffixes == {"p": ("d", "s")}
    assert map_shapes([number], {"p_s": KustoType.STRING}, grow=True).suffixes == {"p": ("s", "d")}
    assert map_shapes([text], there, grow=False).suffixes == {"p": ("d",)}


def test_a_column_of_another_type_takes_nothing() -> None:
    mapping = map_shapes([Shape("p", "d")], {"p_d": KustoType.STRING}, grow=True)
    assert (mapping.suffixes, mapping.rest) == ({}, ("p",))


def test_a_full_table_keeps_the_rest_in_one_column() -> None:
    shapes = [Shape(f"p{number:04}", "d") for number in range(MAX_COLUMNS + 20)]
    mapping = map_shapes(shapes, {}, grow=True)
    assert len(mapping.new) == MAX_COLUMNS
    assert len(mapping.suffixes) + len(mapping.rest) == len(shapes)
    assert mapping.new[-1].name == REST


@given(st.lists(SHAPES, max_size=12), st.booleans())
def test_any_properties_make_a_transform_that_compiles(shapes: list[Shape], grow: bool) -> None:
    mapping = map_shapes(shapes, {}, grow=grow)
    names = dict.fromkeys([*mapping.suffixes, *mapping.rest, "At"])
    schema = Schema(tuple(SchemaColumn(name, KustoType.DYNAMIC) for name in names))
    (statement,) = compile_transform(transform_text(SOURCE, mapping), schema).statements
    produced = {column.name: column.type for column in statement.columns}
    assert {column.name for column in mapping.new} <= set(produced)
    assert all(produced[column.name] is column.type for column in mapping.new)


@given(NAMES)
def test_a_base_is_a_column_name(name: str) -> None:
    base = column_base(name)
    assert base is None or (base.isascii() and base[0].isalpha() and len(base) <= 45)


def test_a_migrated_table_gets_the_same_conversions() -> None:
    columns = [
        ("a_s", KustoType.STRING),
        ("a_d", KustoType.REAL),
        ("b_c_t", KustoType.DATETIME),
        ("x_s", KustoType.LONG),
    ]
    assert properties_of([*columns, ("TimeGenerated", KustoType.DATETIME)]) == {
        "a": ("s", "d"),
        "b_c": ("t",),
    }
    document = rule_document("L", columns, workspace_id="/w", location="local", time_field="at")
    stream = document["properties"]["streamDeclarations"]["Custom-L_CL"]
    assert [column["name"] for column in stream["columns"]] == ["a", "b_c", "at"]
    expected = transform_text(Source("", "L", "at"), Columns({"a": ("s", "d"), "b_c": ("t",)}, (), ()))
    assert document["properties"]["dataFlows"][0]["transformKql"] == expected
