"""Calls declared functions on a real engine, without the compiler: bind, lower, run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
from sqlglot import exp

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.registry import OPERATORS, Argument, Constant, Value
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.functions.build import SQL_TYPES, cast
from headrace.kql.sql.functions.calls import lower
from headrace.kql.sql.functions.convert import literal
from headrace.kql.sql.session import GeoReader, prepare
from headrace.kql.types import KustoType

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks(value: datetime | timedelta) -> int:
    """Ticks of a datetime since 1970, or of a timespan."""
    delta = value - EPOCH if isinstance(value, datetime) else value
    return (delta.days * 86_400 + delta.seconds) * 10_000_000 + delta.microseconds * 10


class Null:
    """The null of a type."""

    def __init__(self, kind: KustoType) -> None:
        self.kind = kind


class Dynamic(str):
    """JSON text that is a dynamic."""


class Guid(str):
    """Text that is a guid."""


class Ticks(int):
    """A timespan in ticks."""


class Moment(int):
    """A datetime in ticks."""


class Int(int):
    """An int, not a long."""


Given = str | int | float | bool | datetime | timedelta | Null


def valued(given: Given) -> tuple[KustoType, Value]:
    """The Kusto type and the constant of a Python value."""
    if isinstance(given, Null):
        return given.kind, None
    if isinstance(given, Dynamic):
        return KustoType.DYNAMIC, str(given)
    if isinstance(given, Guid):
        return KustoType.GUID, str(given)
    if isinstance(given, str):
        return KustoType.STRING, given
    if isinstance(given, bool):
        return KustoType.BOOL, given
    if isinstance(given, Ticks):
        return KustoType.TIMESPAN, int(given)
    if isinstance(given, Moment):
        return KustoType.DATETIME, int(given)
    if isinstance(given, Int):
        return KustoType.INT, int(given)
    if isinstance(given, int):
        return KustoType.LONG, given
    if isinstance(given, float):
        return KustoType.REAL, given
    return (
        KustoType.DATETIME if isinstance(given, datetime) else KustoType.TIMESPAN,
        ticks(given),
    )


class Plain:
    """A context with one moment and nothing to hoist to."""

    def __init__(self) -> None:
        self.count = 0

    def now(self) -> exp.Expression:
        return literal(KustoType.DATETIME, ticks(NOW))

    def fresh(self, prefix: str = "x") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def hoist(self, expression: exp.Expression) -> exp.Expression:
        return expression

    def order(self) -> list[exp.Expression]:
        return []


class Caller:
    """Runs calls on one connection, with constants and with columns: both must agree."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def __call__(self, name: str, *given: Given) -> Any:
        """The result of a scalar call, by its KQL name or operator."""
        constant = self._run(name, given, fixed=True)
        column = self._run(name, given, fixed=False)
        same = constant == column or (constant != constant and column != column)
        assert same, f"{name}: {constant!r} of constants, {column!r} of columns"
        return constant

    def _run(self, name: str, given: Sequence[Given], *, fixed: bool) -> Any:
        function = FUNCTIONS.find(OPERATORS.get(name, name))
        assert function is not None, name
        values = [valued(item) for item in given]
        needed = [
            fixed
            or any(s.param(place).constant for s in function.signatures if len(values) <= (s.most or 99))
            for place in range(len(values))
        ]
        arguments = [
            Argument(kind, Constant(value) if keep else None)
            for (kind, value), keep in zip(values, needed, strict=True)
        ]
        resolution = function.resolve(arguments)
        typed = []
        columns = []
        for place, ((kind, value), argument) in enumerate(zip(values, arguments, strict=True)):
            made = literal(kind, value)
            if argument.constant is None:
                columns.append(exp.alias_(cast(made, SQL_TYPES[kind]), f"a{place}"))
                typed.append(Typed(exp.column(f"a{place}"), kind))
            else:
                typed.append(Typed(made, kind, argument.constant))
        sql = lower(Plain(), function.name, typed, resolution)
        # A volatile guard keeps the engine from folding the columns into constants.
        source = exp.select(*columns, exp.alias_(exp.Anonymous(this="random"), "r"))
        query = exp.select(exp.alias_(sql, "v")).from_(source.subquery("t")).sql("duckdb")
        row = self.connection.execute(query).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def calling(geo: GeoReader | None = None) -> Iterator[Caller]:
    """A caller over a fresh engine."""
    with duckdb.connect() as connection:
        prepare(connection, geo)
        yield Caller(connection)
