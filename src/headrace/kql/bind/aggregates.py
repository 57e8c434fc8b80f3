"""The operators that bring rows together: summarize, distinct, count, top-hitters; and the columns of unions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from headrace.kql.bind.base import text_literal
from headrace.kql.bind.functions.registry import Kind
from headrace.kql.bind.operators import Names, unique
from headrace.kql.bind.scope import Relation
from headrace.kql.bind.sources import SourceBinder
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Convert,
    Expr,
    Poison,
    Ref,
    columns_of,
    rebuild,
    ref,
)
from headrace.kql.plan.nodes import Aggregate, Compute, Limit, OrderKey, Plan, Union
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType
Keys = list[tuple[Column, Expr]]
Aggregates = list[tuple[tuple[Column, ...], Apply]]


class AggregateBinder(SourceBinder):
    """Binds the operators that see several rows."""

    def group_keys(self, rows: Relation, items: Sequence[n.Named], names: Names) -> Keys:
        """The keys of a `by`, named; a plain column keeps its name."""
        with self.row_scope(rows):
            bound = [
                (name, self.keyed(value, item, "a key of groups"), given, item)
                for name, value, given, item in self.bind_items(items)
            ]
        return self.name_columns(bound, names)

    def summarize(self, rows: Relation, operator: t.Summarize) -> Relation:
        """`summarize`."""
        names = Names()
        keys = self.group_keys(rows, operator.keys, names)
        with self.row_scope(rows):
            aggregates, outputs = self.aggregate_items(operator.aggregates, keys, names)
        rows = rows.with_plan(self.compute(rows, self.held_columns()))
        key_columns = tuple(column for column, _ in keys)
        made = tuple(column for columns, _ in aggregates for column in columns)
        plan: Plan = Aggregate((*key_columns, *made), rows.plan, tuple(keys), tuple(aggregates), rows.order)
        computed = [(column, value) for column, value in outputs if not _is_same(column, value)]
        if computed:
            plan = Compute((*plan.columns, *(column for column, _ in computed)), plan, tuple(computed))
        return rows.unordered(plan, (*key_columns, *(column for column, _ in outputs)))

    def aggregate_items(
        self, items: Sequence[n.Named], keys: Keys, names: Names
    ) -> tuple[Aggregates, list[tuple[Column, Expr]]]:
        """The aggregates that items need, and the output columns over them."""
        before, self.aggregates = self.aggregates, []
        excluded, self.star_excluded = (
            self.star_excluded,
            frozenset(value.column for _, value in keys if isinstance(value, Ref)),
        )
        outputs: list[tuple[Column, Expr]] = []
        try:
            for item in items:
                self._aggregate_item(item, keys, names, outputs)
            return self.aggregates, outputs
        finally:
            self.aggregates, self.star_excluded = before, excluded

    def _aggregate_item(
        self, item: n.Named, keys: Keys, names: Names, outputs: list[tuple[Column, Expr]]
    ) -> None:
        assert self.aggregates is not None
        node = item.value
        function = self.functions.find(node.name) if isinstance(node, n.Call) else None
        if isinstance(node, n.Call) and function is not None and function.kind is Kind.AGGREGATE:
            applied = self.aggregate_call(node, function)
            if applied is None:
                return
            shown = self._aggregate_names(item, node, applied)
            columns: list[Column] = []
            for place, (name, type) in enumerate(zip(shown, applied.resolution.results, strict=True)):
                name = self.free_name(names, name or self.default_name(), item, place < len(item.names))
                columns.append(self.new_column(name, type))
            self.aggregates.append((tuple(columns), applied))
            outputs.extend((column, ref(column)) for column in columns)
            return
        value = self.bind(node)
        if isinstance(value, Poison):
            return
        value = self._over_groups(item, value, keys)
        given = item.names[0] if item.names else self.own_name(node)
        name = self.free_name(names, given or self.default_name(), item, bool(item.names))
        outputs.append((self.column_for(name, value), value))

    def _aggregate_names(self, item: n.Named, node: n.Call, applied: Apply) -> tuple[str, ...]:
        """A name for each column of an aggregate's result, "" where its place decides."""
        own = [self._argument_name(argument) for argument in applied.arguments]
        for place, argument in enumerate(node.arguments):
            if place < len(own) and not isinstance(argument.value, n.Wildcard):
                own[place] = self.own_name(argument.value)
        constants = [argument.constant for argument in applied.arguments]
        automatic = applied.function.auto_names(own, constants)
        count = len(applied.resolution.results)
        names = [*item.names[:count], *automatic[len(item.names) : count]]
        if len(item.names) > count:
            self.report(
                "KQL0124", f"`{node.name}` makes {count} columns, but {len(item.names)} are named.", item
            )
        return (*names, *[""] * (count - len(names)))

    @staticmethod
    def _argument_name(argument: Expr) -> str | None:
        return argument.column.name if isinstance(argument, Ref) else None

    def _over_groups(self, item: n.Named, value: Expr, keys: Keys) -> Expr:
        """An expression over aggregates; input columns are allowed only where they are keys."""
        made = {column for columns, _ in self.aggregates or () for column in columns}
        by_source = {key.column: column for column, key in keys if isinstance(key, Ref)}

        def change(part: Expr) -> Expr | None:
            if isinstance(part, Ref) and part.column not in made:
                column = by_source.get(part.column)
                return ref(column) if column is not None else None
            return None

        value = rebuild(value, change)
        known = made | {column for column, _ in keys}
        loose = [column.name for column in columns_of(value) if column not in known]
        if loose:
            self.report(
                "KQL0125",
                f"`{loose[0]}` stands in `summarize` without an aggregate.",
                item,
                f"Add it to `by`, or use `take_any({loose[0]})`.",
            )
        return value

    def count_rows(self, rows: Relation, operator: t.Count) -> Relation:
        """`count`."""
        column = self.new_column(operator.name, _T.LONG)
        plan = Aggregate((column,), rows.plan, (), (((column,), self.call("count")),))
        return rows.unordered(plan, (column,))

    def distinct(self, rows: Relation, operator: t.Distinct) -> Relation:
        """`distinct`."""
        keys = self.group_keys(rows, operator.items, Names())
        columns = tuple(column for column, _ in keys)
        return rows.unordered(Aggregate(columns, rows.plan, tuple(keys), ()), columns)

    def top_hitters(self, rows: Relation, operator: t.TopHitters) -> Relation:
        """`top-hitters`, exactly."""
        count = self.row_count(operator.count, "`top-hitters`")
        with self.row_scope(rows):
            value = self.bind(operator.value)
            weight = self.bind(operator.weight) if operator.weight is not None else None
        name = self.own_name(operator.value) or "Column1"
        key = self.column_for(name, value)
        applied = self.call("sum", weight) if weight is not None else self.call("count")
        suffix = self.own_name(operator.weight) if operator.weight is not None else name
        total = self.new_column(
            f"approximate_{'sum' if weight is not None else 'count'}_{suffix}", applied.type
        )
        plan: Plan = Aggregate((key, total), rows.plan, ((key, value),), (((total,), applied),))
        order = (OrderKey(ref(total), True, False),)
        plan = Limit(plan.columns, plan, count, order)
        return Relation(plan, (key, total), order, serialized=True)

    # union.

    def union_relations(
        self, inputs: Sequence[tuple[str, Relation]], *, inner: bool, source_name: str | None
    ) -> Relation:
        """The rows of all inputs; columns of one name and different types get their type as a suffix."""
        shapes: dict[str, dict[KustoType, None]] = {}
        for _, rows in inputs:
            for column in rows.visible:
                shapes.setdefault(column.name, {})[column.type] = None
        if inner:
            wanted = [
                name
                for name in shapes
                if all((found := rows.find(name)) is not None and not found.hidden for _, rows in inputs)
            ]
        else:
            wanted = list(shapes)
        outputs = self._union_outputs({name: shapes[name] for name in wanted})
        for name in self._hidden_names(inputs, shapes):
            first = next(found for _, rows in inputs if (found := rows.find(name)) is not None)
            outputs.append((self.new_column(name, first.type, hidden=True), name, first.type))
        # A plain name whose columns have several types still answers when named, converted to the first type.
        plain = {
            name: self.new_column(name, next(iter(shapes[name])), hidden=True)
            for name in wanted
            if len(shapes[name]) > 1
        }
        columns = (*(column for column, _, _ in outputs), *plain.values())
        source = self.new_column(source_name, _T.STRING) if source_name else None
        if source is not None:
            columns = (source, *columns)
        by_name: dict[str, list[tuple[Column, KustoType]]] = {}
        for column, name, type in outputs:
            by_name.setdefault(name, []).append((column, type))
        made: list[tuple[Plan, dict[Column, Expr]]] = []
        for label, rows in inputs:
            values: dict[Column, Expr] = {source: text_literal(label)} if source is not None else {}
            made.append((rows.plan, values | self._union_values(rows, by_name, plain)))
        return Relation(
            Union(columns, tuple(made)),
            columns,
            open=any(rows.open for _, rows in inputs),
            broken=any(rows.broken for _, rows in inputs),
        )

    def _union_outputs(
        self, shapes: Mapping[str, Collection[KustoType]]
    ) -> list[tuple[Column, str, KustoType]]:
        """A column for each name and type, with the name in the inputs; of several types each has it in its name."""
        outputs: list[tuple[Column, str, KustoType]] = []
        taken = {name for name, types in shapes.items() if len(types) == 1}
        for name, types in shapes.items():
            for type in types:
                shown = name
                if len(types) > 1:
                    shown = f"{name}_{type}"
                    shown = unique(shown, taken) if shown in taken else shown
                    taken.add(shown)
                outputs.append((self.new_column(shown, type), name, type))
        return outputs

    def _union_values(
        self,
        rows: Relation,
        by_name: Mapping[str, Sequence[tuple[Column, KustoType]]],
        plain: Mapping[str, Column],
    ) -> dict[Column, Expr]:
        """What one input gives the union's columns: those of its names and types, and of names alone."""
        values: dict[Column, Expr] = {}
        for own in rows.columns:
            for column, type in by_name.get(own.name, ()):
                if own in self.poisoned:
                    self.poisoned.add(column)
                if own.type is type and column not in values:
                    values[column] = ref(own)
            if own.name in plain:
                alias = plain[own.name]
                values[alias] = ref(own) if own.type is alias.type else Convert(alias.type, ref(own))
        return values

    @staticmethod
    def _hidden_names(
        inputs: Sequence[tuple[str, Relation]], shapes: dict[str, dict[KustoType, None]]
    ) -> list[str]:
        names: dict[str, None] = {}
        for _, rows in inputs:
            names.update((column.name, None) for column in rows.columns if column.hidden)
        return [name for name in names if name not in shapes]


def _is_same(column: Column, value: Expr) -> bool:
    return isinstance(value, Ref) and value.column is column
