"""The SQL of every plan node that any engine says alike; an engine's own words are in its subclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlglot import exp

from headrace.kql.bind.functions.registry import Resolution
from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Expr,
    Literal,
    Ref,
    columns_of,
    has_window,
    missing,
)
from headrace.kql.sql.conditions import as_condition
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.functions.calls import lower_several
from headrace.kql.sql.layers import Layer, column_sql, conjunction, named, subquery
from headrace.kql.sql.ordering import by_raw_time
from headrace.kql.sql.rendering import ExpressionGenerator
from headrace.kql.types import KustoType

_T = KustoType
MAX_NESTED = 16
"""How many selects nest before the inner ones become common table expressions."""


class Generator(ExpressionGenerator):
    """Builds one statement."""

    # Statements.

    def statement(
        self,
        plan: p.Plan,
        columns: Sequence[Column],
        order: Sequence[p.OrderKey],
        output: Callable[[Column, exp.Expression], exp.Expression] | None = None,
    ) -> exp.Query:
        """The select of `columns` in that order, its rows ordered; `output` shapes each value."""
        layer = self.gen(plan)
        if order and layer.closed:
            layer = self.wrap(layer, plan.columns)
        if order:
            layer.order = self.order_sql(tuple(order), layer)
        if output is not None:
            if layer.closed:
                layer = self.wrap(layer, plan.columns)
            for column in columns:
                layer.values[column] = output(column, layer.read(column))
        return self.with_shared(layer.select(columns))

    def with_shared(self, query: exp.Select) -> exp.Select:
        """The statement with the selects that several places read."""
        if self.shared:
            query.set("with_", self._named_queries(self.shared))
        return query

    def _named_queries(self, queries: Mapping[str, exp.Query]) -> exp.With:
        ctes = [
            exp.CTE(
                this=select,
                alias=exp.TableAlias(this=exp.Identifier(this=name, quoted=False)),
                materialized=name not in self.inlined and not isinstance(select, exp.Union),
            )
            for name, select in queries.items()
        ]
        return exp.With(expressions=ctes, recursive=self.recursive or None)

    # Nodes.

    def gen(self, plan: p.Plan) -> Layer:
        """The layer of a node."""
        return _NODES[type(plan)](self, plan)

    def wrap(self, layer: Layer, columns: Sequence[Column]) -> Layer:
        """A layer that reads the columns of another."""
        kept = [column for column in columns if column in layer.values]
        return self.from_select(layer.select(kept), kept, layer.depth)

    def from_select(self, query: exp.Query, columns: Sequence[Column], depth: int = 0) -> Layer:
        """A layer that reads a finished select; `depth` is how many selects it nests."""
        values: dict[Column, exp.Expression] = {column: column_sql(column.sql_name) for column in columns}
        if depth < MAX_NESTED or self._outer:
            layer = Layer(subquery(query, self.fresh("t")), values, depth + 1)
            layer.plain = True
            return layer
        # Many selects inside each other would exhaust every parser's stack: the inner ones get a name.
        name = self.fresh("w")
        self.shared[name] = query
        self.inlined.add(name)
        return Layer(exp.Table(this=exp.Identifier(this=name, quoted=False)), values, 1)

    def ready(self, plan: p.Plan, *expressions: Expr) -> Layer:
        """The layer of a node, wrapped if reading what the expressions read would be wrong or costly."""
        layer = self.gen(plan)
        if layer.closed or layer.expensive(c for expression in expressions for c in columns_of(expression)):
            return self.wrap(layer, plan.columns)
        return layer

    def table_scan(self, plan: p.TableScan) -> Layer:
        """A table; datetimes become ticks at its border."""
        scan = self.scan_of(plan)
        source = subquery(self.scans(scan), self.fresh("t"))
        values: dict[Column, exp.Expression] = {}
        for column in plan.columns:
            raw: exp.Expression = column_sql(column.sql_name)
            values[column] = self.ticks(raw) if column.type is _T.DATETIME else raw
        return Layer(source, values)

    def ticks(self, timestamp: exp.Expression) -> exp.Expression:
        """A timestamp of the engine's as ticks."""
        raise NotImplementedError

    def rows(self, plan: p.Rows) -> Layer:
        """Literal rows."""
        if not plan.columns:
            if len(plan.values) == 1:
                return Layer(None, {})
            layer = Layer(None, {})
            layer.where.append(exp.Boolean(this=False))
            return layer
        if not plan.values:
            layer = Layer(None, {c: self.literal(Literal(c.type, None)) for c in plan.columns})
            layer.where.append(exp.Boolean(this=False))
            return layer
        tuples = [exp.Tuple(expressions=[self.render_alone(value) for value in row]) for row in plan.values]
        names = [exp.Identifier(this=column.sql_name, quoted=False) for column in plan.columns]
        alias = exp.TableAlias(this=exp.Identifier(this=self.fresh("t"), quoted=False), columns=names)
        source = exp.Values(expressions=tuples, alias=alias)
        return Layer(source, {column: column_sql(column.sql_name) for column in plan.columns})

    def filter(self, plan: p.Filter) -> Layer:
        """`WHERE`, in the select at hand where that is right."""
        layer = self.ready(plan.input, plan.predicate)
        conditions = self.with_layer(layer, plan.input, [plan.predicate])
        layer, sql = conditions
        layer.where.extend(as_condition(condition) for condition in sql)
        return layer

    def with_layer(
        self, layer: Layer, input: p.Plan, expressions: Sequence[Expr], order: tuple[p.OrderKey, ...] = ()
    ) -> tuple[Layer, list[exp.Expression]]:
        """Expressions over a layer; what they hoist is put into a select below."""
        hoists: list[tuple[str, exp.Expression]] = []
        with self.over(layer, hoists=hoists, order=order):
            rendered = [self.render(expression) for expression in expressions]
        if not hoists:
            return layer, rendered
        return self.hoisted(layer, input, expressions, order)

    def hoisted(
        self,
        layer: Layer,
        input: p.Plan,
        expressions: Sequence[Expr],
        order: tuple[p.OrderKey, ...],
    ) -> tuple[Layer, list[exp.Expression]]:
        """The layer with hoisted expressions below, and the expressions over it.

        The layer is finished first, so that the second rendering reads plain columns and hoists the same.
        """
        layer = self.wrap(layer, input.columns)
        remaining: list[tuple[str, exp.Expression]] = []
        with self.over(layer, hoists=remaining, order=order):
            rendered = [self.render(expression) for expression in expressions]
        kept = [column for column in input.columns if column in layer.values]
        while remaining:
            pending = {name for name, _ in remaining}
            now = [
                (name, value)
                for name, value in remaining
                if not any(column.name in pending for column in value.find_all(exp.Column))
            ]
            layer = self.from_select(layer.extended(kept, now), kept, layer.depth)
            done = {name for name, _ in now}
            remaining = [item for item in remaining if item[0] not in done]
        return layer, rendered

    def compute(self, plan: p.Compute) -> Layer:
        """Computed columns."""
        values = [value for _, value in plan.items]
        windowed = any(has_window(value) for value in values)
        reads = [*values, *(key.value for key in plan.order)] if windowed else values
        # A window needs no select of its own: it sees only the rows that pass the conditions beside it.
        layer = self.ready(plan.input, *reads)
        layer, rendered = self.with_layer(layer, plan.input, values, plan.order)
        for (column, value), sql in zip(plan.items, rendered, strict=True):
            layer.add(column, sql, cheap=(isinstance(value, Ref) and value.column in layer.cheap) or None)
        if windowed:
            layer.closed = True
        return layer

    def aggregate(self, plan: p.Aggregate) -> Layer:
        """`GROUP BY`."""
        values = [value for _, value in plan.keys]
        arguments = [argument for _, applied in plan.aggregates for argument in applied.arguments]
        layer = self.ready(plan.input, *values, *arguments, *(key.value for key in plan.order))
        layer, keys = self.with_layer(layer, plan.input, values)
        items: list[exp.Expression] = []
        groups: list[exp.Expression] = []
        for (column, _), sql in zip(plan.keys, keys, strict=True):
            items.append(named(sql, column.sql_name))
            groups.append(exp.Literal.number(len(items)))
        unpacked: dict[Column, exp.Expression] = {}
        with self.over(layer, order=plan.order):
            for columns, applied in plan.aggregates:
                if len(columns) > 3 and applied.function.name in _FROM_ONE_ROW:
                    items.extend(self.packed(columns, applied, unpacked))
                    continue
                for column, sql in zip(columns, self.several(applied), strict=True):
                    items.append(named(sql, column.sql_name))
        select = layer.select(())
        if not items:
            items.append(named(exp.Literal.number(1), "one"))
        select.set("expressions", items)
        if groups:
            select.set("group", exp.Group(expressions=groups))
        elif not plan.aggregates:
            select.set("limit", exp.Limit(expression=exp.Literal.number(1)))
        made = self.from_select(select, plan.columns, layer.depth)
        for column, sql in unpacked.items():
            made.add(column, sql, cheap=True)
        return made

    def packed(
        self, columns: Sequence[Column], applied: Apply, unpacked: dict[Column, exp.Expression]
    ) -> list[exp.Expression]:
        """An aggregate that takes many columns from one row: they travel as one struct."""
        first = len(columns) - len(applied.arguments) + (applied.function.name in ("arg_max", "arg_min"))
        carried = applied.arguments[first:]
        name = self.fresh("s")
        struct = exp.Anonymous(
            this="struct_pack",
            expressions=[
                exp.PropertyEQ(
                    this=exp.Identifier(this=f"v{i}", quoted=False), expression=self.render(argument)
                )
                for i, argument in enumerate(carried)
            ],
        )
        arguments = [
            *(self.typed(argument) for argument in applied.arguments[:first]),
            Typed(struct, _T.DYNAMIC),
        ]
        types = tuple(argument.type for argument in arguments)
        made = lower_several(self, applied.function.name, arguments, Resolution(types, types))
        for i, column in enumerate(columns[first:]):
            field: exp.Expression = exp.Anonymous(
                this="struct_extract", expressions=[column_sql(name), exp.Literal.string(f"v{i}")]
            )
            unpacked[column] = self.filled(field) if column.type is _T.STRING else field
        names = [*(column.sql_name for column in columns[:first]), name]
        return [named(sql, alias) for alias, sql in zip(names, made, strict=True)]

    def limit(self, plan: p.Limit) -> Layer:
        """`ORDER BY ... LIMIT`."""
        layer = self.ready(plan.input, *(key.value for key in plan.order))
        layer.order = [by_raw_time(key, layer) for key in self.order_sql(plan.order, layer)]
        layer.limit = self.row_count(plan.count)
        layer.closed = True
        return layer

    def row_count(self, count: Expr) -> exp.Expression:
        """A number of rows for LIMIT."""
        if isinstance(count, Literal) and isinstance(count.value, int):
            return exp.Literal.number(count.value)
        return exp.Paren(this=self.render_alone(count))

    def rank(self, plan: p.Rank) -> Layer:
        """`ROW_NUMBER` in groups."""
        layer = self.ready(plan.input, *plan.partition, *(key.value for key in plan.order))
        layer = self.wrap(layer, plan.input.columns) if layer.where else layer
        with self.over(layer):
            partition = [self.render(value) for value in plan.partition]
        order = self.order_sql(plan.order, layer)
        window = exp.Window(
            this=exp.Anonymous(this="row_number"),
            partition_by=partition,
            order=exp.Order(expressions=order) if order else None,
        )
        layer.add(plan.place, window, cheap=False)
        return self.wrap(layer, plan.columns)

    def join(self, plan: p.Join) -> Layer:
        """The joins; sides that several conditions read are finished selects."""
        left, right = self.side(plan.left), self.side(plan.right)
        kind = plan.kind
        if kind in (p.JoinKind.RIGHTSEMI, p.JoinKind.RIGHTANTI):
            left, right = right, left
        if kind is p.JoinKind.INNERUNIQUE:
            left = self.unique_rows(plan, left)
        values = {**left.values, **right.values}
        both = Layer(left.source, values, max(left.depth, right.depth))
        on = conjunction([self.pair(first, second, both) for first, second in plan.pairs])
        side, word = _JOINS[kind]
        both.joins = [exp.Join(this=right.source, side=side, kind=word, on=on)]
        for column, new in plan.filled:
            if new in plan.columns:
                both.add(new, self.filled(both.read(column)), cheap=True)
        both.closed = False
        return self.wrap(both, plan.columns)

    def side(self, plan: p.Plan) -> Layer:
        """One side of a join as a finished select."""
        return self.wrap(self.gen(plan), plan.columns)

    def pair(self, left: Expr, right: Expr, layer: Layer) -> exp.Expression:
        """One equality of a join."""
        with self.over(layer):
            return exp.EQ(this=self.render(left), expression=self.render(right))

    def unique_rows(self, plan: p.Join, left: Layer) -> Layer:
        """One row a key of the left side, as innerunique has it."""
        with self.over(left):
            keys = [self.render(first) for first, _ in plan.pairs]
        select = left.select(plan.left.columns)
        select.set("distinct", exp.Distinct(on=exp.Tuple(expressions=keys)))
        return self.from_select(select, plan.left.columns, left.depth)

    def union(self, plan: p.Union) -> Layer:
        """`UNION ALL`."""
        selects: list[exp.Query] = []
        depth = 0
        for side, values in plan.inputs:
            layer = self.ready(side)
            present = [column for column in plan.columns if column in values]
            layer, rendered = self.with_layer(layer, side, [values[column] for column in present])
            out = Layer(layer.source, {})
            depth = max(depth, layer.depth)
            out.where, out.joins = layer.where, layer.joins
            for column, sql in zip(present, rendered, strict=True):
                out.add(column, sql)
            for column in plan.columns:
                if column not in out.values:
                    out.add(column, self.literal(missing(column.type)))
            selects.append(out.select(plan.columns))
        # A balanced tree keeps many inputs from nesting deep.
        while len(selects) > 2:
            selects = [
                exp.Union(this=selects[i], expression=selects[i + 1], distinct=False)
                if i + 1 < len(selects)
                else selects[i]
                for i in range(0, len(selects), 2)
            ]
        query = selects[0]
        for select in selects[1:]:
            query = exp.Union(this=query, expression=select, distinct=False)
        return self.from_select(query, plan.columns, depth + len(plan.inputs).bit_length())

    def correlated(self, plan: p.Correlated) -> Layer:
        """A lateral join: the body reads the outer row."""
        outer = self.wrap(self.gen(plan.input), plan.input.columns)
        before, self._outer = self._outer, {**self._outer, **outer.values}
        known = set(self.shared)
        try:
            body = self.gen(plan.body)
            own = [column for column in plan.body.columns if column not in plan.input.columns]
            lateral = exp.Lateral(
                this=exp.Subquery(this=self._with_correlated(body.select(own), known)),
                alias=exp.TableAlias(this=exp.Identifier(this=self.fresh("t"), quoted=False)),
            )
        finally:
            self._outer = before
        values = {**outer.values, **{column: column_sql(column.sql_name) for column in own}}
        both = Layer(outer.source, values, max(outer.depth, body.depth))
        both.joins = [exp.Join(this=lateral)]
        return self.wrap(both, plan.columns)

    def _with_correlated(self, query: exp.Select, known: set[str]) -> exp.Select:
        """The body of a lateral join with those named queries of its own that read the outer row."""
        outer = {column.name for value in self._outer.values() for column in value.find_all(exp.Column)}
        moved: dict[str, exp.Query] = {}
        for name, select in self.shared.items():
            reads = {column.name for column in select.find_all(exp.Column)}
            tables = {table.name for table in select.find_all(exp.Table)}
            if name not in known and (reads & outer or tables & moved.keys()):
                moved[name] = select
        if moved:
            for name in moved:
                del self.shared[name]
            query.set("with_", self._named_queries(moved))
        return query

    def shared_rows(self, plan: p.Shared) -> Layer:
        """The rows of a plan that is computed once."""
        shared = plan.shared
        if shared.name not in self.shared:
            self.shared[shared.name] = self.gen(shared.plan).select(shared.plan.columns)
        source = exp.Table(
            this=exp.Identifier(this=shared.name, quoted=False),
            alias=exp.TableAlias(this=exp.Identifier(this=self.fresh("t"), quoted=False)),
        )
        values: dict[Column, exp.Expression] = {}
        for column, origin in zip(plan.columns, plan.origin, strict=True):
            values[column] = column_sql(origin.sql_name)
        return self.wrap(Layer(source, values), plan.columns)


_FROM_ONE_ROW = frozenset(["arg_max", "arg_min", "take_any", "any"])
_JOINS: dict[p.JoinKind, tuple[str | None, str | None]] = {
    p.JoinKind.INNER: (None, "INNER"),
    p.JoinKind.INNERUNIQUE: (None, "INNER"),
    p.JoinKind.LEFTOUTER: ("LEFT", None),
    p.JoinKind.RIGHTOUTER: ("RIGHT", None),
    p.JoinKind.FULLOUTER: ("FULL", None),
    p.JoinKind.LEFTSEMI: (None, "SEMI"),
    p.JoinKind.LEFTANTI: (None, "ANTI"),
    p.JoinKind.RIGHTSEMI: (None, "SEMI"),
    p.JoinKind.RIGHTANTI: (None, "ANTI"),
}

_NODES: dict[type[p.Plan], Callable[[Any, Any], Layer]] = {
    p.TableScan: Generator.table_scan,
    p.Rows: Generator.rows,
    p.Filter: Generator.filter,
    p.Compute: Generator.compute,
    p.Aggregate: Generator.aggregate,
    p.Limit: Generator.limit,
    p.Join: Generator.join,
    p.Union: Generator.union,
    p.Correlated: Generator.correlated,
    p.Shared: Generator.shared_rows,
    p.Rank: Generator.rank,
    p.Sequence: lambda self, plan: self.sequence(plan),
    p.Expand: lambda self, plan: self.expand(plan),
    p.Parse: lambda self, plan: self.parse(plan),
    p.SplitPairs: lambda self, plan: self.split_pairs(plan),
    p.Series: lambda self, plan: self.series(plan),
    p.MatchRows: lambda self, plan: self.match_rows(plan),
}
