"""Patterns that would keep a backtracking engine busy for ever end at once, in every function that takes one."""

from __future__ import annotations

import duckdb
import pytest

from headrace.kql.api import KqlError, compile_query, sql_text
from headrace.kql.model import Tables
from headrace.kql.sql.session import prepare

HOSTILE = "((a+)+)+$"
TEXT = "a" * 20_000 + "!"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("extract('((a+)+)+$', toint(g), s)", ""),
        ("extract_all('(?P<x>(a+)+)+$', dynamic(['x']), s)", None),
        ("indexof_regex(s, '((a+)+)+$')", -1),
        ("indexof_regex(s, '((a+)+)+$', 0, -1, 2)", -1),
        ("replace_regex(s, '((a+)+)+$', '') == s", True),
        ("s matches regex p", False),
        ("countof(s, '((a+)+)+$', 'regex')", 0),
    ],
)
def test_a_hostile_pattern_ends(call: str, expected: object) -> None:
    text = f"print s = '{TEXT}', p = '{HOSTILE}', g = '1' | where s != '' | project r = {call}"
    with duckdb.connect() as connection:
        prepare(connection)
        statement = compile_query(text, Tables({})).statements[0]
        sql = sql_text(statement.to_sql(lambda scan: pytest.fail("there is no table")))
        assert connection.execute(sql).fetchall() == [(expected,)]


@pytest.mark.parametrize(
    "call",
    [
        "extract('(', 1, s)",
        "extract_all('(', s)",
        "indexof_regex(s, '(')",
        "replace_regex(s, '(', '')",
        "countof(s, '(', 'regex')",
        "trim('(', s)",
        "trim_start('(', s)",
        "trim_end('(', s)",
        "s matches regex '('",
        "s matches regex 'a(?=b)'",
        r"s matches regex '(a)\\1'",
        "s matches regex '(a{1000}){1000}'",
    ],
)
def test_what_is_no_pattern_is_a_problem_of_the_text(call: str) -> None:
    with pytest.raises(KqlError) as raised:
        compile_query(f"print s = 'x' | project r = {call}", Tables({}))
    assert [problem.code for problem in raised.value.problems] == ["KQL0121"]


@pytest.mark.parametrize(
    "operator",
    [
        "parse kind=regex s with '(' x",
        "parse-kv s as (x: string) with (regex='(')",
        "parse-kv s as (x: string) with (regex='(.)')",
    ],
)
def test_what_is_no_pattern_of_an_operator(operator: str) -> None:
    with pytest.raises(KqlError) as raised:
        compile_query(f"print s = 'x' | {operator}", Tables({}))
    assert [problem.code for problem in raised.value.problems] == ["KQL0121"]


def test_plain_occurrences_are_no_patterns() -> None:
    compile_query("print countof('((', '('), countof('((', '(', 'normal')", Tables({}))
