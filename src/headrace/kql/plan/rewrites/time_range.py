"""Time ranges: what the filters of a plan prove about `TimeGenerated` at each scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Apply, Column, Expr, InQuery, Ref, ScalarQuery, rebuild
from headrace.kql.plan.rewrites.placement import conjuncts
from headrace.kql.types import KustoType

TIME_COLUMN = "TimeGenerated"
Range = tuple[int | None, int | None]
"""First and last tick, both inclusive."""
Facts = Mapping[Column, Range]
_NONE: Facts = {}


def find_time_ranges(plan: p.Plan) -> p.Plan:
    """The plan whose scans know the range of time that the filters above them leave."""
    return _visit(plan, _NONE)


def _visit(plan: p.Plan, facts: Facts) -> p.Plan:
    rule = _NODES.get(type(plan))
    return rule(plan, facts) if rule is not None else plan


def _table_scan(plan: p.TableScan, facts: Facts) -> p.Plan:
    for column, name in zip(plan.columns, plan.names, strict=True):
        if name == TIME_COLUMN and column in facts:
            low, high = facts[column]
            # Whole microseconds, outwards: the filter itself stays in the plan.
            return replace(plan, time_range=(_down(low), None if high is None else -_down(-high)))  # type: ignore[operator]
    return plan


def _down(ticks: int | None) -> int | None:
    return None if ticks is None else ticks // 10


def _filter(plan: p.Filter, facts: Facts) -> p.Plan:
    found = dict(facts)
    for condition in conjuncts(plan.predicate):
        for column, range in _proved(condition).items():
            found[column] = _narrowed(found.get(column), range)
    return replace(plan, input=_visit(plan.input, found), predicate=_expression(plan.predicate))


def _narrowed(first: Range | None, second: Range) -> Range:
    if first is None:
        return second
    lows = [low for low in (first[0], second[0]) if low is not None]
    highs = [high for high in (first[1], second[1]) if high is not None]
    return max(lows, default=None), min(highs, default=None)


def _proved(condition: Expr) -> dict[Column, Range]:
    """What a condition says of single columns."""
    if not isinstance(condition, Apply):
        return {}
    name, arguments = condition.function.name, condition.arguments
    column = _time(arguments[0]) if arguments else None
    if name == "__between" and column is not None:
        low, high = _tick(arguments[1]), _tick(arguments[2])
        if arguments[2].type is KustoType.TIMESPAN:
            high = low + high if low is not None and high is not None else None
        return {column: (low, high)}
    if name not in _FLIPPED or len(arguments) != 2:
        return {}
    value = _tick(arguments[1])
    if column is None:
        column, value, name = _time(arguments[1]), _tick(arguments[0]), _FLIPPED[name]
    if column is None or value is None:
        return {}
    return {
        column: {
            "__equal": (value, value),
            "__greater": (value + 1, None),
            "__greater_or_equal": (value, None),
            "__less": (None, value - 1),
            "__less_or_equal": (None, value),
        }[name]
    }


_FLIPPED = {
    "__equal": "__equal",
    "__greater": "__less",
    "__greater_or_equal": "__less_or_equal",
    "__less": "__greater",
    "__less_or_equal": "__greater_or_equal",
}


def _time(value: Expr) -> Column | None:
    return value.column if isinstance(value, Ref) and value.type is KustoType.DATETIME else None


def _tick(value: Expr) -> int | None:
    constant = value.constant
    if constant is None or isinstance(constant.value, bool) or not isinstance(constant.value, int):
        return None
    return constant.value


def _expression(expression: Expr) -> Expr:
    """Sub-queries inside an expression have scans of their own."""

    def change(part: Expr) -> Expr | None:
        if isinstance(part, ScalarQuery):
            return ScalarQuery(part.type, _visit(part.plan, _NONE), part.column)
        if isinstance(part, InQuery):
            operand, plan = _expression(part.operand), _visit(part.plan, _NONE)
            return InQuery(part.type, operand, plan, part.column, part.negated, part.ignore_case)
        return None

    return rebuild(expression, change)


def _compute(plan: p.Compute, facts: Facts) -> p.Plan:
    found = dict(facts) if not plan.order else {}
    for column, value in plan.items:
        if column in found and isinstance(value, Ref):
            found[value.column] = _narrowed(found.get(value.column), found[column])
    items = tuple((column, _expression(value)) for column, value in plan.items)
    return replace(plan, input=_visit(plan.input, found), items=items)


def _through(plan: p.Expand | p.Parse | p.SplitPairs, facts: Facts) -> p.Plan:
    return replace(plan, input=_visit(plan.input, facts))


def _stop(plan: p.Limit | p.Rank | p.Series | p.MatchRows, facts: Facts) -> p.Plan:
    del facts
    return replace(plan, input=_visit(plan.input, _NONE))


def _aggregate(plan: p.Aggregate, facts: Facts) -> p.Plan:
    found = {
        value.column: facts[column]
        for column, value in plan.keys
        if isinstance(value, Ref) and column in facts
    }
    keys = tuple((column, _expression(value)) for column, value in plan.keys)
    return replace(plan, input=_visit(plan.input, found), keys=keys)


def _join(plan: p.Join, facts: Facts) -> p.Plan:
    left, right = facts, facts
    if plan.kind in (p.JoinKind.LEFTOUTER, p.JoinKind.FULLOUTER):
        right = _NONE
    if plan.kind in (p.JoinKind.RIGHTOUTER, p.JoinKind.FULLOUTER):
        left = _NONE
    if plan.kind in (p.JoinKind.LEFTANTI,):
        right = _NONE
    if plan.kind in (p.JoinKind.RIGHTANTI,):
        left = _NONE
    return replace(plan, left=_visit(plan.left, left), right=_visit(plan.right, right))


def _union(plan: p.Union, facts: Facts) -> p.Plan:
    inputs: list[tuple[p.Plan, Mapping[Column, Expr]]] = []
    for input, values in plan.inputs:
        found = {
            value.column: facts[column]
            for column, value in values.items()
            if isinstance(value, Ref) and column in facts
        }
        inputs.append((_visit(input, found), values))
    return replace(plan, inputs=tuple(inputs))


def _correlated(plan: p.Correlated, facts: Facts) -> p.Plan:
    return replace(plan, input=_visit(plan.input, facts), body=_visit(plan.body, _NONE))


def _shared(plan: p.Shared, facts: Facts) -> p.Plan:
    del facts
    if not plan.shared.ranged:
        plan.shared.ranged = True
        plan.shared.plan = _visit(plan.shared.plan, _NONE)
    return plan


_NODES: dict[type[p.Plan], Callable[[Any, Facts], p.Plan]] = {
    p.TableScan: _table_scan,
    p.Filter: _filter,
    p.Compute: _compute,
    p.Aggregate: _aggregate,
    p.Limit: _stop,
    p.Join: _join,
    p.Union: _union,
    p.Expand: _through,
    p.Parse: _through,
    p.SplitPairs: _through,
    p.Rank: _stop,
    p.Series: _stop,
    p.MatchRows: _stop,
    p.Correlated: _correlated,
    p.Shared: _shared,
}
