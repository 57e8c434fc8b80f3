"""Warnings about what is legal but a trap, found on the bound tree; they never stop a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.errors import Problem
from headrace.kql.editor.model import Target
from headrace.kql.editor.scope import Meaning, meaning_of
from headrace.kql.plan.expressions import Column, Expr, Ref
from headrace.kql.plan.nodes import TableScan
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import SourceText
from headrace.kql.syntax.parser import parse
from headrace.kql.syntax.walk import walk
from headrace.kql.types import KustoType

MAX_WARNINGS = 50
MAX_FOLLOWED = 200
"""How many names are followed to what they stand for, in one search."""
_FOLDING = frozenset(["tolower", "toupper"])


@dataclass(slots=True)
class _Text:
    script: n.Script
    source: SourceText
    meaning: Meaning
    names: dict[str, n.Expression]
    target: Target

    def problem(self, code: str, message: str, node: n.Node, hint: str) -> Problem:
        return Problem(code, message, span=self.source.span(node.start, node.end), hint=hint)

    def value(self, node: n.Node) -> Expr | None:
        return self.meaning.values.get((node.start, node.end))


def lint(text: str, target: Target) -> tuple[Problem, ...]:
    """The traps of a text by their place; none for a text with syntax problems."""
    script, source, problems = parse(text)
    if problems:
        return ()
    names = {node.name: node.value for node in walk(script) if isinstance(node, n.Let)}
    whole = _Text(script, source, meaning_of(target, text), names, target)
    found: list[Problem] = []
    for node in walk(script):
        for kind, check in _CHECKS:
            if isinstance(node, kind):
                found.extend(check(whole, node))
    found.sort(key=lambda problem: (problem.span.start if problem.span else 0, problem.code))
    return tuple(found[:MAX_WARNINGS])


def _case(text: _Text, node: n.Binary) -> Iterator[Problem]:
    """`tolower(x) == "y"`."""
    folded = next((side for side in (node.left, node.right) if isinstance(side, n.Call)), None)
    if node.op not in ("==", "!=") or folded is None or folded.name not in _FOLDING:
        return
    literal = node.right if folded is node.left else node.left
    if isinstance(literal, n.Literal):
        better = "=~" if node.op == "==" else "!~"
        yield text.problem(
            "KQL0321",
            f"`{folded.name}()` changes every value before it is compared.",
            node,
            f"Compare with `{better}`, which takes any letter case.",
        )


def _exact_time(text: _Text, node: n.Binary) -> Iterator[Problem]:
    """`TimeGenerated == datetime(...)`."""
    if node.op != "==":
        return
    left, right = text.value(node.left), text.value(node.right)
    if not isinstance(left, Ref) or left.type is not KustoType.DATETIME or right is None:
        return
    if (
        left.column in _stored(text.meaning)
        and right.constant is not None
        and right.constant.value is not None
    ):
        name = left.column.name
        yield text.problem(
            "KQL0322",
            f"`{name}` is compared with one moment, to 100 ns.",
            node,
            f"Use a range: `{name} between (start .. end)` or `bin({name}, 1d) == ...`.",
        )


def _raw_time(text: _Text, node: t.Summarize) -> Iterator[Problem]:
    """`summarize ... by TimeGenerated`."""
    for key in node.keys:
        value = text.value(key.value)
        if (
            isinstance(value, Ref)
            and value.type is KustoType.DATETIME
            and value.column in _stored(text.meaning)
        ):
            name = value.column.name
            yield text.problem(
                "KQL0323", f"`{name}` has a group for nearly every row.", key, f"Group by `bin({name}, 1h)`."
            )


def _join(text: _Text, node: t.Join) -> Iterator[Problem]:
    """A join whose right side reads all time, or which drops duplicates unasked."""
    if node.kind is None and not node.lookup:
        end = node.start + len("join")
        yield text.problem(
            "KQL0325",
            "A `join` without a kind is `innerunique`: it keeps one left row for each key.",
            n.Node(node.start, end),
            "Say `kind=inner` to keep them all, or `kind=innerunique` if that is meant.",
        )
    table = _unbounded(text, node.right)
    if table is not None:
        yield text.problem(
            "KQL0324",
            f"This join reads all of `{table}`: its side has no time filter.",
            node.right,
            f"Filter first: `({table} | where TimeGenerated > ago(1d))`.",
        )


def _unbounded(text: _Text, node: n.Expression) -> str | None:
    """A table with a time that an expression reads without any filter on a datetime; None if there is none."""
    table: str | None = None
    stack: list[n.Node] = [node]
    seen: set[str] = set()
    while stack:
        for part in walk(stack.pop()):
            if isinstance(part, t.Where) and _is_timed(text, part):
                return None
            if not isinstance(part, n.Name):
                continue
            if part.name in text.names:
                if part.name not in seen and len(seen) < MAX_FOLLOWED:
                    seen.add(part.name)
                    stack.append(text.names[part.name])
            elif table is None:
                schema = text.target.database.find_table(part.name)
                column = schema.find("TimeGenerated") if schema is not None else None
                rows = text.meaning.tables.get((part.start, part.end))
                if column is not None and rows is not None and isinstance(rows.plan, TableScan):
                    table = part.name
    return table


def _is_timed(text: _Text, where: t.Where) -> bool:
    values = (text.value(part) for part in walk(where.predicate))
    return any(isinstance(value, Ref) and value.type is KustoType.DATETIME for value in values)


def _everything(text: _Text, node: t.Union) -> Iterator[Problem]:
    """`union *`."""
    for source in node.sources:
        if isinstance(source, n.Wildcard) and source.pattern == "*":
            yield text.problem(
                "KQL0326",
                "`union *` reads every table.",
                source,
                "Name the tables, or a pattern such as `Sec*`.",
            )


def _stored(meaning: Meaning) -> set[Column]:
    """The columns that come from tables as they are."""
    return {
        column
        for rows in meaning.tables.values()
        if isinstance(rows.plan, TableScan)
        for column in rows.plan.columns
    }


_CHECKS: tuple[tuple[type[n.Node], Callable[..., Iterator[Problem]]], ...] = (
    (n.Binary, _case),
    (n.Binary, _exact_time),
    (t.Summarize, _raw_time),
    (t.Join, _join),
    (t.Union, _everything),
)
