"""Small tables that stand in memory, for queries of something else than logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from headrace.kql.api import Database, Scan, ScanProvider, Statement
from headrace.kql.types import Schema

_NOTHING = "_"
"""A select needs a column even when none is asked for."""


@dataclass(frozen=True, slots=True)
class InlineTable:
    """Columns of strings and dynamic values, and rows of their texts: a dynamic value's is JSON, None is null."""

    schema: Schema
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True, slots=True)
class InlineTables:
    """What a query may name: `tables` by their lower-case names, which are found in any case."""

    tables: Mapping[str, InlineTable]

    def find_table(self, name: str) -> Schema | None:
        """See `kql.api.Database`."""
        table = self.tables.get(name.lower())
        return None if table is None else table.schema

    def table_names(self) -> Iterable[str]:
        """See `kql.api.Database`."""
        return sorted(self.tables)

    def filled_tables(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self.tables)

    def workspace(self, name: str) -> Database | None:
        """See `kql.api.Database`: there is none."""
        return None

    def functions(self) -> Mapping[str, str]:
        """The saved functions: there are none."""
        return {}

    def provider(self, _statements: Sequence[Statement]) -> ScanProvider:
        """The scans of statements."""
        return self._scan

    def _scan(self, scan: Scan) -> exp.Query:
        table = self.tables[scan.table.lower()]
        places = {column.name: place for place, column in enumerate(table.schema.columns)}
        picked = [places[column.name] for column in scan.columns]
        names = [column.sql_name for column in scan.columns] or [_NOTHING]
        rows = [[row[place] for place in picked] or [None] for row in table.rows]
        tuples = [
            exp.Tuple(expressions=[_literal(value) for value in row]) for row in rows or [[None] * len(names)]
        ]
        columns = [exp.to_identifier(name, quoted=True) for name in names]
        values = exp.Values(
            expressions=tuples, alias=exp.TableAlias(this=exp.to_identifier("v"), columns=columns)
        )
        # A column of nothing but nulls would be one of numbers.
        texts = [
            exp.alias_(exp.cast(exp.column(name, quoted=True), "VARCHAR"), name, quoted=True)
            for name in names
        ]
        if scan.rows is not None:
            texts.append(exp.alias_(exp.cast(exp.Literal.number(1), "BIGINT"), scan.rows, quoted=True))
        query = exp.select(*texts).from_(values)
        return query if rows else query.where(exp.false())


def _literal(value: str | None) -> exp.Expression:
    return exp.null() if value is None else exp.Literal.string(value)
