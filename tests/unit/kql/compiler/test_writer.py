"""The short way of writing SQL gives the text that sqlglot gives."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp, parse_one
from tests.conformance.kqlcases import Case, read_cases

from headrace.kql.api import KqlError, Scan, compile_query
from headrace.kql.model import Tables
from headrace.kql.sql.writer import SqlWriter
from headrace.kql.types import Schema, SchemaColumn

CASES = Path(__file__).parents[3] / "cases"


def _statements(case: Case) -> Iterable[exp.Query]:
    tables = {name: compile_query(text, Tables({})).statements[0] for name, text in case.tables.items()}
    schemas = {
        name: Schema(tuple(SchemaColumn(column.name, column.type) for column in statement.columns))
        for name, statement in tables.items()
    }

    def scan(scan: Scan) -> exp.Query:
        columns = [exp.column(column.name, quoted=True).as_(column.sql_name) for column in scan.columns]
        return exp.select(*(columns or [exp.Literal.number(1)])).from_(scan.table)

    for text, known in [*((text, {}) for text in case.tables.values()), (case.text, schemas)]:
        try:
            yield from (statement.to_sql(scan) for statement in compile_query(text, Tables(known)).statements)
        except (KqlError, RuntimeError):
            continue


@pytest.mark.parametrize("path", sorted(CASES.glob("*.kql")), ids=lambda path: path.stem)
def test_the_text_of_the_cases_is_that_of_sqlglot(path: Path) -> None:
    for case in read_cases(path):
        for query in _statements(case):
            assert SqlWriter().sql(query) == query.sql("duckdb", comments=False), case.name


@given(text=st.text(max_size=30), name=st.text(alphabet='aZ_9"é.', min_size=1, max_size=12))
@settings(max_examples=200)
def test_texts_and_names_are_quoted_as_by_sqlglot(text: str, name: str) -> None:
    for quoted in (True, False):
        column = exp.Column(this=exp.Identifier(this=name, quoted=quoted))
        query = exp.Select(expressions=[exp.Literal.string(text), column])
        assert SqlWriter().sql(query) == query.sql("duckdb", comments=False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.b, COUNT(*) FROM t AS a (b) WHERE NOT a IS NULL GROUP BY ALL HAVING COUNT(*) > 1 LIMIT 3 OFFSET 2",
        "WITH w AS MATERIALIZED (SELECT DISTINCT ON (a) * EXCLUDE (b) FROM t) SELECT a - (b - c) - d FROM w QUALIFY x",
        "SELECT CAST(a AS DECIMAL(38, 12)), TRY_CAST(b AS INT[]), CASE a WHEN 1 THEN 2 END, a IS NOT NULL FROM t",
    ],
)
def test_what_is_not_on_the_short_way_is_written_too(sql: str) -> None:
    query = parse_one(sql, dialect="duckdb")
    assert SqlWriter().sql(query) == query.sql("duckdb") == SqlWriter().sql(query)


def test_arguments_that_the_generator_leaves_out_are_left_out() -> None:
    query = parse_one("SELECT regexp_replace(v, 'a', 'b') FROM t", dialect="duckdb")
    assert SqlWriter().sql(query) == "SELECT REGEXP_REPLACE(v, 'a', 'b') FROM t"
