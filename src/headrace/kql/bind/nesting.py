"""`top-nested`: groups within groups, of each level those with the greatest (or least) aggregate."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.kql.bind.aggregates import Keys
from headrace.kql.bind.base import BindProblem, long_literal
from headrace.kql.bind.functions.operators import comparison_type
from headrace.kql.bind.operators import Names, free_name
from headrace.kql.bind.plugins import PluginBinder
from headrace.kql.bind.scope import Relation, SharedBinding
from headrace.kql.plan.expressions import Column, Expr, ref
from headrace.kql.plan.nodes import Aggregate, Compute, Filter, Join, JoinKind, OrderKey, Plan, Rank
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType


@dataclass(frozen=True, slots=True)
class _Nest:
    """The groups that the levels so far have kept, and each level with the column of its key.

    The columns of `rows` are what is shown: of each level its key and its aggregate.
    """

    rows: Relation
    keys: tuple[tuple[t.NestedLevel, Column], ...]


class NestingBinder(PluginBinder):
    """Binds `top-nested`."""

    def top_nested(self, rows: Relation, operator: t.TopNested) -> Relation:
        """`top-nested`: each level's groups within those that the level above kept."""
        source = self.share_binding(rows)
        nest: _Nest | None = None
        for level in operator.levels:
            nest = self._nested_level(source, level, nest)
        assert nest is not None
        return Relation(nest.rows.plan, nest.rows.columns)

    def _nested_level(self, source: SharedBinding, level: t.NestedLevel, nest: _Nest | None) -> _Nest:
        rows = self.bound_rows(source)
        above = self._above(rows, nest)
        with self.row_scope(rows):
            value = self.bind(level.value.value)
        others = self._others_label(level, value)
        if others is not None:
            value = self.as_type(value, others.type)
        taken = {column.name for column in nest.rows.columns} if nest is not None else set()
        name = level.value.names[0] if level.value.names else self.own_name(level.value.value) or "Column1"
        key = self.column_for(free_name(name, taken), value)
        given = level.aggregate.names[0] if level.aggregate.names else f"aggregated_{name}"
        grouped = self._nested_groups(rows, level, [*above, (key, value)], free_name(given, taken))
        top = self._best(grouped, level, width=len(above))
        if others is not None:
            top = self._nested_others(source, level, nest, top, others)
        if nest is None:
            return _Nest(top, ((level, top.columns[0]),))
        joined = self._beside_nest(nest, top)
        return _Nest(joined, (*nest.keys, (level, joined.columns[-2])))

    def _above(self, rows: Relation, nest: _Nest | None) -> Keys:
        """The keys of the levels above, computed of `rows`, each as its level compares it."""
        with self.row_scope(rows):
            return [
                (
                    self.new_column(column.name, column.type),
                    self.as_type(self.bind(level.value.value), column.type),
                )
                for level, column in (nest.keys if nest is not None else ())
            ]

    def _others_label(self, level: t.NestedLevel, value: Expr) -> Expr | None:
        """What stands for the groups left out: of the groups' type where it can be, else both are text."""
        if level.others is None:
            return None
        with self.row_scope(None):
            label = self.bind(level.others)
        same = {value.type, label.type} <= {_T.INT, _T.LONG}
        fits = same or (
            value.type is not _T.DYNAMIC and comparison_type(value.type, label.type) is value.type
        )
        return self.as_type(label, value.type if fits else _T.STRING)

    def _nested_groups(self, rows: Relation, level: t.NestedLevel, keys: Keys, name: str) -> Relation:
        """The groups of a level: their keys, and at the end the level's aggregate under `name`."""
        with self.row_scope(rows):
            aggregates, computed = self.aggregate_items([level.aggregate], keys, Names())
        if not computed:
            raise BindProblem
        rows = rows.with_plan(self.compute(rows, self.held_columns()))
        source, value = computed[0]
        amount = self.new_column(name, source.type)
        grouped = tuple(column for column, _ in keys)
        made = tuple(column for columns, _ in aggregates for column in columns)
        plan: Plan = Aggregate((*grouped, *made), rows.plan, tuple(keys), tuple(aggregates))
        plan = Compute((*plan.columns, amount), plan, ((amount, value),))
        return Relation(plan, (*grouped, amount))

    def _best(self, grouped: Relation, level: t.NestedLevel, width: int) -> Relation:
        """As many groups as the level wants within each group of the levels above, whose keys come first."""
        rank = self.new_column("", _T.LONG)
        order = (OrderKey(ref(grouped.columns[-1]), level.descending, False),)
        within = tuple(ref(column) for column in grouped.columns[:width])
        plan: Plan = Rank((*grouped.plan.columns, rank), grouped.plan, rank, within, order)
        if level.count is not None:
            limit = self.row_count(level.count, "`top-nested`")
            plan = Filter(plan.columns, plan, self.call("__less_or_equal", ref(rank), limit))
        return grouped.with_plan(plan)

    def _nested_others(
        self, source: SharedBinding, level: t.NestedLevel, nest: _Nest | None, top: Relation, label: Expr
    ) -> Relation:
        """The groups that were left out, together under the `others` value."""
        binding = self.share_binding(top)
        top, chosen = self.bound_rows(binding), self.bound_rows(binding)
        rows = self.bound_rows(source)
        above = self._above(rows, nest)
        with self.row_scope(rows):
            value = self.as_type(self.bind(level.value.value), label.type)
        *groups, key, amount = chosen.columns
        pairs = [(value, ref(key))]
        pairs.extend((own, ref(group)) for (_, own), group in zip(above, groups, strict=True))
        rest = Relation(
            Join(rows.plan.columns, rows.plan, chosen.plan, JoinKind.LEFTANTI, tuple(pairs)), rows.columns
        )
        keys = above or [(self.new_column("", _T.LONG), long_literal(1))]
        others = self._nested_groups(rest, level, keys, amount.name)
        other_key = self.new_column(key.name, label.type)
        plan = Compute((*others.plan.columns, other_key), others.plan, ((other_key, label),))
        columns = (*(column for column, _ in above), other_key, others.columns[-1])
        return self.union_relations([("", top), ("", Relation(plan, columns))], inner=False, source_name=None)

    def _beside_nest(self, nest: _Nest, top: Relation) -> Relation:
        """The level's groups beside those of the level above; a group without any stays, its cells missing."""
        *groups, key, amount = top.columns
        pairs = tuple((ref(own), ref(group)) for (_, own), group in zip(nest.keys, groups, strict=True))
        filled = {c: self.new_column(c.name, c.type) for c in (key, amount) if c.type is _T.STRING}
        columns = (*nest.rows.plan.columns, *top.plan.columns, *filled.values())
        plan = Join(columns, nest.rows.plan, top.plan, JoinKind.LEFTOUTER, pairs, tuple(filled.items()))
        return Relation(plan, (*nest.rows.columns, filled.get(key, key), filled.get(amount, amount)))
