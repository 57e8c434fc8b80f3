"""Every case file of `tests/cases`: schema and rows in, rows or error out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from headrace.kql.api import KqlError, Statement, compile_query
from headrace.kql.model import Tables
from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType
from tests.conformance.kqlcases import Case, Runner, read_cases

ROOT = Path(__file__).parent.parent / "cases"
FILES = sorted(ROOT.rglob("*.kql"))
CASES = [
    pytest.param(case, id=f"{path.relative_to(ROOT).with_suffix('')}:{case.line}")
    for path in FILES
    for case in read_cases(path)
]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        prepare(made)
        yield made


def _plain(type: KustoType, value: Any) -> Any:
    if type is KustoType.DYNAMIC and value is not None:
        return json.loads(value)
    if isinstance(value, float):
        return round(value, 9)
    return value


def _cells(statement: Statement, rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [
        [_plain(column.type, value) for column, value in zip(statement.columns, row, strict=True)]
        for row in rows
    ]


def _check_facts(
    case: Case,
    statement: Statement,
    rows: list[tuple[Any, ...]],
    expected: Statement,
    wanted: list[tuple[Any, ...]],
) -> None:
    [found], [right] = _cells(statement, rows), _cells(expected, wanted)
    wrong = [
        f"{fact.expression} is {value!r} ({made.type}), not {fact.expected}"
        for fact, made, like, value, other in zip(
            case.facts, statement.columns, expected.columns, found, right, strict=True
        )
        if made.type is not like.type
        or not (value == other or (fact.close and math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-9)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", CASES)
def test_case(case: Case, connection: duckdb.DuckDBPyConnection) -> None:
    runner = Runner(connection, case.tables)
    errors = [heading for heading, _ in case.expected if heading.startswith("error")]
    if errors:
        with pytest.raises(KqlError) as raised:
            runner.compile(case)
        found = [
            f"error {problem.code} at {problem.span.line}:{problem.span.column}"
            for problem in raised.value.problems
            if problem.span is not None
        ]
        assert found == errors
        return
    compiled = runner.compile(case)
    warnings = [heading for heading, _ in case.expected if heading.startswith("warning")]
    if warnings:
        assert [f"warning {problem.code}" for problem in compiled.warnings] == warnings
    wanted = [(heading, body) for heading, body in case.expected if heading.startswith("rows")]
    assert wanted or warnings, "a case without an expectation shows nothing"
    for (heading, body), statement in zip(wanted, compiled.statements, strict=bool(wanted)):
        expected = compile_query(body, Tables({})).statements[0]
        if case.facts:
            _check_facts(case, statement, runner.rows(statement), expected, runner.rows(expected))
            continue
        assert [(c.name, c.type) for c in statement.columns] == [(c.name, c.type) for c in expected.columns]
        rows = _cells(statement, runner.rows(statement))
        expected_rows = _cells(expected, runner.rows(expected))
        if "ordered" in heading:
            assert rows == expected_rows
        else:
            assert sorted(rows, key=repr) == sorted(expected_rows, key=repr)
