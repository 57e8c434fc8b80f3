"""`make-series`: rows to bins, bins to arrays."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Expr
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.layers import Layer, column_sql, named, subquery
from headrace.kql.syntax.literals import MIN_DATETIME
from headrace.kql.types import KustoType

_T = KustoType
MAX_BINS = 1_000_000
"""The most bins of one series."""


def _group(select: exp.Select, keys: int, *, least: int) -> None:
    """Group by the first columns; without any, there is one group if it has at least so many rows."""
    if keys:
        select.set("group", exp.Group(expressions=[exp.Literal.number(i + 1) for i in range(keys)]))
    else:
        enough = exp.GTE(this=b.call("count", exp.Star()), expression=b.number(least))
        select.set("having", exp.Having(this=enough))


def _table(name: str) -> exp.Table:
    return exp.Table(this=exp.Identifier(this=name, quoted=False))


class SeriesGenerator(Generator):
    """Adds the node of `make-series`."""

    def series(self, plan: p.Series) -> Layer:
        """For each group a row with one array an aggregate, and the array of the axis."""
        keys = [column.sql_name for column, _ in plan.keys]
        place, binned = self.fresh("i"), self.fresh("b")
        self.shared[binned] = self._binned(plan, place)
        on: exp.Expression = exp.EQ(this=column_sql(f"g{place}"), expression=column_sql(place))
        for key in keys:
            same = exp.NullSafeEQ(this=column_sql(f"g{key}"), expression=column_sql(key))
            on = exp.And(this=on, expression=same)
        spread = self._spread(plan, keys, place, binned)
        select = exp.Select(
            expressions=[
                *(named(column_sql(f"g{key}"), key) for key in keys),
                *self._arrays(plan, place),
            ]
        ).from_(subquery(spread, self.fresh("t")))
        select.set("joins", [exp.Join(this=_table(binned), side="LEFT", on=on)])
        _group(select, len(keys), least=1)
        made = [*(c for c, _ in plan.keys), *(c for c, _, _ in plan.outputs), plan.axis_column]
        return self.from_select(select, made)

    def _spread(self, plan: p.Series, keys: list[str], place: str, binned: str) -> exp.Select:
        """A row for each bin of each group, under the names of the bins' rows after a `g`."""
        first, last = self.fresh("i"), self.fresh("i")
        groups = exp.Select(
            expressions=[
                *(column_sql(key) for key in keys),
                named(self._first_bin(plan, place), first),
                named(self._last_bin(plan, place), last),
            ]
        ).from_(_table(binned))
        _group(groups, len(keys), least=0 if plan.nonempty else 1)
        end = b.call("least", column_sql(last), b.add(column_sql(first), MAX_BINS))
        places = b.call("unnest", b.call("generate_series", column_sql(first), end))
        return exp.Select(
            expressions=[
                *(named(column_sql(key), f"g{key}") for key in keys),
                named(places, f"g{place}"),
            ]
        ).from_(subquery(groups, self.fresh("t")))

    def _arrays(self, plan: p.Series, place: str) -> Iterator[exp.Expression]:
        """The outputs' arrays, with the default for a bin without rows, and the axis'."""
        for column, value, default in plan.outputs:
            filled = exp.Case(
                ifs=[exp.If(this=b.is_null(column_sql(place)), true=self.render_alone(default))],
                default=self._over_bin(plan, value),
            )
            yield named(self._array(filled, value.type, place), column.sql_name)
        base = self._base(plan)
        step = self.render_alone(plan.step)
        type = plan.axis.type
        moment = b.cast(
            exp.Paren(this=b.add(base, b.multiply(column_sql(f"g{place}"), step))), b.SQL_TYPES[type]
        )
        yield named(self._array(moment, type, place), plan.axis_column.sql_name)

    def _over_bin(self, plan: p.Series, value: Expr) -> exp.Expression:
        """An output's value in a bin that has rows."""
        columns = [*(column for column, _ in plan.keys), *(c for made, _ in plan.aggregates for c in made)]
        layer = Layer(None, {column: column_sql(column.sql_name) for column in columns})
        with self.over(layer, hoists=None):
            return self.render(value)

    def _binned(self, plan: p.Series, place: str) -> exp.Select:
        """The aggregates of every bin that has rows."""
        values = [plan.axis, *(value for _, value in plan.keys)]
        arguments = [argument for _, applied in plan.aggregates for argument in applied.arguments]
        layer = self.ready(plan.input, *values, *arguments)
        layer, (axis, *keys) = self.with_layer(layer, plan.input, values)
        layer.where.append(b.is_not_null(axis.copy()))
        if plan.low is not None:
            layer.where.append(exp.GTE(this=axis.copy(), expression=self.render_alone(plan.low)))
        if plan.high is not None:
            layer.where.append(exp.LT(this=axis.copy(), expression=self.render_alone(plan.high)))
        items = [named(sql, column.sql_name) for (column, _), sql in zip(plan.keys, keys, strict=True)]
        offset = b.subtract(axis, self._base(plan))
        ratio = b.ratio(
            exp.Paren(this=b.cast(exp.Paren(this=offset), "DOUBLE")), self.render_alone(plan.step)
        )
        index: exp.Expression = b.cast(b.call("floor", ratio), "BIGINT")
        if plan.axis.type is not _T.REAL:
            index = b.whole(
                exp.Paren(this=b.floor_multiple(exp.Paren(this=offset.copy()), self.render_alone(plan.step))),
                self.render_alone(plan.step),
            )
        items.append(named(index, place))
        groups = [exp.Literal.number(i + 1) for i in range(len(items))]
        with self.over(layer):
            for columns, applied in plan.aggregates:
                made = zip(columns, self.several(applied), strict=True)
                items.extend(named(sql, column.sql_name) for column, sql in made)
        select = layer.select(())
        select.set("expressions", items)
        select.set("group", exp.Group(expressions=groups))
        return select

    def _base(self, plan: p.Series) -> exp.Expression:
        """Where bins count from: the given start, else the type's own zero."""
        if plan.low is not None:
            return self.render_alone(plan.low)
        return b.long(MIN_DATETIME) if plan.axis.type is _T.DATETIME else b.number(0)

    def _first_bin(self, plan: p.Series, place: str) -> exp.Expression:
        if plan.low is not None:
            return b.cast(b.number(0), "BIGINT")
        return b.call("min", column_sql(place))

    def _last_bin(self, plan: p.Series, place: str) -> exp.Expression:
        if plan.high is None:
            return b.call("max", column_sql(place))
        # The end is exclusive: the last bin begins before it.
        length = b.subtract(self.render_alone(plan.high), self._base(plan))
        ratio = b.ratio(
            exp.Paren(this=b.cast(exp.Paren(this=length), "DOUBLE")), self.render_alone(plan.step)
        )
        return b.cast(b.subtract(b.call("ceil", ratio), 1), "BIGINT")

    def _array(self, value: exp.Expression, type: KustoType, place: str) -> exp.Expression:
        """Values in the order of bins as the text of a JSON array."""
        text = self.convert(Typed(value, type), _T.DYNAMIC) if type is not _T.DYNAMIC else value
        order = exp.Order(
            expressions=[exp.Ordered(this=column_sql(f"g{place}"), desc=False, nulls_first=False)]
        )
        joined = exp.Anonymous(
            this="string_agg",
            expressions=[
                b.coalesce(text, "null"),
                exp.Order(this=b.text(","), expressions=order.expressions),
            ],
        )
        return b.call("concat", "[", joined, "]")
