"""Column pruning: every node yields only what is read above it, and computes nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column, Expr, InQuery, ScalarQuery, columns_of, rebuild
from headrace.kql.plan.tree import fields_of, with_expressions


def prune(plan: p.Plan, needed: Iterable[Column], shared: Sequence[p.SharedPlan] = ()) -> p.Plan:
    """The plan narrowed to `needed`, those inside expressions and the `shared` ones, readers first, too."""
    pruner = _Pruner()
    plan = pruner.prune(plan, set(needed))
    for each in shared:
        each.plan = pruner.prune(each.plan, pruner.read_of.get(each, set()))
    return plan


class _Pruner:
    def __init__(self) -> None:
        self.read_of: dict[p.SharedPlan, set[Column]] = {}

    def prune(self, plan: p.Plan, needed: set[Column]) -> p.Plan:
        while isinstance(plan, p.Compute) and not any(column in needed for column, _ in plan.items):
            plan = plan.input
        pruned: p.Plan = with_expressions(_NODES[type(plan)](self, plan, needed), self.expression)
        return pruned

    def expression(self, expression: Expr) -> Expr:
        """An expression whose sub-queries are pruned."""

        def change(part: Expr) -> Expr | None:
            if isinstance(part, ScalarQuery):
                return ScalarQuery(part.type, self.prune(part.plan, {part.column}), part.column)
            if isinstance(part, InQuery):
                operand = self.expression(part.operand)
                plan = self.prune(part.plan, {part.column})
                return InQuery(part.type, operand, plan, part.column, part.negated, part.ignore_case)
            return None

        return rebuild(expression, change)

    def leaf(self, plan: p.Plan, needed: set[Column]) -> p.Plan:
        return replace(plan, columns=_kept(plan, needed))

    def table_scan(self, plan: p.TableScan, needed: set[Column]) -> p.Plan:
        pairs = [pair for pair in zip(plan.columns, plan.names, strict=True) if pair[0] in needed]
        return replace(plan, columns=tuple(c for c, _ in pairs), names=tuple(name for _, name in pairs))

    def rows(self, plan: p.Rows, needed: set[Column]) -> p.Plan:
        places = [i for i, column in enumerate(plan.columns) if column in needed]
        if len(places) == len(plan.columns) or (not places and plan.values != ((),)):
            if not plan.columns or places:
                return plan
            places = [0]
        values = tuple(tuple(row[i] for i in places) for row in plan.values) if plan.columns else plan.values
        return replace(plan, columns=tuple(plan.columns[i] for i in places), values=values)

    def sequence(self, plan: p.Sequence, needed: set[Column]) -> p.Plan:
        return plan

    def filter(self, plan: p.Filter, needed: set[Column]) -> p.Plan:
        input = self.prune(plan.input, needed | columns_of(plan.predicate))
        return p.Filter(_kept(plan, needed), input, plan.predicate)

    def compute(self, plan: p.Compute, needed: set[Column]) -> p.Plan:
        items = tuple((column, value) for column, value in plan.items if column in needed)
        below = needed - {column for column, _ in items}
        for _, value in items:
            below |= columns_of(value)
        for key in plan.order:
            below |= columns_of(key.value)
        input = self.prune(plan.input, below)
        return p.Compute(_kept(plan, needed), input, items, plan.order)

    def aggregate(self, plan: p.Aggregate, needed: set[Column]) -> p.Plan:
        aggregates = tuple(item for item in plan.aggregates if any(column in needed for column in item[0]))
        below: set[Column] = set()
        for _, value in plan.keys:
            below |= columns_of(value)
        for _, applied in aggregates:
            below |= columns_of(applied)
        if any(applied.function.ordered for _, applied in aggregates):
            for key in plan.order:
                below |= columns_of(key.value)
            order = plan.order
        else:
            order = ()
        columns = (*(column for column, _ in plan.keys), *(c for made, _ in aggregates for c in made))
        return p.Aggregate(columns, self.prune(plan.input, below), plan.keys, aggregates, order)

    def limit(self, plan: p.Limit, needed: set[Column]) -> p.Plan:
        below = set(needed)
        for key in plan.order:
            below |= columns_of(key.value)
        input = self.prune(plan.input, below)
        return replace(plan, columns=_kept(plan, needed), input=input)

    def join(self, plan: p.Join, needed: set[Column]) -> p.Plan:
        filled = tuple(pair for pair in plan.filled if pair[1] in needed)
        below = needed | {column for column, _ in filled}
        for left, right in plan.pairs:
            below |= columns_of(left) | columns_of(right)
        return replace(
            plan,
            columns=_kept(plan, needed),
            left=self.prune(plan.left, below & set(plan.left.columns)),
            right=self.prune(plan.right, below & set(plan.right.columns)),
            filled=filled,
        )

    def union(self, plan: p.Union, needed: set[Column]) -> p.Plan:
        kept = tuple(column for column in plan.columns if column in needed)
        wanted = set(kept)
        inputs: list[tuple[p.Plan, dict[Column, Expr]]] = []
        for input, values in plan.inputs:
            left = {column: value for column, value in values.items() if column in wanted}
            below = {column for value in left.values() for column in columns_of(value)}
            inputs.append((self.prune(input, below), left))
        return replace(plan, columns=kept, inputs=tuple(inputs))

    def expand(self, plan: p.Expand, needed: set[Column]) -> p.Plan:
        below = set(needed)
        for item in plan.items:
            below |= columns_of(item.value)
        index = plan.index if plan.index in needed else None
        input = self.prune(plan.input, below)
        return replace(plan, columns=_kept(plan, needed), input=input, index=index)

    def correlated(self, plan: p.Correlated, needed: set[Column]) -> p.Plan:
        body = self.prune(plan.body, needed & set(plan.body.columns))
        below = (needed | free_columns(body)) & set(plan.input.columns)
        return p.Correlated(_kept(plan, needed), self.prune(plan.input, below), body)

    def shared(self, plan: p.Shared, needed: set[Column]) -> p.Plan:
        pairs = [pair for pair in zip(plan.columns, plan.origin, strict=True) if pair[0] in needed]
        self.read_of.setdefault(plan.shared, set()).update(origin for _, origin in pairs)
        return replace(plan, columns=tuple(c for c, _ in pairs), origin=tuple(o for _, o in pairs))

    def parse(self, plan: p.Parse, needed: set[Column]) -> p.Plan:
        input = self.prune(plan.input, needed | columns_of(plan.subject))
        matched = plan.matched if plan.matched in needed else None
        return replace(plan, columns=_kept(plan, needed), input=input, matched=matched)

    def split_pairs(self, plan: p.SplitPairs, needed: set[Column]) -> p.Plan:
        input = self.prune(plan.input, needed | columns_of(plan.subject))
        fields = tuple(field for field in plan.fields if field[0] in needed)
        return replace(plan, columns=_kept(plan, needed), input=input, fields=fields)

    def rank(self, plan: p.Rank, needed: set[Column]) -> p.Plan:
        below = set(needed)
        for value in plan.partition:
            below |= columns_of(value)
        for key in plan.order:
            below |= columns_of(key.value)
        return replace(plan, columns=_kept(plan, needed), input=self.prune(plan.input, below))

    def series(self, plan: p.Series, needed: set[Column]) -> p.Plan:
        below = columns_of(plan.axis)
        for _, value in plan.keys:
            below |= columns_of(value)
        for _, applied in plan.aggregates:
            below |= columns_of(applied)
        return replace(plan, input=self.prune(plan.input, below))

    def match_rows(self, plan: p.MatchRows, needed: set[Column]) -> p.Plan:
        below = set(needed)
        for step in plan.steps:
            below |= columns_of(step.condition)
            for _, value in step.assignments:
                below |= columns_of(value)
        for key in plan.order:
            below |= columns_of(key.value)
        read = set(below)
        for columns in plan.states:
            declared = len(plan.declared)
            for column, source in zip(columns[declared:], plan.row_columns, strict=True):
                if column in read:
                    below.add(source)
        return replace(plan, columns=_kept(plan, needed), input=self.prune(plan.input, below))


def _kept(plan: p.Plan, needed: set[Column]) -> tuple[Column, ...]:
    return tuple(column for column in plan.columns if column in needed)


def free_columns(plan: p.Plan) -> set[Column]:
    """Every column that expressions anywhere in a plan read."""
    found: set[Column] = set()
    stack: list[Any] = [plan]
    while stack:
        item = stack.pop()
        if isinstance(item, Expr):
            found |= columns_of(item)
        elif isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, p.Plan | p.ExpandItem | p.OrderKey | p.ScanStep):
            kind: type = type(item)
            stack.extend(getattr(item, name) for name in fields_of(kind))
    return found


_NODES: dict[type[p.Plan], Callable[[_Pruner, Any, set[Column]], p.Plan]] = {
    p.TableScan: _Pruner.table_scan,
    p.Rows: _Pruner.rows,
    p.Sequence: _Pruner.sequence,
    p.Filter: _Pruner.filter,
    p.Compute: _Pruner.compute,
    p.Aggregate: _Pruner.aggregate,
    p.Limit: _Pruner.limit,
    p.Join: _Pruner.join,
    p.Union: _Pruner.union,
    p.Expand: _Pruner.expand,
    p.Correlated: _Pruner.correlated,
    p.Shared: _Pruner.shared,
    p.Parse: _Pruner.parse,
    p.SplitPairs: _Pruner.split_pairs,
    p.Rank: _Pruner.rank,
    p.Series: _Pruner.series,
    p.MatchRows: _Pruner.match_rows,
}
