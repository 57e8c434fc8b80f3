"""What is rewritten for speed means the same as before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from headrace.kql.api import Database, Scan, compile_query, sql_text
from headrace.kql.sql.conditions import as_condition
from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType, Schema, SchemaColumn

_COLUMNS = {"a": KustoType.INT, "b": KustoType.LONG, "c": KustoType.INT, "s": KustoType.STRING}


class _Database:
    def find_table(self, name: str) -> Schema | None:
        schema = Schema(tuple(SchemaColumn(name, kind) for name, kind in _COLUMNS.items()))
        return schema if name == "T" else None

    def table_names(self) -> Sequence[str]:
        return ("T",)

    def workspace(self, name: str) -> Database | None:
        return None


def _scan(scan: Scan) -> exp.Query:
    columns = [exp.alias_(exp.column(column.name), column.sql_name) for column in scan.columns]
    return exp.select(*(columns or [exp.Literal.number(1)])).from_("T")


def _sql(text: str) -> str:
    return sql_text(compile_query(text, _Database()).statements[0].to_sql(_scan))


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        prepare(connection)
        values = "(NULL), (1), (2)"
        connection.execute(
            f"""CREATE TABLE T AS SELECT x.v::INTEGER AS a, y.v::BIGINT AS b, z.v::INTEGER AS c, '' AS s
            FROM (VALUES {values}) x(v), (VALUES {values}) y(v), (VALUES {values}) z(v)"""
        )
        yield connection


_LEAVES = st.sampled_from(
    ["a == b", "a != b", "a == 1", "2 == b", "c in (1, 2)", "a < b", "isnull(c)", "c != 1"]
)
_CONDITIONS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"not({text})"),
    ),
    max_leaves=6,
)


@given(condition=_CONDITIONS)
@settings(deadline=None, max_examples=150)
def test_a_filter_keeps_the_rows_for_which_its_condition_is_true(
    engine: duckdb.DuckDBPyConnection, condition: str
) -> None:
    kept = engine.execute(_sql(f"T | where {condition} | project a, b, c")).fetchall()
    judged = engine.execute(_sql(f"T | project a, b, c, t = ({condition})")).fetchall()
    assert kept == [row[:3] for row in judged if row[3] is True]


@pytest.mark.parametrize("condition", ["a == 1", "a == b", "a in (1, 2)", "a == 1 and (b == 2 or c == 1)"])
def test_what_tells_false_from_unknown_is_gone_from_a_filter(condition: str) -> None:
    assert "COALESCE" not in _sql(f"T | where {condition} | project a")
    assert "COALESCE" in _sql(f"T | project t = ({condition})")


def test_a_stripped_condition_keeps_its_own_parentheses() -> None:
    either = exp.Or(this=exp.column("x"), expression=exp.column("y"))
    filled = exp.Coalesce(this=either, expressions=[exp.false()])
    made = as_condition(exp.And(this=filled, expression=exp.column("z")))
    assert made.sql("duckdb") == "(x OR y) AND z"


_TEXTS = st.text(alphabet="ab-Zü [\\]^", max_size=12)


@given(text=_TEXTS, part=_TEXTS)
@settings(deadline=None, max_examples=200)
def test_matching_in_any_case_of_letters(engine: duckdb.DuckDBPyConnection, text: str, part: str) -> None:
    quoted = [f'"{item}"'.replace("\\", "\\\\") for item in (text, part)]
    row = engine.execute(
        _sql(
            f"datatable(s: string)[{quoted[0]}] | project x = s contains {quoted[1]}, "
            f"y = s startswith {quoted[1]}, z = s endswith {quoted[1]}, h = s has {quoted[1]}"
        )
    ).fetchone()
    whole, piece = text.lower(), part.lower()
    borders = ("(?<![a-zü])" if piece[:1].isalpha() else "", "(?![a-zü])" if piece[-1:].isalpha() else "")
    assert row == (
        piece in whole,
        whole.startswith(piece),
        whole.endswith(piece),
        re.search(borders[0] + re.escape(piece) + borders[1], whole) is not None,
    )
