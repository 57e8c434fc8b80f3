"""One compiled object for one data flow: the tester, a rule's validation and the live run all use it.

A `LiveFlow` is a single SQL query: bodies of JSON text in, the rows of the output table's file out. Between
them the declared columns are read (`coerce`), the transform runs, and the row gets its final shape: columns
of the table by exact name, `TimeGenerated` kept near the received time, and the stored system columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from headrace.catalog import standard, system
from headrace.catalog.model import Column, Table
from headrace.catalog.names import SYSTEM_COLUMNS
from headrace.catalog.rules import DataFlow, Rule, Stream
from headrace.clock import DAY
from headrace.errors import Problem, ProblemError
from headrace.kql.api import (
    RECEIVED,
    KqlError,
    Output,
    OutputColumn,
    Scan,
    compile_stages,
    sql_text,
)
from headrace.kql.model import Functions
from headrace.kql.types import KustoType, Schema
from headrace.settings import TransformSettings
from headrace.tables.scan import SQL_TYPES
from headrace.transform import coerce
from headrace.transform.carry import carry_columns
from headrace.transform.stages import staged_transform

TIME = "TimeGenerated"
RESOURCE = "_ResourceId"
_SYNTAX = "KQL00"
_NO_COLUMN = "KQL0104"
OLDEST_DAYS = 2
NEWEST_DAYS = 1
"""A `TimeGenerated` more than so many days before or after the received time gives way to it.

Source: Azure Monitor, 'Standard columns in Azure Monitor Logs', TimeGenerated.
"""

BATCH = "h_batch"
"""The query's input."""

_DOTNET_NAMES = {
    KustoType.BOOL: "Boolean",
    KustoType.DATETIME: "DateTime",
    KustoType.TIMESPAN: "TimeSpan",
}

_CONVERSIONS = {KustoType.DYNAMIC: "parse_json"}
"""Functions that make a value of a type, where it is not `to` and the type's name."""
_MOST_CONVERSIONS = 5

_LOOKUP = re.compile(r"lookup_\w+_am")
"""Azure's functions that find a value in a blob of `references.enrichmentData`."""
_NO_LOOKUP = (
    "Headrace reads no blobs of references.enrichmentData. Put the values into the transformation: "
    """parse_json('{"a key": "its value"}')[Column]."""
)


@dataclass(frozen=True, slots=True)
class LiveFlow:
    """A data flow ready to run, for every rule that defines it alike.

    `query` is one SELECT in the shape of the table's files; it reads the table `BATCH`, which has the
    columns `coerce.BATCH_COLUMNS`. `dropped` are output columns that the table lacks.
    """

    schema_version: int
    time_column: str
    """Physical name of `TimeGenerated`."""
    query: str
    warnings: tuple[Problem, ...] = ()
    dropped: tuple[str, ...] = ()


def compile_flow(rule: Rule, flow: DataFlow, table: Table, settings: TransformSettings) -> LiveFlow:
    """Compile `flow` of `rule` for the output `table`.

    Raises `ProblemError` with the documented codes `InvalidStream`, `InvalidTransformQuery` and
    `InvalidTransformOutput`, each aimed at the data flow.
    """
    (name,) = flow.streams
    stream = rule.streams.get(name)
    if stream is None:
        message = f"Stream '{name}' is not declared in the rule."
        raise ProblemError(Problem("InvalidStream", message, flow.target))
    rows = _transformed(stream, flow, table, settings)
    known = {column.name for column in table.schema.columns} | {RESOURCE}
    return LiveFlow(
        schema_version=table.schema.version,
        time_column=next(column.physical for column in table.schema.columns if column.name == TIME),
        query=sql_text(_stored(rows, table, settings)),
        warnings=rows.warnings,
        dropped=tuple(column.name for column in rows.columns if column.name not in known),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """A transform's result: `query` yields `columns`, then the carried ones.

    Its datetimes are ticks of 100 ns where `ticks`, else TIMESTAMP.
    """

    query: exp.Query
    columns: tuple[OutputColumn, ...]
    ticks: bool
    warnings: tuple[Problem, ...] = ()

    def micros(self, column: OutputColumn) -> exp.Expr:
        """A datetime column as UTC microseconds."""
        value = exp.column(column.sql_name, quoted=True)
        return _call("divide", value, exp.Literal.number(10)) if self.ticks else _call("epoch_us", value)


def transform_texts(
    stream: Stream, flow: DataFlow, settings: TransformSettings
) -> tuple[tuple[str, ...], Functions, tuple[Problem, ...]]:
    """A flow's KQL, one text a stage, the functions that it may use, and warnings of its stages.

    There is no text where the rows are taken as they come. Raises `ProblemError`.
    """
    if not flow.stages:
        text = flow.transform.strip()
        return (text,) if text not in ("", "source") else (), settings.functions, ()
    made = staged_transform(flow.stages, stream.columns, settings.functions)
    # What the processors may do is the documented part; their own KQL was held to the setting already.
    return made.texts, "extended", made.warnings


def _transformed(stream: Stream, flow: DataFlow, table: Table, settings: TransformSettings) -> _Rows:
    texts, functions, staged = transform_texts(stream, flow, settings)
    if not texts:
        columns = tuple(
            OutputColumn(column.name, column.type, f"c{number}")
            for number, column in enumerate(stream.columns)
        )
        _check_output(columns, table, flow.target)
        source = [coerce.SourceColumn(column.name, column.type, column.sql_name) for column in columns]
        return _Rows(coerce.source_select(BATCH, source), columns, ticks=False)
    try:
        compiled = compile_stages(texts, Schema(stream.columns), functions=functions)
        (statement,) = compiled.statements
        _check_output(statement.columns, table, flow.target)
        query = statement.to_sql(_scan, Output.RESULT)
    except KqlError as error:
        raise ProblemError(
            [query_problem(problem, flow.target, texts[-1]) for problem in error.problems]
        ) from error
    if not carry_columns(query, coerce.CARRIED):
        query = _beside_each_row(query, statement.columns)
    warnings = (
        staged
        if flow.stages
        else tuple(_query_warning(problem, flow.target) for problem in compiled.warnings)
    )
    return _Rows(query, statement.columns, ticks=True, warnings=warnings)


def _beside_each_row(query: exp.Query, columns: tuple[OutputColumn, ...]) -> exp.Select:
    """The result of a transform that never looks at its source (`print`), once for each source row."""
    carried = [exp.column(name, table="h_rows", quoted=True) for name in coerce.CARRIED]
    own = [exp.column(column.sql_name, table="h_print", quoted=True) for column in columns]
    rows = coerce.source_select(BATCH, ())
    return (
        exp.select(*own, *carried)
        .from_(rows.subquery("h_rows", copy=False), copy=False)
        .join(query.subquery("h_print", copy=False), join_type="cross", copy=False)
    )


def _scan(scan: Scan) -> exp.Query:
    own = [
        coerce.SourceColumn(column.name, column.type, column.sql_name)
        for column in scan.columns
        if column.name != RECEIVED
    ]
    select = coerce.source_select(BATCH, own)
    for column in scan.columns:
        if column.name == RECEIVED:
            received = exp.column(coerce.RECEIVED, quoted=True)
            select.select(exp.alias_(received, column.sql_name, quoted=True), copy=False)
    return select


def query_problem(problem: Problem, target: str, text: str) -> Problem:
    """A compiler's problem in the form of Azure's validation details, its place in the text included."""
    kind = "SyntaxError:0x00000001" if problem.code.startswith(_SYNTAX) else "SemanticError:0x00000006"
    where, symbol, hint = "", "", problem.hint
    if problem.span is not None:
        hint = _NO_LOOKUP if _LOOKUP.fullmatch(problem.span.of(text)) else hint
        where = f" at {problem.span.line}:{problem.span.column}"
        if problem.code == _NO_COLUMN:
            symbol = f"Undefined symbol: {problem.span.of(text)}. "
    return Problem(
        "InvalidTransformQuery",
        f"Error occurred while compiling query in query: {kind}{where} : {symbol}{problem.code}: {problem.message}",
        target,
        problem.span,
        hint,
    )


def _query_warning(warning: Problem, target: str) -> Problem:
    """What the compiler only warns of, with its place: not in the words that Azure has for errors."""
    span = warning.span
    where = f" at {span.line}:{span.column}" if span is not None else ""
    return Problem(
        "InvalidTransformQuery", f"{warning.code}{where} : {warning.message}", target, span, warning.hint
    )


def _check_output(columns: tuple[OutputColumn, ...], table: Table, target: str) -> None:
    produced = {column.name: column.type for column in columns}
    if produced.get(TIME) is not KustoType.DATETIME:
        fault = (
            f"but it is of type {produced[TIME].value}: wrap it in todatetime()."
            if TIME in produced
            else "for instance: source | extend TimeGenerated = now()."
        )
        message = f"The transform output must contain a column '{TIME}' of type datetime, {fault}"
        code = "InvalidTransformOutput" if TIME in produced else "InvalidTransformQuery"
        raise ProblemError(Problem(code, message, target))
    wrong = {
        column.name: column.type
        for column in table.schema.columns
        if column.name in produced and not _fits(produced[column.name], column, table)
    }
    if produced.get(RESOURCE, KustoType.STRING) is not KustoType.STRING:
        wrong[RESOURCE] = KustoType.STRING
    if wrong:
        listed = (
            f"{name} [produced:'{_type_name(produced[name])}', output:'{_type_name(type)}']"
            for name, type in wrong.items()
        )
        message = (
            "Types of transform output columns do not match the ones defined by the output stream: "
            + ", ".join(listed)
        )
        raise ProblemError(Problem("InvalidTransformOutput", message, target, hint=_conversion(wrong)))


def _conversion(wrong: Mapping[str, KustoType]) -> str:
    """How to make columns what the table has them as, in words of KQL."""
    shown = list(wrong.items())[:_MOST_CONVERSIONS]
    steps = [f"{name} = {_CONVERSIONS.get(type, f'to{type.value}')}({name})" for name, type in shown]
    more = ", ..." if len(wrong) > len(shown) else ""
    return f"Convert in the transformation: | extend {', '.join(steps)}{more}"


def _fits(produced: KustoType, column: Column, table: Table) -> bool:
    """Whether a value of that type may go into the column.

    What Microsoft lists as string in its own tables is a guid in some workspaces, and rules made from those cast it
    to one; a guid's text is what both hold.
    """
    if produced is KustoType.GUID and column.type is KustoType.STRING:
        return standard.is_standard(table.name)
    return produced is column.type


def _type_name(kusto: KustoType) -> str:
    return _DOTNET_NAMES.get(kusto, kusto.value.capitalize())


def _stored(rows: _Rows, table: Table, settings: TransformSettings) -> exp.Select:
    """The transform's rows in the shape of the table's files.

    Nothing is copied on the way, and the list is made once: a look at the growing tree for each column makes rules of
    hundreds of columns take seconds.
    """
    produced = {column.name: column for column in rows.columns}
    items: list[exp.Expr] = [
        exp.alias_(
            _value(column, produced.get(column.name), rows, settings),
            column.physical,
            quoted=True,
            copy=False,
        )
        for column in table.schema.columns
        if column.name not in SYSTEM_COLUMNS
    ]
    resource = produced.get(RESOURCE)
    values: dict[system.StoredSystemColumn, exp.Expr] = {
        system.TIME_RECEIVED: _call("make_timestamptz", _received()),
        system.RESOURCE_ID: (
            exp.Lower(this=exp.column(resource.sql_name, quoted=True))
            if resource is not None
            else exp.column(coerce.RESOURCE, quoted=True)
        ),
        system.RULE_VERSION: exp.column(coerce.VERSION, quoted=True),
        system.SOURCE: exp.column(coerce.SOURCE, quoted=True),
        system.OFFSET: exp.column(coerce.OFFSET, quoted=True),
        system.ROW: exp.cast(exp.column(coerce.ROW, quoted=True), "INTEGER"),
    }
    for stored in system.STORED:
        items.append(exp.alias_(values[stored], stored.physical, quoted=True, copy=False))
    return exp.Select(expressions=items).from_(rows.query.subquery("t", copy=False), copy=False)


def _value(
    column: Column, produced: OutputColumn | None, rows: _Rows, settings: TransformSettings
) -> exp.Expr:
    if produced is None:
        empty = exp.Literal.string("") if column.type is KustoType.STRING else exp.null()
        return exp.cast(empty, SQL_TYPES[column.type], dialect="duckdb")
    if column.type is KustoType.DATETIME:
        micros = rows.micros(produced)
        return _call("make_timestamptz", _near_receipt(micros) if column.name == TIME else micros)
    value = exp.column(produced.sql_name, quoted=True)
    if column.type is KustoType.STRING and produced.type is KustoType.GUID:
        return exp.Coalesce(this=value, expressions=[exp.Literal.string("")])
    if column.type is KustoType.STRING:
        return coerce.cut_text(produced.sql_name, settings.max_field_bytes)
    return value


def _near_receipt(micros: exp.Expr) -> exp.Expr:
    near = exp.Between(
        this=micros,
        low=exp.Sub(this=_received(), expression=exp.Literal.number(OLDEST_DAYS * DAY)),
        high=exp.Add(this=_received(), expression=exp.Literal.number(NEWEST_DAYS * DAY)),
    )
    return exp.case().when(near, micros.copy()).else_(_received())


def _received() -> exp.Expr:
    """The received time as UTC microseconds."""
    return _call("epoch_us", exp.column(coerce.RECEIVED, quoted=True))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))
