"""Whatever a text says, compiling it ends in SQL that runs or in problems with places, never in another error."""

from __future__ import annotations

import random
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from headrace.kql.api import KqlError, Output, Scan, compile_query, compile_transform, sql_text
from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.model import Tables
from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType, Schema, SchemaColumn

EVENTS = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("s", KustoType.STRING),
        SchemaColumn("n", KustoType.LONG),
        SchemaColumn("r", KustoType.REAL),
        SchemaColumn("d", KustoType.DYNAMIC),
        SchemaColumn("g", KustoType.GUID),
    )
)
DATABASE = Tables({"T": EVENTS, "U": EVENTS})


_ROWS = """
    SELECT * FROM (VALUES
        (TIMESTAMP '2024-01-01 01:02:03', 'a1b', 1::BIGINT, 1.5::DOUBLE, '[1,2]',
         '74be27de-1e4e-49d9-b579-fe0b331d3642'),
        (TIMESTAMP '2024-01-01 05:02:03', '', NULL, NULL, NULL, NULL)
    ) AS v(TimeGenerated, s, n, r, d, g)
"""


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        prepare(made)
        for table in DATABASE.table_names():
            made.execute(f"CREATE TABLE {table} AS {_ROWS}")
        yield made


def _select(scan: Scan) -> exp.Query:
    items = [exp.alias_(exp.column(column.name, quoted=True), column.sql_name) for column in scan.columns]
    return exp.Select(expressions=items or [exp.Literal.number(1)]).from_(exp.to_table(scan.table))


_OPERATORS = [
    "where {b}",
    "extend x = {v}",
    "extend s = {v}, {v}",
    "project {c}, y = {v}",
    "project-away {c}",
    "project-rename z = {c}",
    "project-reorder {c} asc, *",
    "summarize {a} by {c}",
    "summarize {a}, k = {a} by bin(TimeGenerated, 1h), s",
    "sort by {c}, {v} asc",
    "top {k} by {v}",
    "take {k}",
    "count",
    "distinct {c}, s",
    "join kind={j} (U) on {c}",
    "join kind={j} (T | where {b}) on $left.{c} == $right.{c}",
    "lookup U on {c}",
    "union U, (T | project {c})",
    "mv-expand d",
    "mv-expand q = d to typeof(long) limit 3",
    "mv-apply q = d on (where {b} | top 1 by {v})",
    "parse s with 'a' p:long 'b' q",
    "parse kind=regex s with 'a+' p 'b' *",
    "parse-kv s as (p: long, q: string) with (pair_delimiter=',', kv_delimiter='=')",
    "make-series {a} on TimeGenerated from datetime(2024-01-01) to datetime(2024-01-02) step 1h by {c}",
    "top-nested 2 of {c} by {a}",
    "serialize q = row_number()",
    "partition by {c} (top 1 by {v})",
    "scan declare (q: long = 0) with (step a: {b} => q = a.q + 1; step b: {b};)",
    "search 'x'",
    "getschema",
    "as W | union W",
    "evaluate bag_unpack(d)",
    "evaluate pivot(s, {a})",
    "render table",
    "fork (count) (where {b})",
    "facet by {c}",
    "sample-distinct 3 of {c}",
]
_VALUES = [
    "{c}",
    "n + {v}",
    "r / {v}",
    "strcat({v}, s)",
    "iff({b}, {v}, {v})",
    "case({b}, {v}, {v})",
    "d.a.b",
    "d[0]",
    "tostring({v})",
    "toint({v})",
    "bin({c}, 1h)",
    "ago(1h)",
    "now() - {c}",
    "toscalar(U | summarize {a})",
    "array_length(d)",
    "-n",
    "'x'",
    "1.5",
    "dynamic([1])",
    "datetime(2024-01-01)",
    "{f}({v})",
    "{f}({v}, {v})",
]
_CONDITIONS = ["{c} == {v}", "s has 'x'", "n in (1, 2)", "s in ((U | project s))", "{b} and {b}", "not({b})"]
_CONDITIONS += ["isnull({v})", "TimeGenerated between (ago(1d) .. now())", "n !between (1 .. 5)", "{v} > {v}"]
_AGGREGATES = ["count()", "sum({v})", "avg(r)", "max({v})", "arg_max(n, *)", "make_list({v})", "dcount({c})"]
_AGGREGATES += ["percentiles(n, 50, 95)", "countif({b})", "round(avg(r), 1)", "take_any({c})", "{f}({v})"]
_JOINS = ["inner", "innerunique", "leftouter", "fullouter", "rightouter", "leftsemi", "leftanti", "rightanti"]
_NAMES = [name for name in FUNCTIONS.names() if not name.startswith("__")]


def _grow(template: str, chance: random.Random, depth: int) -> str:
    kinds = {
        "{c}": ["n", "s", "r", "d", "g", "TimeGenerated"] + ["nowhere"] * (depth == 0),
        "{v}": _VALUES if depth < 3 else ["n", "s", "'x'", "1"],
        "{b}": _CONDITIONS if depth < 3 else ["n > 1", "true"],
        "{a}": _AGGREGATES,
        "{j}": _JOINS,
        "{f}": _NAMES,
        "{k}": ["3", "0", "toscalar(U | count)"],
    }
    text = template
    for mark, choices in kinds.items():
        while mark in text:
            text = text.replace(mark, _grow(chance.choice(choices), chance, depth + 1), 1)
    return text


@settings(max_examples=400, deadline=None)
@given(st.integers(min_value=0, max_value=2**40), st.integers(min_value=1, max_value=5))
def test_any_pipeline_runs_or_has_problems(
    connection: duckdb.DuckDBPyConnection, seed: int, length: int
) -> None:
    chance = random.Random(seed)
    text = " | ".join(["T", *(_grow(chance.choice(_OPERATORS), chance, 0) for _ in range(length))])
    try:
        compiled = compile_query(text, DATABASE)
    except KqlError as error:
        assert all(problem.span is not None and problem.code.startswith("KQL") for problem in error.problems)
        return
    for statement in compiled.statements:
        rows = connection.execute(sql_text(statement.to_sql(_select))).fetchall()
        assert all(len(row) == max(len(statement.columns), 1) for row in rows)


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=2**40))
def test_any_transform_compiles_or_has_problems(seed: int) -> None:
    chance = random.Random(seed)
    text = " | ".join(["source", *(_grow(chance.choice(_OPERATORS[:8]), chance, 0) for _ in range(3))])
    try:
        statement = compile_transform(text, EVENTS).statements[0]
        assert sql_text(statement.to_sql(_select, Output.STORAGE))
    except KqlError as error:
        assert all(problem.code.startswith("KQL") for problem in error.problems)
