"""Case files: pieces of KQL under `//#` headings.

    //# case what it shows
    //# table Events
    datatable (Level: string, Code: long) ["Error", 5, "Info", 0]
    //# query            (or: //# transform)
    Events | where Code > 1
    //# rows             (or: //# rows ordered, or: //# error KQL0104 at 1:16, //# warning KQL0302)
    datatable (Level: string, Code: long) ["Error", 5]

Tables and expected rows are `datatable` texts; a transform reads the table `source`.
Many small facts go on a line each:

    //# values           (or: //# values Events, for aggregates over a table)
    7 / 2 -> 3           (value and type are those of the right side; `~>` is for reals that are close)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from headrace.kql.api import (
    Compiled,
    Output,
    QueryOptions,
    Scan,
    Statement,
    compile_query,
    compile_transform,
    sql_text,
)
from headrace.kql.model import Tables
from headrace.kql.types import Schema, SchemaColumn

_HEADING = re.compile(r"^//# *(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fact:
    """An expression and what it is equal to, or close to."""

    expression: str
    expected: str
    close: bool


@dataclass
class Case:
    """One case of a file."""

    name: str
    line: int
    tables: dict[str, str] = field(default_factory=dict)
    kind: str = "query"
    text: str = ""
    expected: list[tuple[str, str]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


def read_facts(case: Case, table: str, body: str) -> None:
    """Make a case's query and expectation of the lines under `values`."""
    for line in body.splitlines():
        expression, arrow, expected = re.split(r" ([-~])> (?!.* [-~]> )", line, maxsplit=1)
        case.facts.append(Fact(expression, expected, arrow == "~"))
    left = ", ".join(f"v{i} = ({fact.expression})" for i, fact in enumerate(case.facts))
    right = ", ".join(f"v{i} = ({fact.expected})" for i, fact in enumerate(case.facts))
    case.text = f"{table} | summarize {left}" if table else f"print {left}"
    case.expected.append(("rows", f"print {right}"))


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of a file in order."""
    text = path.read_text("utf-8")
    headings = list(_HEADING.finditer(text))
    case: Case | None = None
    for place, heading in enumerate(headings):
        end = headings[place + 1].start() if place + 1 < len(headings) else len(text)
        body = text[heading.end() : end].strip()
        word, _, rest = heading.group(1).partition(" ")
        if word == "case":
            if case is not None:
                yield case
            case = Case(rest, text.count("\n", 0, heading.start()) + 1)
        elif case is None:
            raise ValueError(f"{path}: a file begins with //# case")
        elif word == "table":
            case.tables[rest] = body
        elif word in ("query", "transform"):
            case.kind, case.text = word, body
        elif word == "values":
            read_facts(case, rest, body)
        elif word in ("rows", "error", "warning"):
            case.expected.append((f"{word} {rest}".strip(), body))
        else:
            raise ValueError(f"{path}: unknown heading {word}")
    if case is not None:
        yield case


class Runner:
    """Runs texts over the tables of a case."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: dict[str, str]) -> None:
        self.connection = connection
        self.tables = {name: compile_query(text, Tables({})).statements[0] for name, text in tables.items()}
        self.schemas = {name: _schema(statement) for name, statement in self.tables.items()}

    def compile(self, case: Case) -> Compiled:
        """The case's text compiled."""
        if case.kind == "transform":
            return compile_transform(case.text, self.schemas["source"])
        now = 17_000_000_000_000_000
        return compile_query(case.text, Tables(self.schemas), QueryOptions(now=now, probe=self.rows))

    def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows of a statement, datetimes and timespans as ticks."""
        return self.connection.execute(sql_text(statement.to_sql(self.scan))).fetchall()

    def scan(self, scan: Scan) -> exp.Query:
        """A table of the case; a transform's received time is the year 2020."""
        statement = self.tables[scan.table]
        inner = statement.to_sql(self.scan, Output.STORAGE)
        names = {column.name: column.sql_name for column in statement.columns}
        items: list[exp.Expression] = []
        for column in scan.columns:
            value: exp.Expression = (
                exp.column(names[column.name])
                if column.name in names
                else exp.cast(exp.Literal.string("2020-01-01 00:00:00"), "TIMESTAMP")
            )
            items.append(exp.Alias(this=value, alias=exp.to_identifier(column.sql_name)))
        return exp.Select(expressions=items or [exp.Literal.number(1)]).from_(
            exp.Subquery(this=inner, alias="t")
        )


def _schema(statement: Statement) -> Schema:
    return Schema(tuple(SchemaColumn(column.name, column.type) for column in statement.columns))
