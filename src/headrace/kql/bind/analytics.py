"""The analytical operators: make-series, scan, partition, evaluate, facet, fork, invoke."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.kql.bind.aggregates import Aggregates, Keys
from headrace.kql.bind.base import BindProblem, long_literal, text_literal
from headrace.kql.bind.functions.registry import conversion, conversion_cure
from headrace.kql.bind.nesting import NestingBinder
from headrace.kql.bind.operators import Names
from headrace.kql.bind.scope import Environment, FunctionBinding, Relation, ScalarBinding, SharedBinding
from headrace.kql.plan.expressions import Column, Expr, Literal, Poison, missing, ref
from headrace.kql.plan.nodes import (
    Aggregate,
    Correlated,
    Filter,
    Limit,
    MatchRows,
    OrderKey,
    Rows,
    ScanStep,
    Series,
)
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import DOTNET_TYPES, KustoType

_T = KustoType


class AnalyticsBinder(NestingBinder):
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
        rows = rows.with_plan(self.compute(rows, self.held_columns()))
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
            low = self._along(operator.low, axis.type) if operator.low is not None else None
            high = self._along(operator.high, axis.type) if operator.high is not None else None
            step = self._along(operator.step, step_type)
        name = (
            operator.axis.names[0] if operator.axis.names else self.own_name(operator.axis.value) or "Column1"
        )
        axis_column = self.new_column(name, _T.DYNAMIC)
        if operator.aligned and low is not None and high is not None:
            low, high = self.call("bin", low, step), self._after(high, step)
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

    def _along(self, node: n.Expression, type: KustoType) -> Expr:
        """An end or the step of an axis, in the type that it counts in."""
        value = self.bind(node)
        widened = conversion(value.type, (type,)) is not None or value.argument.untyped
        if not widened and not isinstance(value, Poison):
            message = f"`make-series` counts here by {type}, not by {value.type}."
            self.fail("KQL0119", message, node, conversion_cure([type]))
        return self.as_type(value, type)

    def _after(self, high: Expr, step: Expr) -> Expr:
        """The exclusive end that still takes in `high`: one more tick or number, of reals a trifle of a step."""
        if high.type is _T.REAL:
            return self.call("__add", high, self.call("__multiply", step, Literal(_T.REAL, 1e-9)))
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
        states = [
            tuple(
                self.new_column(column.name, column.type)
                for column in (*(c for c, _ in declared), *rows.columns)
            )
            for _ in operator.steps
        ]
        self._scan_states = {
            step.name: {column.name: column for column in reversed(columns)}
            for step, columns in zip(operator.steps, states, strict=True)
        }
        try:
            steps = [self._scan_step(rows, step, declared) for step in operator.steps]
        finally:
            self._scan_states = {}
        held = self.held_columns()
        input = self.compute(rows, held)
        row_columns = (*rows.columns, *(column for column, _ in held))
        states = [(*columns, *(self.new_column("", column.type) for column, _ in held)) for columns in states]
        match_id = self.new_column(operator.match_id, _T.LONG) if operator.match_id else None
        place = self.new_column("", _T.LONG)
        made = (*(column for column, _ in declared), *([match_id] if match_id else ()))
        plan = MatchRows(
            (*input.columns, *made, place),
            input,
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
        columns = (*rows.columns, *(column for column, _ in declared))
        scope = Relation(rows.plan, columns, open=rows.open, broken=rows.broken)
        places = {column.name: place for place, (column, _) in enumerate(declared)}
        with self.row_scope(scope):
            condition = self.without_queries(self.bind_bool(step.condition, "a step's condition"))
            assignments: list[tuple[int, Expr]] = []
            for item in step.assignments:
                place = places.get(item.name)
                if place is None:
                    hint = self.did_you_mean(item.name, places)
                    self.report("KQL0104", f"`scan` declares no column `{item.name}`.", item, hint)
                    continue
                value = self.bind_as(item.value, declared[place][0].type)
                assignments.append((place, self.without_queries(value)))
        return ScanStep(condition, tuple(assignments), step.output, step.optional)

    def special_member(self, node: n.Member) -> Expr | None:
        """A step's column: `s1.total`."""
        if isinstance(node.operand, n.Name) and node.operand.name in self._scan_states:
            column = self._scan_states[node.operand.name].get(node.name)
            if column is not None:
                return ref(column)
        return None

    # partition

    def partition(self, rows: Relation, operator: t.Partition) -> Relation:
        """`partition`: the sub-query runs over the rows of each value."""
        binding = self.share_binding(rows)
        shared = self.bound_rows(binding)
        with self.row_scope(shared):
            value = self.keyed(self.bind(operator.column), operator.column, "the key of `partition`")
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
            self.branches.append(replace(self._sub_query(binding, body), name=name))
        return self.branches[0]

    def _sub_query(self, binding: SharedBinding, body: n.Expression) -> Relation:
        """A branch, which goes on with the shared rows."""
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
            self.branches.append(self._sub_query(binding, operator.body))
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
                text_literal(DOTNET_TYPES[column.type]),
                text_literal(column.type.value),
            )
            for place, column in enumerate(rows.visible)
        )
        return Relation(Rows(columns, values), columns, serialized=True)

    def consume(self, rows: Relation, operator: t.Consume) -> Relation:
        """`consume`: no rows at all."""
        return rows.with_plan(Limit(rows.plan.columns, rows.plan, long_literal(0), ()))

    operators: Mapping[type[n.Operator], Callable[[Any, Relation, Any], Relation]] = {
        **NestingBinder.operators,
        t.MakeSeries: make_series,
        t.ScanOperator: scan_rows,
        t.TopNested: NestingBinder.top_nested,
        t.Partition: partition,
        t.Fork: fork,
        t.Facet: facet,
        t.Invoke: invoke,
        t.GetSchema: getschema,
        t.Consume: consume,
        t.Evaluate: NestingBinder.evaluate,
    }
