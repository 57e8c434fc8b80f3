"""The analytical operators: make-series, scan, top-nested, partition, evaluate, facet, fork, invoke."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.kql.bind.aggregates import Aggregates, Keys
from headrace.kql.bind.base import BindProblem, long_literal, text_literal
from headrace.kql.bind.functions.operators import comparison_type
from headrace.kql.bind.operators import Names
from headrace.kql.bind.plugins import PluginBinder
from headrace.kql.bind.scope import Environment, FunctionBinding, Relation, ScalarBinding, SharedBinding
from headrace.kql.plan.expressions import Column, Expr, Literal, Poison, missing, ref
from headrace.kql.plan.nodes import (
    Aggregate,
    Compute,
    Correlated,
    Filter,
    Join,
    JoinKind,
    Limit,
    MatchRows,
    OrderKey,
    Plan,
    Rank,
    Rows,
    ScanStep,
    Series,
)
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType
_DOTNET = {
    _T.STRING: "System.String",
    _T.INT: "System.Int32",
    _T.LONG: "System.Int64",
    _T.REAL: "System.Double",
    _T.BOOL: "System.SByte",
    _T.DATETIME: "System.DateTime",
    _T.TIMESPAN: "System.TimeSpan",
    _T.DYNAMIC: "System.Object",
    _T.GUID: "System.Guid",
    _T.DECIMAL: "System.Data.SqlTypes.SqlDecimal",
}


class AnalyticsBinder(PluginBinder):
    """Binds the operators that few queries use."""

    branches: list[Relation]
    """The results of `fork` and `facet`, which give several."""

    # make-series

    def make_series(self, rows: Relation, operator: t.MakeSeries) -> Relation:
        """`make-series`."""
        names = Names()
        keys = self.group_keys(rows, operator.keys, names)
        with self.row_scope(rows):
            axis = self.bind(operator.axis.value)
            aggregates, outputs = self._series_items(operator.columns, keys, names)
        if isinstance(axis, Poison):
            raise BindProblem
        if axis.type is _T.INT:
            axis = self.as_type(axis, _T.LONG)
        if axis.type not in (_T.DATETIME, _T.TIMESPAN, _T.LONG, _T.REAL):
            self.fail(
                "KQL0119", f"`make-series` counts along numbers or times, not {axis.type}.", operator.axis
            )
        step_type = _T.TIMESPAN if axis.type in (_T.DATETIME, _T.TIMESPAN) else axis.type
        with self.row_scope(None):
            low = self.bind_as(operator.low, axis.type) if operator.low is not None else None
            high = self.bind_as(operator.high, axis.type) if operator.high is not None else None
            step = self.bind_as(operator.step, step_type)
        name = (
            operator.axis.names[0] if operator.axis.names else self.own_name(operator.axis.value) or "Column1"
        )
        axis_column = self.new_column(name, _T.DYNAMIC)
        if operator.aligned and low is not None and high is not None:
            low, high = self.call("bin", low, step), self._after(high)
        columns = (*(column for column, _ in keys), *(column for column, _, _ in outputs), axis_column)
        plan = Series(
            columns,
            rows.plan,
            axis,
            axis_column,
            low,
            high,
            step,
            tuple(keys),
            tuple(aggregates),
            tuple(outputs),
            operator.nonempty,
        )
        return rows.unordered(plan, columns)

    def _after(self, high: Expr) -> Expr:
        """The end that leaves out what an inclusive end takes in: one more tick or number."""
        if high.type is _T.REAL:
            return high
        one = Literal(_T.TIMESPAN if high.type is not _T.LONG else _T.LONG, 1)
        return self.call("__add", high, one)

    def _series_items(
        self, items: Sequence[t.SeriesColumn], keys: Keys, names: Names
    ) -> tuple[Aggregates, list[tuple[Column, Expr, Expr]]]:
        """The aggregates of a bin, and the columns over them with the value for a bin without rows."""
        aggregates: Aggregates = []
        outputs: list[tuple[Column, Expr, Expr]] = []
        for item in items:
            made, values = self.aggregate_items([item.item], keys, names)
            aggregates.extend(made)
            for column, value in values:
                default = self._series_default(item, value.type)
                outputs.append((self.new_column(column.name, _T.DYNAMIC), value, default))
        return aggregates, outputs

    def _series_default(self, item: t.SeriesColumn, type: KustoType) -> Expr:
        if item.default is not None:
            return self.bind_as(item.default, type)
        if type is _T.TIMESPAN:
            return Literal(_T.TIMESPAN, 0)
        if type in (_T.LONG, _T.INT, _T.REAL, _T.DECIMAL):
            return self.as_type(long_literal(0), type)
        return missing(type)

    # scan

    def scan_rows(self, rows: Relation, operator: t.ScanOperator) -> Relation:
        """`scan`."""
        declared: list[tuple[Column, Expr]] = []
        for item in operator.columns:
            default = (
                self.bind_as(item.default, item.type) if item.default is not None else missing(item.type)
            )
            declared.append((self.new_column(item.name, item.type), default))
        if not operator.steps:
            self.fail("KQL0141", "`scan` needs a step.", operator)
        if operator.steps[0].optional:
            self.report("KQL0141", "The first step of `scan` cannot be optional.", operator.steps[0])
        row_columns = rows.columns
        states: list[tuple[Column, ...]] = []
        for _ in operator.steps:
            columns = [self.new_column(column.name, column.type) for column, _ in declared]
            columns.extend(self.new_column(column.name, column.type) for column in row_columns)
            states.append(tuple(columns))
        self._scan_states = {
            step.name: {column.name: column for column in reversed(columns)}
            for step, columns in zip(operator.steps, states, strict=True)
        }
        try:
            steps = [self._scan_step(rows, step, declared) for step in operator.steps]
        finally:
            self._scan_states = {}
        match_id = self.new_column(operator.match_id, _T.LONG) if operator.match_id else None
        place = self.new_column("", _T.LONG)
        made = (*(column for column, _ in declared), *([match_id] if match_id else ()))
        plan = MatchRows(
            (*rows.plan.columns, *made, place),
            rows.plan,
            rows.order,
            tuple(declared),
            row_columns,
            tuple(steps),
            tuple(states),
            match_id,
            place,
        )
        if all(step.output == "none" for step in operator.steps):
            self.fail("KQL0141", "No step of `scan` puts out rows.", operator)
        names = {column.name for column in made}
        kept = tuple(column for column in rows.columns if column.name not in names)
        order = (OrderKey(ref(place), False, False),)
        return Relation(plan, (*kept, *made), order, serialized=True, open=rows.open)

    _scan_states: Mapping[str, Mapping[str, Column]] = {}

    def _scan_step(self, rows: Relation, step: t.ScanStep, declared: list[tuple[Column, Expr]]) -> ScanStep:
        scope = Relation(rows.plan, (*rows.columns, *(column for column, _ in declared)), open=rows.open)
        places = {column.name: place for place, (column, _) in enumerate(declared)}
        with self.row_scope(scope):
            condition = self.bind_bool(step.condition, "a step's condition")
            assignments: list[tuple[int, Expr]] = []
            for item in step.assignments:
                place = places.get(item.name)
                if place is None:
                    hint = self.did_you_mean(item.name, places)
                    self.report("KQL0104", f"`scan` declares no column `{item.name}`.", item, hint)
                    continue
                assignments.append((place, self.bind_as(item.value, declared[place][0].type)))
        return ScanStep(condition, tuple(assignments), step.output, step.optional)

    def special_member(self, node: n.Member) -> Expr | None:
        """A step's column: `s1.total`."""
        if isinstance(node.operand, n.Name) and node.operand.name in self._scan_states:
            column = self._scan_states[node.operand.name].get(node.name)
            if column is not None:
                return ref(column)
        return None

    # top-nested

    def top_nested(self, rows: Relation, operator: t.TopNested) -> Relation:
        """`top-nested`: each level's groups within those that the level above kept."""
        binding = self.share_binding(rows)
        parent: Relation | None = None
        outputs: list[str] = []
        for level in operator.levels:
            parent, made = self._nested_level(binding, level, parent, operator.levels.index(level))
            outputs.extend(made)
        assert parent is not None
        columns = tuple(column for name in outputs if (column := parent.find(name)) is not None)
        return Relation(parent.plan, columns)

    def _nested_level(
        self, source: SharedBinding, level: t.NestedLevel, parent: Relation | None, depth: int
    ) -> tuple[Relation, list[str]]:
        rows = self.bound_rows(source)
        kept, above = self._under(rows, parent)
        with self.row_scope(kept):
            value = self.bind(level.value.value)
        name = level.value.names[0] if level.value.names else self.own_name(level.value.value) or "Column1"
        others = self._others_label(level, value)
        if others is not None:
            value = self.as_type(value, others.type)
        key = self.column_for(name, value)
        keys = [*above, (key, value)]
        grouped, amount = self._nested_groups(kept, level, keys, name)
        groups = tuple(column for column, _ in above)
        rank = self.new_column("", _T.LONG)
        order = (OrderKey(ref(amount), level.descending, False),)
        plan: Plan = Rank(
            (*grouped.plan.columns, rank), grouped.plan, rank, tuple(ref(c) for c in groups), order
        )
        if level.count is not None:
            limit = self.row_count(level.count, "`top-nested`")
            plan = Filter(plan.columns, plan, self.call("__less_or_equal", ref(rank), limit))
        top = Relation(plan, (*groups, key, amount))
        if others is not None:
            top = self._with_others(source, level, parent, top, key, others)
        if parent is None:
            return top, [key.name, amount.name]
        joined = self._join_parent(parent, top, [column.name for column in groups])
        del depth
        return joined, [key.name, amount.name]

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

    def _under(self, rows: Relation, parent: Relation | None) -> tuple[Relation, list[tuple[Column, Expr]]]:
        """The rows whose keys the level above kept, and those keys."""
        if parent is None:
            return rows, []
        above: list[tuple[Column, Expr]] = []
        for column in parent.columns:
            if column.name in self._nested_keys and (found := rows.find(column.name)) is not None:
                above.append(
                    (self.new_column(column.name, column.type), self.as_type(ref(found), column.type))
                )
        return rows, above

    _nested_keys: frozenset[str] = frozenset()

    def _nested_groups(
        self, rows: Relation, level: t.NestedLevel, keys: list[tuple[Column, Expr]], name: str
    ) -> tuple[Relation, Column]:
        """The groups of a level with their aggregate."""
        with self.row_scope(rows):
            aggregates, computed = self.aggregate_items([level.aggregate], keys, Names())
        if not computed:
            raise BindProblem
        source, value = computed[0]
        given = level.aggregate.names[0] if level.aggregate.names else f"aggregated_{name}"
        amount = self.new_column(given, source.type)
        made = tuple(column for columns, _ in aggregates for column in columns)
        plan: Plan = Aggregate((*(c for c, _ in keys), *made), rows.plan, tuple(keys), tuple(aggregates))
        plan = Compute((*plan.columns, amount), plan, ((amount, value),))
        self._nested_keys = self._nested_keys | {name}
        return Relation(plan, (*(c for c, _ in keys), amount)), amount

    def _with_others(
        self,
        source: SharedBinding,
        level: t.NestedLevel,
        parent: Relation | None,
        top: Relation,
        key: Column,
        label: Expr,
    ) -> Relation:
        """The groups that were left out, together under the `others` value."""
        binding = self.share_binding(top)
        top = self.bound_rows(binding)
        rows, above = self._under(self.bound_rows(source), parent)
        with self.row_scope(rows):
            value = self.as_type(self.bind(level.value.value), label.type)
        chosen = self.bound_rows(binding)
        pairs = [(value, ref(self._column(chosen, key.name)))]
        pairs.extend((source_value, ref(self._column(chosen, column.name))) for column, source_value in above)
        rest = Relation(
            Join(rows.plan.columns, rows.plan, chosen.plan, JoinKind.LEFTANTI, tuple(pairs)), rows.columns
        )
        keys = above or [(self.new_column("", _T.LONG), long_literal(1))]
        others, other_amount = self._nested_groups(rest, level, list(keys), key.name)
        other_key = self.new_column(key.name, label.type)
        plan = Compute((*others.plan.columns, other_key), others.plan, ((other_key, label),))
        columns = (*(column for column, _ in above), other_key, other_amount)
        return self.union_relations([("", top), ("", Relation(plan, columns))], inner=False, source_name=None)

    @staticmethod
    def _column(rows: Relation, name: str) -> Column:
        column = rows.find(name)
        if column is None:
            raise BindProblem
        return column

    def _join_parent(self, parent: Relation, top: Relation, keys: list[str]) -> Relation:
        """The level's groups beside those of the level above; a group without any stays, its cells missing."""
        pairs = tuple((ref(self._column(parent, name)), ref(self._column(top, name))) for name in keys)
        rest = tuple(column for column in top.columns if column.name not in keys)
        filled = {c: self.new_column(c.name, c.type) for c in rest if c.type is _T.STRING}
        columns = (*parent.plan.columns, *top.plan.columns, *filled.values())
        plan = Join(columns, parent.plan, top.plan, JoinKind.LEFTOUTER, pairs, tuple(filled.items()))
        return Relation(plan, (*parent.columns, *(filled.get(column, column) for column in rest)))

    # partition

    def partition(self, rows: Relation, operator: t.Partition) -> Relation:
        """`partition`: the sub-query runs over the rows of each value."""
        binding = self.share_binding(rows)
        shared = self.bound_rows(binding)
        with self.row_scope(shared):
            value = self.bind(operator.column)
        if isinstance(value, Poison):
            raise BindProblem
        key = self.column_for("", value)
        outer = Aggregate((key,), shared.plan, ((key, value),), ())
        inner = self.bound_rows(binding)
        with self.row_scope(inner):
            same = self.bind(operator.column)
        plan = Filter(inner.plan.columns, inner.plan, self.call("__equal", same, ref(key)))
        start = replace(inner.with_plan(plan), order=(), serialized=False)
        environment = Environment(self.environment)
        if (name := self.own_name(operator.column)) is not None:
            environment.names[name] = ScalarBinding(ref(key))
        before, self.input_rows = self.input_rows, start
        try:
            with self.environment_scope(environment), self.row_scope(None):
                body = self.relation(operator.body)
        finally:
            self.input_rows = before
        joined = Correlated((key, *body.plan.columns), outer, body.plan)
        return Relation(joined, body.columns, open=rows.open)

    # fork, facet, invoke, getschema, consume

    def fork(self, rows: Relation, operator: t.Fork) -> Relation:
        """`fork`: a result for each branch."""
        binding = self.share_binding(rows, once=False)
        for name, body in operator.branches:
            self.branches.append(replace(self._sub_query(operator, binding, body), name=name, _by_name={}))
        return self.branches[0]

    def _sub_query(self, node: n.Node, binding: SharedBinding, body: n.Expression) -> Relation:
        before, self.input_rows = self.input_rows, self.bound_rows(binding)
        try:
            with self.row_scope(None):
                return self.relation(body)
        finally:
            self.input_rows = before

    def facet(self, rows: Relation, operator: t.Facet) -> Relation:
        """`facet`: a table of counts for each column, then the rows of `with`."""
        binding = self.share_binding(rows, once=False)
        for column in operator.columns:
            side = self.bound_rows(binding)
            keys = self.group_keys(side, [n.Named(column.start, column.end, (), column)], Names())
            amount = self.new_column(f"count_{keys[0][0].name}", _T.LONG)
            columns = (keys[0][0], amount)
            plan = Aggregate(columns, side.plan, tuple(keys), (((amount,), self.call("count")),))
            self.branches.append(Relation(plan, columns))
        if operator.body is not None:
            self.branches.append(self._sub_query(operator, binding, operator.body))
        return self.branches[0]

    def invoke(self, rows: Relation, operator: t.Invoke) -> Relation:
        """`invoke`: a function whose first parameter is the table at hand."""
        call = operator.call
        if not isinstance(call, n.Call):
            self.fail("KQL0107", "`invoke` needs a call of a function.", operator)
        binding = self.environment.find(call.name)
        if not isinstance(binding, FunctionBinding):
            if self.functions.find(call.name) is not None:
                self.fail("KQL0136", f"`{call.name}` takes no table, so `invoke` cannot call it.", call)
            self.no_function(call, self.environment.all_names())
            raise BindProblem
        function = binding.function
        if not function.parameters or not function.parameters[0].tabular:
            self.fail("KQL0136", f"The first parameter of `{function.name}` must be a table.", operator)
        name = f"$invoked{self.shared}"
        environment = Environment(self.environment)
        environment.names[name] = self.share_binding(rows, once=False)
        table = n.Argument(operator.start, operator.end, None, n.Name(operator.start, operator.end, name))
        with self.environment_scope(environment):
            return self.call_tabular(operator, binding, (table, *call.arguments))

    def getschema(self, rows: Relation, operator: t.GetSchema) -> Relation:
        """`getschema`."""
        columns = (
            self.new_column("ColumnName", _T.STRING),
            self.new_column("ColumnOrdinal", _T.INT),
            self.new_column("DataType", _T.STRING),
            self.new_column("ColumnType", _T.STRING),
        )
        values = tuple(
            (
                text_literal(column.name),
                Literal(_T.INT, place),
                text_literal(_DOTNET[column.type]),
                text_literal(column.type.value),
            )
            for place, column in enumerate(rows.visible)
        )
        return Relation(Rows(columns, values), columns, serialized=True)

    def consume(self, rows: Relation, operator: t.Consume) -> Relation:
        """`consume`: no rows at all."""
        return rows.with_plan(Limit(rows.plan.columns, rows.plan, long_literal(0), ()))

    operators: Mapping[type[n.Operator], Callable[[Any, Relation, Any], Relation]] = {
        **PluginBinder.operators,
        t.MakeSeries: make_series,
        t.ScanOperator: scan_rows,
        t.TopNested: top_nested,
        t.Partition: partition,
        t.Fork: fork,
        t.Facet: facet,
        t.Invoke: invoke,
        t.GetSchema: getschema,
        t.Consume: consume,
        t.Evaluate: PluginBinder.evaluate,
    }
