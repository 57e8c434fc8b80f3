"""The compiler's front door: KQL text and schemas in, compiled statements out.

`compile_transform` takes the text of a data collection rule's transform, `compile_stages` several that follow
each other, `compile_query` the text of a query. All raise `KqlError` with every problem of the text; what is
legal but a trap comes back as warnings.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from headrace.errors import Problem
from headrace.kql.bind.base import BinderBase
from headrace.kql.bind.binder import Binder, Bound, TransformBinder
from headrace.kql.bind.plugins import PlanProbe
from headrace.kql.model import (
    Database,
    Functions,
    KqlError,
    NoTables,
    Output,
    OutputColumn,
    Probe,
    QueryOptions,
    Render,
    Scan,
    ScanColumn,
    ScanProvider,
)
from headrace.kql.plan.depth import too_deep
from headrace.kql.plan.expressions import Column, columns_of
from headrace.kql.plan.nodes import Plan, TableScan
from headrace.kql.plan.rewrites import count_by_files, find_time_ranges, place_filters, prune, settle
from headrace.kql.plan.scans import table_scans
from headrace.kql.profile import Profile, TransformProfile
from headrace.kql.sql.duckdb import DuckDbGenerator, storage_value
from headrace.kql.sql.writer import SqlWriter
from headrace.kql.syntax.lexer import SourceText
from headrace.kql.syntax.nodes import Script
from headrace.kql.syntax.parser import parse
from headrace.kql.types import KustoType, Schema

__all__ = [
    "RECEIVED",
    "Compiled",
    "Database",
    "KqlError",
    "Output",
    "OutputColumn",
    "Probe",
    "QueryOptions",
    "Render",
    "Scan",
    "ScanColumn",
    "ScanProvider",
    "Statement",
    "compile_query",
    "compile_stages",
    "compile_transform",
    "sql_text",
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
    _bound: Bound = field(repr=False)

    def to_sql(self, scans: ScanProvider, output: Output = Output.RESULT) -> exp.Query:
        """The select whose columns are the `sql_name` of `columns`, in order.

        Raises `KqlError` when `output` is STORAGE and a column is a timespan or decimal.
        """
        bound = self._bound
        generator = DuckDbGenerator(scans, _scan_of)
        shape = None
        if output is Output.STORAGE:
            self._check_storage()
            shape = storage_value
        try:
            return generator.statement(bound.plan, bound.columns, bound.order, shape)
        except RecursionError:
            raise _deep() from None

    def _check_storage(self) -> None:
        refused = [
            column for column in self.columns if column.type in (KustoType.TIMESPAN, KustoType.DECIMAL)
        ]
        problems = [
            Problem(
                "KQL0204",
                f"The column `{column.name}` is a {column.type}, which no table can hold.",
                hint="Convert it, as by `tostring()` or `toreal()`.",
            )
            for column in refused
        ]
        if problems:
            raise KqlError(problems)


def sql_text(query: exp.Query) -> str:
    """The text of a statement's select, for DuckDB. Consumes `query`. Raises `KqlError` if it nests too deep."""
    try:
        return SqlWriter().sql(query)
    except RecursionError:
        raise _deep() from None


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
    return compile_stages([text], source, functions=functions)


def compile_stages(texts: Sequence[str], source: Schema, *, functions: Functions = "extended") -> Compiled:
    """Compile transforms one after the other as one: each one's `source` is what the one before it gives.

    Raises `KqlError` with the problems of the first text that has any; their places are that text's.
    """
    try:
        profile = TransformProfile(documented=functions == "documented")
        binder = TransformBinder(SourceText(""), NoTables(), QueryOptions(), profile, 0)
        binder.prepare(source, RECEIVED)
        bound: list[Bound] = []
        for text in texts:
            script, spans = _parsed(text)
            bound = binder.stage(script, spans)
            if len(bound) > 1:
                message = "A transform is one tabular expression; this text has several."
                binder.report("KQL0205", message, script)
            if binder.problems:
                break
        return _finished(binder, bound, None)
    except RecursionError:
        raise _deep() from None


def compile_query(text: str, database: Database, options: QueryOptions | None = None) -> Compiled:
    """Compile a query over the tables of `database`; one statement a tabular expression. Raises `KqlError`."""
    options = options or QueryOptions()
    now = options.now if options.now is not None else time.time_ns() // 100
    try:
        script, spans = _parsed(text)
        binder = Binder(spans, database, options, Profile(), now)
        if options.probe is not None:
            binder.probe = _prober(options.probe)
        return _finished(binder, binder.script(script), options.constants)
    except RecursionError:
        raise _deep() from None


def _prober(probe: Probe) -> PlanProbe:
    """How the binder asks for rows: a plan becomes a statement that the caller's probe runs."""

    def ask(plan: Plan, columns: Sequence[Column]) -> Sequence[Sequence[Any]]:
        return probe(_statement(Bound(plan, tuple(columns), (), None)))

    return ask


def _parsed(text: str) -> tuple[Script, SourceText]:
    script, spans, problems = parse(text)
    if problems:
        raise KqlError(problems)
    return script, spans


def _finished(binder: BinderBase, bound: list[Bound], constants: Collection[str] | None) -> Compiled:
    if binder.problems:
        raise KqlError(binder.problems)
    statements = tuple(_statement(item, constants) for item in bound)
    return Compiled(statements, tuple(binder.warnings))


def _deep() -> KqlError:
    return KqlError(Problem("KQL0004", "The text nests too deep.", hint="Split it into smaller queries."))


def _statement(bound: Bound, constants: Collection[str] | None = None) -> Statement:
    if too_deep(bound.plan):
        raise _deep()
    needed = {*bound.columns, *(column for key in bound.order for column in columns_of(key.value))}
    plan, shared = settle(bound.plan)
    for each in shared:
        each.plan = place_filters(each.plan)
    plan = prune(find_time_ranges(place_filters(plan), shared), needed, shared)
    if constants is not None:
        plan = count_by_files(plan, constants, shared)
    columns = tuple(OutputColumn(column.name, column.type, column.sql_name) for column in bound.columns)
    scans = tuple(_scan_of(scan) for scan in table_scans(plan))
    return Statement(columns, bound.render, scans, Bound(plan, bound.columns, bound.order, bound.render))


def _scan_of(plan: TableScan) -> Scan:
    columns = tuple(
        ScanColumn(name, column.type, column.sql_name)
        for column, name in zip(plan.columns, plan.names, strict=plan.rows is None)
    )
    rows = None if plan.rows is None else plan.rows.sql_name
    return Scan(plan.workspace, plan.table, columns, plan.time_range, rows, plan.steps)
