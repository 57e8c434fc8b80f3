"""Time ranges: what the filters of a plan prove about `TimeGenerated` at each scan."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Apply, Column, Expr, InQuery, Ref, ScalarQuery, rebuild
from headrace.kql.plan.rewrites.placement import conjuncts
from headrace.kql.plan.tree import with_expressions
from headrace.kql.types import KustoType

TIME_COLUMN = "TimeGenerated"
Range = tuple[int | None, int | None]
"""First and last tick, both inclusive."""
Facts = Mapping[Column, Range]
_NONE: Facts = {}


def find_time_ranges(plan: p.Plan, shared: Sequence[p.SharedPlan] = ()) -> p.Plan:
    """The plan whose scans know the range of time that the filters above them leave.

    A `shared` plan (readers first) is left what any of its readers wants.
    """
    ranges = _Ranges()
    plan = ranges.visit(plan, _NONE)
    for each in shared:
        each.plan = ranges.visit(each.plan, ranges.wanted(each))
    return plan


class _Ranges:
    def __init__(self) -> None:
        self.readers: dict[p.SharedPlan, list[Facts]] = {}

    def visit(self, plan: p.Plan, facts: Facts) -> p.Plan:
        if facts:
            # Two sides may be copies of one plan: what is known of a column holds where it is yielded, not below.
            facts = {column: range for column, range in facts.items() if column in plan.columns}
        plan = with_expressions(plan, self.expression)
        rule = _NODES.get(type(plan))
        return rule(self, plan, facts) if rule is not None else plan

    def wanted(self, shared: p.SharedPlan) -> Facts:
        """What all readers of a shared plan leave of its columns."""
        first, *others = self.readers.get(shared, [_NONE])
        return {
            column: functools.reduce(_widened, (facts[column] for facts in others), range)
            for column, range in first.items()
            if all(column in facts for facts in others)
        }

    def table_scan(self, plan: p.TableScan, facts: Facts) -> p.Plan:
        for column, name in zip(plan.columns, plan.names, strict=True):
            if name == TIME_COLUMN and column in facts:
                low, high = facts[column]
                # Whole microseconds, outwards: the filter itself stays in the plan.
                return replace(plan, time_range=(_down(low), None if high is None else -_down(-high)))  # type: ignore[operator]
        return plan

    def filter(self, plan: p.Filter, facts: Facts) -> p.Plan:
        found = dict(facts)
        for condition in conjuncts(plan.predicate):
            for column, range in _proved(condition).items():
                found[column] = _narrowed(found.get(column), range)
        return replace(plan, input=self.visit(plan.input, found))

    def expression(self, expression: Expr) -> Expr:
        """Sub-queries inside an expression have scans of their own."""

        def change(part: Expr) -> Expr | None:
            if isinstance(part, ScalarQuery):
                return ScalarQuery(part.type, self.visit(part.plan, _NONE), part.column)
            if isinstance(part, InQuery):
                operand, plan = self.expression(part.operand), self.visit(part.plan, _NONE)
                return InQuery(part.type, operand, plan, part.column, part.negated, part.ignore_case)
            return None

        return rebuild(expression, change)

    def compute(self, plan: p.Compute, facts: Facts) -> p.Plan:
        found = dict(facts) if not plan.order else {}
        for column, value in plan.items:
            if column in found and isinstance(value, Ref):
                found[value.column] = _narrowed(found.get(value.column), found[column])
        return replace(plan, input=self.visit(plan.input, found))

    def through(self, plan: p.Expand | p.Parse | p.SplitPairs, facts: Facts) -> p.Plan:
        return replace(plan, input=self.visit(plan.input, facts))

    def series(self, plan: p.Series, facts: Facts) -> p.Plan:
        """The bounds of the bins are those of the rows that matter."""
        del facts
        column = time_column(plan.axis)
        low = None if plan.low is None else constant_tick(plan.low)
        high = None if plan.high is None else constant_tick(plan.high)
        found = {} if column is None else {column: (low, None if high is None else high - 1)}
        return replace(plan, input=self.visit(plan.input, found))

    def stop(self, plan: p.Limit | p.Rank | p.MatchRows, facts: Facts) -> p.Plan:
        del facts
        return replace(plan, input=self.visit(plan.input, _NONE))

    def aggregate(self, plan: p.Aggregate, facts: Facts) -> p.Plan:
        found = {
            value.column: facts[column]
            for column, value in plan.keys
            if isinstance(value, Ref) and column in facts
        }
        return replace(plan, input=self.visit(plan.input, found))

    def join(self, plan: p.Join, facts: Facts) -> p.Plan:
        left, right = facts, facts
        if plan.kind in (p.JoinKind.LEFTOUTER, p.JoinKind.FULLOUTER):
            right = _NONE
        if plan.kind in (p.JoinKind.RIGHTOUTER, p.JoinKind.FULLOUTER):
            left = _NONE
        if plan.kind in (p.JoinKind.LEFTANTI,):
            right = _NONE
        if plan.kind in (p.JoinKind.RIGHTANTI,):
            left = _NONE
        return replace(plan, left=self.visit(plan.left, left), right=self.visit(plan.right, right))

    def union(self, plan: p.Union, facts: Facts) -> p.Plan:
        inputs: list[tuple[p.Plan, Mapping[Column, Expr]]] = []
        for input, values in plan.inputs:
            found = {
                value.column: facts[column]
                for column, value in values.items()
                if isinstance(value, Ref) and column in facts
            }
            inputs.append((self.visit(input, found), values))
        return replace(plan, inputs=tuple(inputs))

    def correlated(self, plan: p.Correlated, facts: Facts) -> p.Plan:
        return replace(plan, input=self.visit(plan.input, facts), body=self.visit(plan.body, _NONE))

    def shared(self, plan: p.Shared, facts: Facts) -> p.Plan:
        pairs = zip(plan.columns, plan.origin, strict=True)
        found = {origin: facts[column] for column, origin in pairs if column in facts}
        self.readers.setdefault(plan.shared, []).append(found)
        return plan


def _down(ticks: int | None) -> int | None:
    return None if ticks is None else ticks // 10


def _narrowed(first: Range | None, second: Range) -> Range:
    if first is None:
        return second
    lows = [low for low in (first[0], second[0]) if low is not None]
    highs = [high for high in (first[1], second[1]) if high is not None]
    return max(lows, default=None), min(highs, default=None)


def _widened(first: Range, second: Range) -> Range:
    low = min(first[0], second[0]) if first[0] is not None and second[0] is not None else None
    high = max(first[1], second[1]) if first[1] is not None and second[1] is not None else None
    return low, high


def _proved(condition: Expr) -> dict[Column, Range]:
    """What a condition says of single columns."""
    if not isinstance(condition, Apply):
        return {}
    name, arguments = condition.function.name, condition.arguments
    column = time_column(arguments[0]) if arguments else None
    if name == "__between" and column is not None:
        low, high = constant_tick(arguments[1]), constant_tick(arguments[2])
        if arguments[2].type is KustoType.TIMESPAN:
            high = low + high if low is not None and high is not None else None
        return {column: (low, high)}
    if name not in _FLIPPED or len(arguments) != 2:
        return {}
    value = constant_tick(arguments[1])
    if column is None:
        column, value, name = time_column(arguments[1]), constant_tick(arguments[0]), _FLIPPED[name]
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


def time_column(value: Expr) -> Column | None:
    """The column that an expression is, if it is one of times."""
    return value.column if isinstance(value, Ref) and value.type is KustoType.DATETIME else None


def constant_tick(value: Expr) -> int | None:
    """The ticks of a constant datetime or timespan; None for what is none."""
    constant = value.constant
    if constant is None or isinstance(constant.value, bool) or not isinstance(constant.value, int):
        return None
    return constant.value


_NODES: dict[type[p.Plan], Callable[[_Ranges, Any, Facts], p.Plan]] = {
    p.TableScan: _Ranges.table_scan,
    p.Filter: _Ranges.filter,
    p.Compute: _Ranges.compute,
    p.Aggregate: _Ranges.aggregate,
    p.Limit: _Ranges.stop,
    p.Join: _Ranges.join,
    p.Union: _Ranges.union,
    p.Expand: _Ranges.through,
    p.Parse: _Ranges.through,
    p.SplitPairs: _Ranges.through,
    p.Rank: _Ranges.stop,
    p.Series: _Ranges.series,
    p.MatchRows: _Ranges.stop,
    p.Correlated: _Ranges.correlated,
    p.Shared: _Ranges.shared,
}
