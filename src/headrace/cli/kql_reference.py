"""The reference page of KQL, printed from the compiler's own tables and judged by the compiler itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from headrace.cli.markdown import MADE, code, table
from headrace.kql.api import KqlError, QueryOptions, compile_query, compile_transform
from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.registry import OPERATORS, Function, Kind, Param, Signature, Surface
from headrace.kql.editor.reference import ERROR_CODES
from headrace.kql.model import Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn


def kql_page() -> str:
    """Every operator and function that the compiler knows, and where it may stand."""
    parts = [
        MADE,
        "# KQL: operators and functions\n",
        "Where each may stand: **documented** transforms (Azure's own list), **extended** transforms (the default\n"
        "`transform.functions`: it runs, with a warning), **queries**. What is not here is refused by name, with its\n"
        "line and column.\n",
    ]
    parts.append("## Tabular operators\n")
    parts.append(table(("Operator", "What it does", "Example", *_SURFACES), _tabular()))
    spelled: dict[str, list[str]] = {}
    for text, name in OPERATORS.items():
        spelled.setdefault(name, []).append(text)
    parts.append("## Scalar operators\n")
    rows = [
        (", ".join(code(text) for text in spelled[function.name]), function.doc, *_surfaces(function))
        for function in FUNCTIONS
        if function.name in spelled
    ]
    parts.append(table(("Operator", "What it does", *_SURFACES), rows))
    titles = {
        Kind.SCALAR: "Scalar functions",
        Kind.AGGREGATE: "Aggregates",
        Kind.WINDOW: "Window functions",
    }
    for kind, title in titles.items():
        found = [f for f in FUNCTIONS if f.kind is kind and not f.name.startswith("__")]
        parts.append(f"## {title}\n")
        rows = [(_signatures(f), _doc(f), *_surfaces(f)) for f in sorted(found, key=lambda f: f.name)]
        parts.append(table(("Function", "What it gives", *_SURFACES), rows))
    parts.append("## Problems and warnings\n")
    parts.append("By the code that stands before a message.\n")
    codes = [(code(item.code), item.severity.value, item.meaning, item.cure) for item in ERROR_CODES]
    parts.append(table(("Code", "Kind", "Meaning", "Cure"), codes))
    return "\n".join(parts)


_SURFACES = ("Documented", "Extended", "Query")


def _surfaces(function: Function) -> tuple[str, str, str]:
    scalar = function.kind is Kind.SCALAR
    documented = scalar and function.transform is Surface.DOCUMENTED
    extended = scalar and function.transform is not Surface.NEVER
    return _mark(documented), _mark(extended), _mark(function.query)


def _mark(allowed: bool) -> str:
    return "yes" if allowed else "-"


def _doc(function: Function) -> str:
    if not function.aliases:
        return function.doc
    return f"{function.doc} Also {', '.join(code(alias) for alias in function.aliases)}."


def _signatures(function: Function) -> str:
    return "<br>".join(code(_signature(function.name, each)) for each in function.signatures)


def _signature(name: str, signature: Signature) -> str:
    return f"{name}({', '.join(_param(each) for each in signature.params)})"


def _param(param: Param) -> str:
    text = f"{param.name}..." if param.variadic else param.name
    return f"[{text}]" if param.optional else text


_SCHEMA = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Computer", KustoType.STRING),
        SchemaColumn("Level", KustoType.STRING),
        SchemaColumn("Message", KustoType.STRING),
        SchemaColumn("DurationMs", KustoType.REAL),
        SchemaColumn("Properties", KustoType.DYNAMIC),
    )
)
_EXAMPLE = Tables({"Logs_CL": _SCHEMA, "Hosts_CL": _SCHEMA})
"""What the examples are about."""

EXAMPLES: dict[str, tuple[str, str]] = {
    "where": ("keeps rows; also `filter`", "where Level == 'Error'"),
    "extend": ("adds columns", "extend Seconds = DurationMs / 1000"),
    "project": ("chooses and computes columns", "project TimeGenerated, Upper = toupper(Level)"),
    "project-away": ("leaves columns out", "project-away Prop*"),
    "project-keep": ("keeps columns in their order", "project-keep Time*, Level"),
    "project-rename": ("renames columns", "project-rename Host = Computer"),
    "project-reorder": ("puts columns in front", "project-reorder Level"),
    "project-by-names": ("chooses columns by a list of names", "project-by-names 'Level', 'Computer'"),
    "parse": ("takes columns out of text", "parse Message with 'user ' User ' from ' Ip"),
    "parse-where": (
        "the same, and drops rows that do not fit",
        "parse-where Message with 'user ' User ' from ' Ip",
    ),
    "parse-kv": (
        "takes key-value pairs out of text",
        "parse-kv Message as (user: string) with (pair_delimiter=' ')",
    ),
    "summarize": ("aggregates", "summarize count() by Level, bin(TimeGenerated, 1h)"),
    "distinct": ("different combinations of values", "distinct Computer, Level"),
    "count": ("the number of rows", "count"),
    "sort": ("sorts; also `order`", "sort by TimeGenerated desc"),
    "top": ("the first rows of an order", "top 5 by DurationMs"),
    "top-nested": (
        "the first of each level",
        "top-nested 2 of Computer by count(), top-nested 1 of Level by count()",
    ),
    "top-hitters": ("the most frequent values", "top-hitters 3 of Computer"),
    "take": ("some rows; also `limit`", "take 10"),
    "sample": ("random rows", "sample 10"),
    "sample-distinct": ("random values", "sample-distinct 3 of Computer"),
    "join": ("joins tables", "join kind=leftouter (Hosts_CL | project Computer) on Computer"),
    "lookup": ("adds columns of a small table", "lookup (Hosts_CL | distinct Computer, Message) on Computer"),
    "union": ("puts tables together", "union Hosts_CL"),
    "mv-expand": ("a row for each element; also `mvexpand`", "mv-expand Properties"),
    "mv-apply": ("a sub-query for each row; also `mvapply`", "mv-apply p = Properties on (take 1)"),
    "make-series": ("series over a regular axis", "make-series count() on TimeGenerated step 1h by Level"),
    "serialize": ("fixes the order of rows for window functions", "serialize Number = row_number()"),
    "scan": ("finds sequences", "sort by TimeGenerated asc | scan with (step s: Level == 'Error';)"),
    "partition": ("a sub-query for each value", "partition by Computer (top 1 by TimeGenerated)"),
    "reduce": ("groups texts that are alike", "reduce by Message"),
    "facet": ("a table for each column", "facet by Level, Computer"),
    "fork": ("several results of one input", "fork (count) (take 3)"),
    "search": ("finds text in any column", "search 'error'"),
    "find": ("finds rows in several tables", "find where Level == 'Error'"),
    "evaluate": ("runs a plugin", "evaluate bag_unpack(Properties)"),
    "invoke": ("calls a function on the table", "invoke first()"),
    "getschema": ("the columns and their types", "getschema"),
    "as": ("names the table for later use", "as Found"),
    "consume": ("drops every row", "consume"),
    "render": ("draws the result", "render timechart"),
}
"""Each tabular operator by name: what it does, and a use of it on the example table."""

_SOURCES = {
    "print": ("one row of values", "print Answer = 6 * 7"),
    "datatable": (
        "a table of constants; one row in a transform",
        "datatable (Name: string, Size: long) ['a', 1]",
    ),
    "range": ("a row for each step", "range Day from 1 to 7 step 1"),
}
"""Where rows can come from beside tables (`source` in a transform)."""

_WHOLE = {
    "search": "search in (Logs_CL) 'error'",
    "find": "find in (Logs_CL, Hosts_CL) where Level == 'Error'",
    "invoke": "let first = (T: (Level: string)) { T | take 1 };\nLogs_CL | invoke first()",
}
"""Examples that are whole queries."""


def _tabular() -> Iterator[tuple[str, ...]]:
    for name, (what, example) in _SOURCES.items():
        yield _row(name, what, example, example, example)
    for name, (what, example) in EXAMPLES.items():
        text = _WHOLE.get(name, f"Logs_CL | {example}")
        shown = example if name not in _WHOLE else _WHOLE[name].replace("\n", " ")
        transform = f"source | {example}"
        yield _row(name, what, shown, transform, text)


def _row(name: str, what: str, shown: str, transform: str, query: str) -> tuple[str, ...]:
    allowed = (_compiles(transform, "documented"), _compiles(transform, "extended"), _answers(query))
    return code(name), f"{what[0].upper()}{what[1:]}.", code(shown), *(_mark(each) for each in allowed)


def _compiles(text: str, functions: Literal["documented", "extended"]) -> bool:
    try:
        compile_transform(text, _SCHEMA, functions=functions)
    except KqlError:
        return False
    return True


def _answers(text: str) -> bool:
    try:
        compile_query(text, _EXAMPLE, QueryOptions(now=0, probe=lambda _statement: [("Level", "string")]))
    except KqlError:
        return False
    return True
