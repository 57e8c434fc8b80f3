"""Predicate placement: a filter above a join moves to the side it reads, as Kusto does.

It matters for meaning where `innerunique` keeps one row of several, and for speed everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Apply, Column, Expr, InQuery, Ref, ScalarQuery, columns_of, rebuild
from headrace.kql.plan.tree import with_expressions

_ONE_INPUT = (
    p.Aggregate,
    p.Compute,
    p.Correlated,
    p.Expand,
    p.Limit,
    p.MatchRows,
    p.Parse,
    p.Rank,
    p.Series,
    p.SplitPairs,
)
MAX_FILTERS = 16
"""How many filters one predicate may become."""


def place_filters(plan: p.Plan) -> p.Plan:
    """The plan with filters moved below joins and computed columns where that changes no result."""
    if isinstance(plan, p.Filter):
        return _place(plan)
    placed: p.Plan = with_expressions(_placed_below(plan), _in_queries)
    return placed


def _placed_below(plan: p.Plan) -> p.Plan:
    if isinstance(plan, p.Join):
        return replace(plan, left=place_filters(plan.left), right=place_filters(plan.right))
    if isinstance(plan, p.Union):
        return replace(plan, inputs=tuple((place_filters(input), values) for input, values in plan.inputs))
    if isinstance(plan, _ONE_INPUT):
        return replace(plan, input=place_filters(plan.input))
    return plan


def conjuncts(predicate: Expr) -> list[Expr]:
    """The conditions that `and` joins."""
    if isinstance(predicate, Apply) and predicate.function.name == "__and":
        return [part for argument in predicate.arguments for part in conjuncts(argument)]
    return [predicate]


def _place(plan: p.Filter) -> p.Plan:
    input: p.Plan = plan.input
    rest: list[Expr] = []
    for condition in conjuncts(plan.predicate):
        moved = _push(input, condition)
        if moved is None:
            rest.append(_in_queries(condition))
        else:
            input = moved
    input = place_filters(input)
    for condition in _gathered(rest, plan.predicate):
        input = p.Filter(plan.columns, input, condition)
    return input


def _in_queries(expression: Expr) -> Expr:
    """An expression with the filters of its sub-queries moved."""

    def change(part: Expr) -> Expr | None:
        if isinstance(part, ScalarQuery):
            return replace(part, plan=place_filters(part.plan))
        if isinstance(part, InQuery):
            return replace(part, operand=_in_queries(part.operand), plan=place_filters(part.plan))
        return None

    return rebuild(expression, change)


def _gathered(conditions: list[Expr], predicate: Expr) -> list[Expr]:
    """The conditions of `predicate` as filters, however many they are: a long chain does not make a deep plan."""
    size = -(-len(conditions) // MAX_FILTERS)
    if size < 2 or not isinstance(predicate, Apply):
        return conditions
    return [_all_of(conditions[at : at + size], predicate) for at in range(0, len(conditions), size)]


def _all_of(conditions: list[Expr], both: Apply) -> Expr:
    """One condition of many, as a balanced tree of the `and` that joined them."""
    while len(conditions) > 1:
        pairs = [tuple(conditions[at : at + 2]) for at in range(0, len(conditions), 2)]
        conditions = [replace(both, arguments=pair) if len(pair) > 1 else pair[0] for pair in pairs]
    return conditions[0]


def _push(plan: p.Plan, condition: Expr) -> p.Plan | None:
    """The plan with the condition put below its top node; None where that is not right."""
    if isinstance(plan, p.Filter):
        moved = _push(plan.input, condition)
        return replace(plan, input=moved) if moved is not None else None
    if isinstance(plan, p.Compute) and not plan.order:
        renamed = {column: value for column, value in plan.items if isinstance(value, Ref)}
        reads = columns_of(condition)
        if any(column in reads and column not in renamed for column, _ in plan.items):
            return None
        moved = _push(plan.input, _renamed(condition, renamed))
        return replace(plan, input=moved) if moved is not None else None
    if isinstance(plan, p.Join) and plan.kind in (p.JoinKind.INNER, p.JoinKind.INNERUNIQUE):
        reads = columns_of(condition)
        if reads and reads <= set(plan.left.columns):
            return replace(plan, left=p.Filter(plan.left.columns, plan.left, condition))
        if reads and reads <= set(plan.right.columns):
            return replace(plan, right=p.Filter(plan.right.columns, plan.right, condition))
    return None


def _renamed(condition: Expr, renamed: Mapping[Column, Expr]) -> Expr:
    if not renamed:
        return condition
    return rebuild(condition, lambda part: renamed.get(part.column) if isinstance(part, Ref) else None)
