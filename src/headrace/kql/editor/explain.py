"""A compiled text for reading: its plan as a tree, and its SQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from sqlglot import exp

from headrace.kql.api import Scan, Statement
from headrace.kql.bind.functions.registry import OPERATORS
from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Convert,
    Expr,
    InQuery,
    Literal,
    Nth,
    Ref,
    ScalarQuery,
)
from headrace.kql.syntax.dynamic import format_datetime, format_timespan
from headrace.kql.types import KustoType

_SYMBOLS = {name: symbol for symbol, name in OPERATORS.items() if symbol != "<>"}
MAX_DEPTH = 200
MAX_TEXT = 300


def plan_text(statement: Statement) -> str:
    """The plan of a statement after its rewrites, the last step first, what a step reads below it."""
    columns = ", ".join(f"{column.name}: {column.type}" for column in statement.columns)
    lines = [f"Result: {columns}", *_tree(statement._bound.plan, set())]
    return "\n".join(lines) + "\n"


def sql_text(statement: Statement) -> str:
    """The SQL of a statement, laid out; a scan stands as a select of the table's own columns."""
    return statement.to_sql(_named_scan).sql("duckdb", pretty=True) + "\n"


def _named_scan(scan: Scan) -> exp.Query:
    """A scan as it is written in an explanation."""
    items = [
        exp.Alias(
            this=exp.column(column.name, quoted=True),
            alias=exp.Identifier(this=column.sql_name, quoted=False),
        )
        for column in scan.columns
    ]
    table = exp.table_(scan.table, db=scan.workspace, quoted=True)
    return exp.Select(expressions=items or [exp.Literal.number(1)]).from_(table)


def _tree(plan: p.Plan, shared: set[str], depth: int = 0) -> list[str]:
    """The lines of a plan and of what it reads; what several read (`shared`, by name) is told once."""
    lines = [_headline(plan)]
    if depth >= MAX_DEPTH:
        return [*lines, "..."]
    inputs = list(_inputs(plan, shared))
    for place, (name, child) in enumerate(inputs):
        last = place == len(inputs) - 1
        label = f"{name}: " if name else ""
        first, *rest = _tree(child, shared, depth + 1)
        lines.append(("└─ " if last else "├─ ") + label + first)
        lines.extend(("   " if last else "│  ") + line for line in rest)
    return lines


def _inputs(plan: p.Plan, shared: set[str]) -> Iterator[tuple[str, p.Plan]]:
    if isinstance(plan, p.Shared):
        if plan.shared.name not in shared:
            shared.add(plan.shared.name)
            yield "", plan.shared.plan
        return
    if isinstance(plan, p.Union):
        for child, _ in plan.inputs:
            yield "", child
        return
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        if isinstance(value, p.Plan):
            yield ("" if field.name == "input" else field.name), value
        elif field.name != "columns":
            yield from (("sub-query", query) for query in _queries(value))


def _queries(value: Any) -> Iterator[p.Plan]:
    """The plans of sub-queries within a field's expressions."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, ScalarQuery | InQuery):
            yield item.plan
        if isinstance(item, InQuery | Convert):
            stack.append(item.operand)
        elif isinstance(item, Apply):
            stack.extend(reversed(item.arguments))
        elif isinstance(item, Nth):
            stack.append(item.call)
        elif isinstance(item, tuple):
            stack.extend(reversed(item))
        elif isinstance(item, p.OrderKey | p.ExpandItem):
            stack.append(item.value)


def _headline(plan: p.Plan) -> str:
    if isinstance(plan, p.TableScan):
        parts = [f"TableScan {plan.table}", ", ".join(plan.names)]
        if plan.workspace:
            parts.insert(1, f"workspace {plan.workspace}")
        if plan.time_range != (None, None):
            low, high = (format_datetime(us * 10) if us is not None else "" for us in plan.time_range)
            parts.append(f"TimeGenerated {low}..{high}")
        return "  ".join(part for part in parts if part)
    if isinstance(plan, p.Shared):
        return f"Shared {plan.shared.name}"
    if isinstance(plan, p.Rows):
        return f"Rows ({len(plan.values)})"
    fields = []
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        if field.name in ("columns", "inputs") or isinstance(value, p.Plan):
            continue
        text = _shown(value)
        if text not in ("", "None", "False"):
            fields.append(text if field.name in ("predicate", "items") else f"{field.name}={text}")
    return f"{type(plan).__name__} {' '.join(fields)}".rstrip()


def _shown(value: Any) -> str:
    text = _any_text(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _any_text(value: Any) -> str:
    if isinstance(value, Expr):
        return expression_text(value)
    if isinstance(value, Column):
        return value.name or value.sql_name
    if isinstance(value, p.OrderKey):
        return f"{expression_text(value.value)} {'desc' if value.descending else 'asc'}"
    if isinstance(value, p.ExpandItem):
        return f"{value.column.name} = {expression_text(value.value)}"
    if isinstance(value, p.Pattern):
        if value.column is not None:
            return f"{value.column.name}: {value.type}"
        return repr(value.text) if value.text is not None else "*"
    if isinstance(value, tuple):
        if len(value) == 2 and isinstance(value[1], Expr):
            return f"{_any_text(value[0])} = {_any_text(value[1])}"
        return ", ".join(_any_text(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_any_text(key)} = {_any_text(item)}" for key, item in value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ", ".join(_any_text(getattr(value, field.name)) for field in dataclasses.fields(value))
    return str(value)


def expression_text(value: Expr) -> str:
    """An expression as KQL would write it, near enough to read."""
    if isinstance(value, Literal):
        return _literal(value)
    if isinstance(value, Ref):
        return value.column.name or value.column.sql_name
    if isinstance(value, Convert):
        return f"to{value.type}({expression_text(value.operand)})"
    if isinstance(value, Nth):
        return f"{expression_text(value.call)}[{value.place}]"
    if isinstance(value, InQuery):
        return f"{expression_text(value.operand)} {'!in' if value.negated else 'in'} (sub-query)"
    if isinstance(value, ScalarQuery):
        return "toscalar(sub-query)"
    if isinstance(value, Apply):
        return _call(value)
    return type(value).__name__.lower()


def _call(value: Apply) -> str:
    name = value.function.name
    arguments = [expression_text(argument) for argument in value.arguments]
    symbol = _SYMBOLS.get(name)
    if name == "__index" and len(arguments) == 2:
        return f"{arguments[0]}[{arguments[1]}]"
    if name == "__negate":
        return f"-{arguments[0]}"
    if symbol is None:
        return f"{name.strip('_')}({', '.join(arguments)})"
    if symbol in ("and", "or"):
        return "(" + f" {symbol} ".join(arguments) + ")"
    if len(arguments) == 2 and symbol not in ("in", "!in", "in~", "!in~"):
        return f"{arguments[0]} {symbol} {arguments[1]}"
    middle = " .. " if "between" in symbol else ", "
    return f"{arguments[0]} {symbol} ({middle.join(arguments[1:])})"


def _literal(value: Literal) -> str:
    known = value.value
    if known is None:
        return f"{value.type}(null)"
    if value.type is KustoType.STRING:
        return '"' + str(known).replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value.type is KustoType.DATETIME and isinstance(known, int):
        return f"datetime({format_datetime(known)})"
    if value.type is KustoType.TIMESPAN and isinstance(known, int):
        return f"time({format_timespan(known)})"
    if isinstance(known, bool):
        return str(known).lower()
    if value.type is KustoType.DYNAMIC:
        return f"dynamic({known})"
    return str(known)
