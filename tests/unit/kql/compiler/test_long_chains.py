"""Long flat chains cost no depth: people paste lists of hundreds of conditions into a filter."""

from __future__ import annotations

import duckdb
import pytest
from sqlglot import exp

from headrace.kql.api import KqlError, Scan, Statement, compile_query, sql_text
from headrace.kql.model import Tables
from headrace.kql.sql.session import prepare

LENGTH = 700


def only_value(text: str) -> object:
    """The one cell of a query without tables."""
    with duckdb.connect() as connection:
        prepare(connection)
        return connection.execute(sql_text(statement(text).to_sql(no_table))).fetchone()


def statement(text: str) -> Statement:
    return compile_query(text, Tables({})).statements[-1]


def no_table(scan: Scan) -> exp.Query:
    raise AssertionError(scan)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        (" and ".join(f"x != {i}" for i in range(LENGTH)), 1),
        (" or ".join(f"x == {i}" for i in range(LENGTH)), LENGTH),
        (" and ".join(f"(x == {i} or x != {i})" for i in range(LENGTH)), LENGTH + 1),
    ],
)
def test_a_filter_of_hundreds_of_conditions(condition: str, kept: int) -> None:
    assert only_value(f"range x from 0 to {LENGTH} step 1 | where {condition} | count") == (kept,)


def test_a_sum_of_hundreds_of_terms() -> None:
    terms = " + ".join(f"x * {i}" for i in range(LENGTH))
    assert only_value(f"print x = 1 | project y = {terms}") == (LENGTH * (LENGTH - 1) // 2,)
    mixed = " ".join(f"{'+-'[i % 2]} {i}" for i in range(1, LENGTH))
    assert only_value(f"print y = 0 {mixed}") == (sum(-i if i % 2 else i for i in range(1, LENGTH)),)


def test_chains_are_bounded() -> None:
    text = "print x = 1 | where " + " and ".join("x != 2" for _ in range(20_500))
    with pytest.raises(KqlError) as error:
        compile_query(text, Tables({}))
    assert [problem.code for problem in error.value.problems] == ["KQL0004"]
