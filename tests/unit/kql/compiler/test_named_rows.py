"""Rows that a text names and reads several times: bound once, computed once where that pays."""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import pytest
from sqlglot import exp

from headrace.kql.api import KqlError, QueryOptions, Scan, Statement, compile_query, sql_text
from headrace.kql.model import Tables
from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType, Schema, SchemaColumn

_T = KustoType
COLUMNS = {"TimeGenerated": _T.DATETIME, "Host": _T.STRING, "Code": _T.LONG, "Text": _T.STRING}
DATABASE = Tables({"Logs": Schema(tuple(SchemaColumn(name, kind) for name, kind in COLUMNS.items()))})


def _compiled(text: str, saved: str = "Logs") -> tuple[Statement, ...]:
    options = QueryOptions(now=638_500_000_000_000_000, functions={"Saved": saved})
    return compile_query(text, DATABASE, options).statements


def _select(scan: Scan) -> exp.Query:
    items = [exp.alias_(exp.column(column.name, quoted=True), column.sql_name) for column in scan.columns]
    return exp.Select(expressions=items or [exp.Literal.number(1)]).from_(exp.to_table(scan.table))


def _sql(text: str, place: int = 0, saved: str = "Logs") -> str:
    return sql_text(_compiled(text, saved)[place].to_sql(_select))


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        prepare(connection)
        connection.execute(
            """CREATE TABLE Logs AS SELECT TIMESTAMP '2024-01-01' + to_minutes(30 * i) AS TimeGenerated,
            'h' || (i % 3) AS Host, i % 5 AS Code, 'from ' || (i % 4) || ' to ' || i AS Text
            FROM range(48) t(i)"""
        )
        yield connection


PARSED = 'Logs | parse Text with "from " a:long " to " b:long | where b > 3'
GROUPED = "Logs | summarize n = count(), last = max(TimeGenerated) by Host, Code"
CHEAP = "Logs | where Code > 1 | extend x = strcat(Host, Code) | sort by x asc, TimeGenerated desc"
READERS = {
    PARSED: "{0} | join kind=inner ({0} | where a == 1) on b | project b, a1 | where b > 9",
    GROUPED: "{0} | lookup ({0} | summarize all = sum(n) by Host) on Host"
    " | where Host in (({0} | where n > 3 | project Host))",
    CHEAP: "union ({0} | where Host == 'h1' | extend row = row_number()), ({0} | take 3 | extend row = -1)"
    " | project x, row",
}


@pytest.mark.parametrize("body", list(READERS))
def test_a_name_means_what_is_written_out(engine: duckdb.DuckDBPyConnection, body: str) -> None:
    readers = READERS[body]
    named = f"let R = {body}; {readers.format('R')}"
    same = (
        f"{body} | as R | {readers.format('R').removeprefix('R |')}" if readers.startswith("{0}") else named
    )
    wanted = sorted(engine.execute(_sql(readers.format(f"({body})"))).fetchall())
    assert wanted
    function = f"let F = () {{ let R = {body}; R }};"
    for text in (
        named,
        same,
        f"{function} let R = F; let R2 = R; {readers.format('R2')}",
        f"{function} {readers.format('F()')}",
        f"{function} {readers.format('F')}",
        f"let F = (less: long = 1) {{ {body} }}; {readers.format('F()')}",
        readers.format("Saved()"),
    ):
        assert sorted(engine.execute(_sql(text, saved=body)).fetchall()) == wanted


@pytest.mark.parametrize(
    ("body", "times"),
    [
        (PARSED, 1),
        (GROUPED, 1),
        ("Logs | top 3 by Code", 1),
        ("Logs | where Code > 1", 2),
        ("union Logs, Logs", 4),
        ("materialize(Logs | where Code > 1)", 1),
    ],
)
def test_what_costs_much_is_computed_once(body: str, times: int) -> None:
    readers = "{0} | join kind=inner ({0} | summarize max(Code) by Host) on Host"
    for text in (
        f"let R = {body}; {readers.format('R')}",
        f"let F = () {{ {body} }}; {readers.format('F()')}",
        f"let F = () {{ let R = {body}; R }}; let G = view () {{ F() }}; {readers.format('G')}",
        readers.format("Saved()"),
        readers.format("Saved"),
    ):
        sql = _sql(text, saved=body)
        assert len(re.findall(r"\bLogs\b", sql)) == times
        assert ("MATERIALIZED" in sql) == (times == 1)


def test_a_function_is_bound_anew_for_other_arguments() -> None:
    text = "let F = (most: long) { Logs | where Code < most | top 3 by Code }; F(1) | join kind=inner F(2) on Host"
    assert len(re.findall(r"\bLogs\b", _sql(text))) == 2


def test_what_one_place_reads_is_put_in_there() -> None:
    sql = _sql(f"let R = {PARSED}; let S = R | where a == 1; S | summarize count() by a")
    assert "WITH" not in sql


def test_a_name_that_is_read_through_copies_is_computed_once() -> None:
    text = f"let R = {GROUPED}; let S = R | where n > 2; S | join kind=inner (S | project Host, n) on Host"
    assert len(re.findall(r"\bLogs\b", _sql(text))) == 1


def test_each_reader_of_a_copy_has_its_own_time() -> None:
    text = """let R = Logs | where Code > 1;
    let Before = R | where TimeGenerated < datetime(2024-01-01);
    R | where TimeGenerated > datetime(2024-01-02) | join kind=inner Before on Host"""
    first, second = (scan.time_range for scan in _compiled(text)[0].scans)
    assert first[0] is not None and first[1] is None
    assert second[0] is None and second[1] is not None


def test_a_time_that_one_side_of_a_join_has_is_not_the_others() -> None:
    text = "let R = Logs | where Code > 1; R | join kind=inner R on Host | where TimeGenerated > datetime(2024-01-02)"
    assert sorted(scan.time_range[0] is None for scan in _compiled(text)[0].scans) == [False, True]


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("TimeGenerated > datetime(2024-01-02)", "TimeGenerated < datetime(2024-01-01)", None, None),
        (
            "TimeGenerated between (datetime(2024-01-02) .. 1h)",
            "TimeGenerated between (datetime(2024-01-01) .. 1h)",
            1_704_067_200_000_000,
            1_704_157_200_000_000,
        ),
        ("TimeGenerated > datetime(2024-01-02)", "Code > 1", None, None),
    ],
)
def test_what_is_computed_once_covers_the_times_of_all(
    one: str, other: str, low: int | None, high: int | None
) -> None:
    text = f"let R = {PARSED}; R | where {one} | join kind=inner (R | where {other}) on Host"
    (scan,) = _compiled(text)[0].scans
    assert scan.time_range == (low, high)


def test_chance_is_thrown_for_each_reader() -> None:
    sql = _sql("let R = Logs | extend x = rand(); R | join kind=inner (R | where x > 0.5) on Host")
    assert len(re.findall(r"\bLogs\b", sql)) == 2 and "MATERIALIZED" not in sql


def test_each_call_of_a_function_throws_its_own_chance() -> None:
    body = "materialize(Logs | extend x = rand())"
    sql = _sql(f"let F = () {{ {body} }}; F() | join kind=inner (F() | where x > 0.5) on Host")
    assert len(re.findall(r"\bLogs\b", sql)) == 2
    sql = _sql(f"let R = {body}; R | join kind=inner (R | where x > 0.5) on Host")
    assert len(re.findall(r"\bLogs\b", sql)) == 1


def test_statements_that_read_other_columns_do_not_disturb_each_other() -> None:
    text = "let R = materialize(Logs | extend x = strcat(Host, 1)); R | project Host; R | project x"
    assert "CONCAT" not in _sql(text, 0)
    assert "CONCAT" in _sql(text, 1)


def test_names_that_double_each_other_are_bounded() -> None:
    for form in ("let R{1} = union R{0}, R{0};", "let R{1} = () {{ union R{0}, R{0} }};"):
        doubled = "".join(form.format(i, i + 1) for i in range(40))
        with pytest.raises(KqlError) as raised:
            compile_query(f"let R0 = Logs;{doubled} R40", DATABASE)
        assert [problem.code for problem in raised.value.problems] == ["KQL0004"]


def test_a_problem_in_a_name_is_told_once() -> None:
    with pytest.raises(KqlError) as raised:
        _compiled("let R = Logs | where Cod > 1 | project Host; R | join R on Host | take 1")
    assert [problem.message for problem in raised.value.problems] == ["There is no column `Cod` here."]
