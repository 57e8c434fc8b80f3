"""The compiler against the outside: run a query over CSV tables, or check one against standard tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from sqlglot import exp

from headrace.catalog.standard import StandardTables
from headrace.kql.api import KqlError, QueryOptions, Scan, Statement, compile_query, sql_text
from headrace.kql.model import Tables
from headrace.kql.sql.session import prepare
from headrace.kql.syntax.dynamic import format_datetime, format_timespan
from headrace.kql.types import (
    LEAST_DATETIME,
    MOST_DATETIME,
    KustoType,
    Schema,
    SchemaColumn,
    parse_type,
)

_SQL_TYPES = {
    KustoType.STRING: "VARCHAR",
    KustoType.INT: "INTEGER",
    KustoType.LONG: "BIGINT",
    KustoType.REAL: "DOUBLE",
    KustoType.BOOL: "BOOLEAN",
    KustoType.DATETIME: "TIMESTAMP",
    KustoType.DYNAMIC: "VARCHAR",
    KustoType.GUID: "VARCHAR",
    KustoType.TIMESPAN: "VARCHAR",
    KustoType.DECIMAL: "VARCHAR",
}


def run(query: str, tables: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[list[Any]]]:
    """Run a query over CSV files; gives the columns with types, and the rows. Raises `KqlError`."""
    schemas = {name: _schema(table["schema"]) for name, table in tables.items()}
    paths = {name: str(table["csv"]) for name, table in tables.items()}
    with duckdb.connect() as connection:
        prepare(connection)
        connection.execute("set timezone = 'UTC'")

        def rows_of(statement: Statement) -> list[tuple[Any, ...]]:
            sql = statement.to_sql(lambda scan: _csv(scan, paths[scan.table], schemas[scan.table]))
            return connection.execute(sql_text(sql)).fetchall()

        compiled = compile_query(query, Tables(schemas), QueryOptions(probe=rows_of, outside="declare"))
        statement = compiled.statements[-1]
        rows = rows_of(statement)
    return _columns(statement), [_row(statement, row) for row in rows]


def _schema(columns: Sequence[Mapping[str, str]]) -> Schema:
    return Schema(
        tuple(
            SchemaColumn(column["name"], parse_type(column["type"]) or KustoType.STRING) for column in columns
        )
    )


def _csv(scan: Scan, path: str, schema: Schema) -> exp.Query:
    types = exp.Struct(
        expressions=[
            exp.PropertyEQ(
                this=exp.Identifier(this=column.name, quoted=True),
                expression=exp.Literal.string(_SQL_TYPES[column.type]),
            )
            for column in schema.columns
        ]
    )
    read = exp.Anonymous(
        this="read_csv",
        expressions=[
            exp.Literal.string(path),
            exp.EQ(this=exp.column("header"), expression=exp.true()),
            exp.EQ(this=exp.column("columns"), expression=types),
        ],
    )
    items: list[exp.Expression] = []
    for column in scan.columns:
        value: exp.Expression = exp.column(column.name, quoted=True)
        if column.type is KustoType.STRING:
            value = exp.Coalesce(this=value, expressions=[exp.Literal.string("")])
        items.append(exp.Alias(this=value, alias=exp.Identifier(this=column.sql_name, quoted=False)))
    return exp.Select(expressions=items or [exp.Literal.number(1)]).from_(read)


def _columns(statement: Statement) -> list[dict[str, str]]:
    return [{"name": column.name, "type": column.type.value} for column in statement.columns]


def _row(statement: Statement, row: Sequence[Any]) -> list[Any]:
    # A select has a column even where none is asked for.
    cells = row[: len(statement.columns)]
    return [_value(column.type, value) for column, value in zip(statement.columns, cells, strict=True)]


def _value(type: KustoType, value: Any) -> Any:
    if value is None:
        return None
    if type is KustoType.DATETIME:
        return format_datetime(value) if LEAST_DATETIME <= value <= MOST_DATETIME else None
    if type is KustoType.TIMESPAN:
        return format_timespan(value)
    if type is KustoType.DYNAMIC:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def check(query: str) -> list[dict[str, Any]]:
    """The problems (code, line, column, message) of binding one query against the standard tables.

    What `externaldata` declares is bound as it says: refusing to read it is for whoever runs the query.
    """
    try:
        compile_query(query, StandardTables(), QueryOptions(outside="declare"))
    except KqlError as error:
        return [
            {
                "code": problem.code,
                "line": problem.span.line if problem.span else 1,
                "column": problem.span.column if problem.span else 1,
                "message": problem.message,
            }
            for problem in error.problems
        ]
    return []
