"""The compiler's front door: KQL text and schemas in, compiled statements out.

`compile_transform` takes the text of a data collection rule's transform, `compile_query` the text of a
query. Both raise `KqlError` with every problem of the text; what is legal but a trap comes back as warnings.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from headrace.errors import Problem
from headrace.kql.model import (
    Database,
    Functions,
    KqlError,
    Output,
    OutputColumn,
    QueryOptions,
    Render,
    Scan,
    ScanColumn,
    ScanProvider,
)
from headrace.kql.types import Schema

__all__ = [
    "RECEIVED",
    "Compiled",
    "Database",
    "KqlError",
    "Output",
    "OutputColumn",
    "QueryOptions",
    "Render",
    "Scan",
    "ScanColumn",
    "ScanProvider",
    "Statement",
    "compile_query",
    "compile_transform",
]

RECEIVED = "_TimeReceived"
"""Column of a transform's scan that holds the payload's received time: what `now()` means there.

The scan asks for it (type datetime) only when the text uses the time of processing."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One tabular result of a text, ready to become SQL."""

    columns: tuple[OutputColumn, ...]
    render: Render | None
    scans: tuple[Scan, ...]

    def to_sql(self, scans: ScanProvider, output: Output = Output.RESULT) -> exp.Query:
        """The select whose columns are the `sql_name` of `columns`, in order.

        Raises `KqlError` when `output` is STORAGE and a column is a timespan or decimal.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled text: its statements, each with a result of its own, and the warnings."""

    statements: tuple[Statement, ...]
    warnings: tuple[Problem, ...] = ()


def compile_transform(text: str, source: Schema, *, functions: Functions = "extended") -> Compiled:
    """Compile a transform over `source`; exactly one statement, one row out at most for a row in.

    With `functions="documented"` whatever Azure does not list is refused, else it is warned about.
    Raises `KqlError`.
    """
    raise NotImplementedError


def compile_query(text: str, database: Database, options: QueryOptions | None = None) -> Compiled:
    """Compile a query over the tables of `database`; one statement a tabular expression. Raises `KqlError`."""
    raise NotImplementedError
