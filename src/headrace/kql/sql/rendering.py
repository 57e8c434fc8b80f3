"""Expressions to SQL, and the context that function lowerings ask; plans are rendered in `base.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict, Unpack

from sqlglot import exp

from headrace.errors import Problem
from headrace.kql import model
from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Convert,
    Expr,
    InQuery,
    Literal,
    Nth,
    Ref,
    ScalarQuery,
)
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.functions.calls import lower, lower_several
from headrace.kql.sql.layers import Layer, column_sql, is_cheap
from headrace.kql.types import KustoType

_T = KustoType
MAX_RENDERED = 120_000
"""How many expressions one statement's SQL may come to."""


class _Surroundings(TypedDict, total=False):
    """What an expression stands in beside its layer: where costly parts are put, and the order of the rows."""

    hoists: list[tuple[str, exp.Expression]] | None
    order: tuple[p.OrderKey, ...]


class ExpressionGenerator:
    """Builds expressions over the layer at hand. It is also the context that function lowerings ask."""

    _outer: dict[Column, exp.Expression] = {}  # noqa: RUF012 - never changed in place

    def __init__(self, scans: model.ScanProvider, scan_of: Callable[[p.TableScan], model.Scan]) -> None:
        self.scans = scans
        self.scan_of = scan_of
        self.shared: dict[str, exp.Query] = {}
        self.recursive = False
        self.inlined: set[str] = set()
        self._names = 0
        self._rendered = 0
        self._order: tuple[p.OrderKey, ...] = ()
        self._layer: Layer | None = None
        self._hoists: list[tuple[str, exp.Expression]] | None = None

    # The context of lowerings.

    def now(self) -> exp.Expression:
        """The statement's moment; the binder puts it in, so nothing asks."""
        return exp.Null()

    def fresh(self, prefix: str = "x") -> str:
        """A name that nothing else in the statement has."""
        self._names += 1
        return f"{prefix}_{self._names}"

    def hoist(self, expression: exp.Expression) -> exp.Expression:
        """The expression computed in a select below, where one can be put there."""
        if self._hoists is None or is_cheap(expression):
            return expression
        text = expression
        for name, known in self._hoists:
            if known == text:
                return column_sql(name)
        name = self.fresh("h")
        self._hoists.append((name, expression))
        return column_sql(name)

    def order(self) -> list[exp.Expression]:
        """The order of the rows at hand."""
        assert self._layer is not None
        return self.order_sql(self._order, self._layer)

    @contextmanager
    def over(self, layer: Layer | None, **more: Unpack[_Surroundings]) -> Iterator[None]:
        """Let what is rendered inside read this layer; of its surroundings only what is given changes."""
        before = self._layer, self._hoists, self._order
        self._layer = layer
        self._hoists = more.get("hoists", self._hoists)
        self._order = more.get("order", self._order)
        try:
            yield
        finally:
            self._layer, self._hoists, self._order = before

    # Plans, which the subclass renders.

    def gen(self, plan: p.Plan) -> Layer:
        """The layer of a node."""
        raise NotImplementedError

    def wrap(self, layer: Layer, columns: Sequence[Column]) -> Layer:
        """A layer that reads the columns of another."""
        raise NotImplementedError

    def order_sql(self, keys: Sequence[p.OrderKey], layer: Layer) -> list[exp.Expression]:
        """Order expressions over a layer."""
        with self.over(layer):
            return [part for key in keys for part in self._ordered(key)]

    def _ordered(self, key: p.OrderKey) -> list[exp.Expression]:
        """A key's parts. What is no number stands beside the nulls, where the engine has it greatest."""
        value = self.render(key.value)
        if key.value.type is not _T.REAL or key.descending == key.nulls_first:
            return [exp.Ordered(this=value, desc=key.descending, nulls_first=key.nulls_first)]
        strange = exp.Anonymous(this="isnan", expressions=[value.copy()])
        number = exp.Case(ifs=[exp.If(this=strange, true=exp.Null())], default=value)
        return [
            exp.Ordered(this=number, desc=key.descending, nulls_first=key.nulls_first),
            exp.Ordered(this=strange.copy(), desc=not key.nulls_first, nulls_first=key.nulls_first),
        ]

    def filled(self, value: exp.Expression) -> exp.Expression:
        """A string that an outer join left null, as ""."""
        return exp.Coalesce(this=value, expressions=[exp.Literal.string("")])

    # Expressions.

    def render(self, expression: Expr) -> exp.Expression:
        """An expression over the layer at hand."""
        self._rendered += 1
        if self._rendered > MAX_RENDERED:
            message = "The query is too large once its functions and names are put in."
            raise model.KqlError(Problem("KQL0004", message))
        if isinstance(expression, Ref):
            return self.read(expression.column)
        if isinstance(expression, Literal):
            return self.literal(expression)
        if isinstance(expression, Apply):
            arguments = [self.argument(argument) for argument in expression.arguments]
            return lower(self, expression.function.name, arguments, expression.resolution)
        if isinstance(expression, Nth):
            return self.several(expression.call)[expression.place]
        if isinstance(expression, Convert):
            return self.convert(self.typed(expression.operand), expression.type)
        if isinstance(expression, ScalarQuery):
            return self.scalar_query(expression)
        if isinstance(expression, InQuery):
            return self.in_query(expression)
        raise TypeError(type(expression).__name__)

    def read(self, column: Column) -> exp.Expression:
        """A column of the layer at hand, or of the rows around it."""
        if self._layer is not None and column in self._layer.values:
            return self._layer.read(column)
        value = self._outer[column]
        return value.copy()

    def render_alone(self, expression: Expr) -> exp.Expression:
        """An expression that reads no columns."""
        with self.over(None, hoists=None):
            return self.render(expression)

    def typed(self, expression: Expr) -> Typed:
        """An expression as lowerings take it."""
        return Typed(self.render(expression), expression.type, expression.constant)

    def argument(self, expression: Expr) -> Typed:
        """An argument of a lowering, which may put it where no sub-query may stand."""
        typed = self.typed(expression)
        if isinstance(expression, ScalarQuery):
            return Typed(self.hoist(typed.sql), typed.type)
        return typed

    def several(self, applied: Apply) -> tuple[exp.Expression, ...]:
        """The columns of an aggregate."""
        arguments = [self.typed(argument) for argument in applied.arguments]
        made = tuple(lower_several(self, applied.function.name, arguments, applied.resolution))
        if applied.function.ordered and self._order:
            for expression in made:
                self.in_order(expression)
        return made

    def in_order(self, expression: exp.Expression) -> None:
        """Make the lists that an aggregate gathers follow the order of the rows."""
        for call in expression.find_all(exp.Anonymous):
            if call.name.lower() == "list":
                value = call.expressions[0]
                call.set("expressions", [exp.Order(this=value, expressions=self.order())])

    def literal(self, literal: Literal) -> exp.Expression:
        """A constant of its type."""
        raise NotImplementedError

    def convert(self, value: Typed, type: KustoType) -> exp.Expression:
        """A value brought to another type."""
        raise NotImplementedError

    def scalar_query(self, expression: ScalarQuery) -> exp.Expression:
        """A sub-query in the place of a value."""
        with self.over(None, hoists=None, order=()):
            select = self.gen(expression.plan).select([expression.column])
        value: exp.Expression = exp.Subquery(this=select)
        return self.filled(value) if expression.type is _T.STRING else value

    def in_query(self, expression: InQuery) -> exp.Expression:
        """Membership in a sub-query; a null is in no set, and no set's null makes `!in` null."""
        operand = self.render(expression.operand)
        with self.over(None, hoists=None, order=()):
            layer = self.gen(expression.plan)
            layer = self.wrap(layer, expression.plan.columns) if layer.closed else layer
            value = layer.read(expression.column)
            if expression.ignore_case:
                value, operand = exp.Lower(this=value), exp.Lower(this=operand)
            out = Layer(layer.source, {expression.column: value})
            out.where, out.joins = [*layer.where], layer.joins
            out.where.append(exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null())))
            select = out.select([expression.column])
        test: exp.Expression = exp.In(this=operand, query=exp.Subquery(this=select))
        return exp.Not(this=exp.Paren(this=test)) if expression.negated else exp.Paren(this=test)
