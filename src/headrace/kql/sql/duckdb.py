"""The DuckDB dialect: what `base.py` leaves to the engine."""

from __future__ import annotations

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column, Literal, columns_of
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions import convert as conversions
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.layers import Layer, column_sql, named, subquery
from headrace.kql.sql.matching_rows import MatchGenerator
from headrace.kql.sql.pairs import PairsGenerator
from headrace.kql.sql.parsing import ParsingGenerator
from headrace.kql.sql.series import SeriesGenerator
from headrace.kql.types import KustoType

_T = KustoType
MAX_SEQUENCE = 10_000_000
"""The most rows that `range` makes."""


class DuckDbGenerator(ParsingGenerator, PairsGenerator, SeriesGenerator, MatchGenerator, Generator):
    """Plans to DuckDB's SQL."""

    def ticks(self, timestamp: exp.Expression) -> exp.Expression:
        """Works on TIMESTAMP and TIMESTAMP WITH TIME ZONE alike."""
        return exp.Mul(this=b.call("epoch_us", timestamp), expression=exp.Literal.number(10))

    def literal(self, literal: Literal) -> exp.Expression:
        """A constant of its type."""
        return conversions.literal(literal.type, literal.value)

    def convert(self, value: Typed, type: KustoType) -> exp.Expression:
        """A value brought to another type."""
        return conversions.convert(value, type).sql

    def sequence(self, plan: p.Sequence) -> Layer:
        """`range`, by row numbers, so that reals and ticks do not drift."""
        low, high, step = (self.render_alone(value) for value in (plan.low, plan.high, plan.step))
        column = plan.columns[0] if plan.columns else Column(0, "", plan.low.type)
        type = column.type
        alias = self.fresh("t")
        place = column_sql(self.fresh("i"))
        bounds = exp.Select(
            expressions=[
                named(low, "low_"),
                named(high, "high_"),
                named(step, "step_"),
            ]
        )
        places = exp.Select(
            expressions=[
                column_sql("low_"),
                column_sql("step_"),
                named(
                    b.call("unnest", b.call("generate_series", b.number(0), _last_place(type))), place.name
                ),
            ]
        ).from_(subquery(bounds, self.fresh("t")))
        item = b.add(
            column_sql("low_"),
            b.multiply(b.cast(place, "BIGINT") if type is not _T.REAL else place, column_sql("step_")),
        )
        source = subquery(places, alias)
        layer = Layer(source, {})
        layer.add(column, b.cast(exp.Paren(this=item), b.SQL_TYPES[type]), cheap=False)
        return self.wrap(layer, [column])

    # mv-expand.

    def expand(self, plan: p.Expand) -> Layer:
        """`UNNEST` of the elements' lists side by side; shorter ones are filled with nulls."""
        reads = [item.value for item in plan.items]
        layer = self.gen(plan.input)
        if layer.closed or layer.expensive(
            c for value in reads for c in columns_of(value) if c in layer.values
        ):
            layer = self.wrap(layer, plan.input.columns)
        layer, values = self.with_layer(layer, plan.input, reads)
        kept = [column for column in plan.input.columns if column in layer.values]
        names = [self.fresh("e") for _ in values]
        lists = [self.elements(value, plan) for value in values]
        source = self.from_select(layer.extended(kept, zip(names, lists, strict=True)), kept, layer.depth)
        limit = self.row_count(plan.limit) if plan.limit is not None else None
        out = source.select(kept)
        if not kept:
            out.set("expressions", [])
        raw = [self.fresh("e") for _ in names]
        for name, element in zip(names, raw, strict=True):
            listed: exp.Expression = column_sql(name)
            if limit is not None:
                listed = b.call("list_slice", listed, b.number(1), limit.copy())
            out.append("expressions", named(b.call("unnest", listed), element))
        if plan.index is not None:
            lengths = [b.coalesce(b.call("len", column_sql(name)), 0) for name in names]
            longest = b.call("greatest", *lengths) if len(lengths) > 1 else lengths[0]
            if limit is not None:
                longest = b.call("least", longest, limit.copy())
            out.append("expressions", named(b.call("unnest", b.call("range", longest)), plan.index.sql_name))
        made = self.from_select(out, [*kept, *([plan.index] if plan.index is not None else [])], source.depth)
        for item, element in zip(plan.items, raw, strict=True):
            made.add(item.column, self.element(column_sql(element), item), cheap=item.type is _T.DYNAMIC)
        return made

    def elements(self, value: exp.Expression, plan: p.Expand) -> exp.Expression:
        """The elements of a dynamic as a list of JSON texts: an array's, a bag's properties, else itself."""
        name = self.fresh("k")
        key = b.name_(name)
        if plan.as_array:
            property_: exp.Expression = b.call(
                "concat", "[", b.call("to_json", key), ",", self.property_of(value, key), "]"
            )
        else:
            property_ = b.call("concat", "{", b.call("to_json", key), ":", self.property_of(value, key), "}")
        keys = b.call("list_transform", b.call("json_keys", value.copy()), b.lambda_(name, property_))
        kind = b.call("json_type", value.copy())
        items = b.call("json_extract", value.copy(), "$[*]")
        empty = (
            b.array([b.null("VARCHAR")])
            if plan.keep_empty
            else exp.Cast(this=b.array([]), to=b.data_type("VARCHAR[]"))
        )
        return b.choose(
            [
                (b.is_null(value.copy()), empty),
                (b.equals(kind, "ARRAY"), exp.Cast(this=items, to=b.data_type("VARCHAR[]"))),
                (b.equals(kind.copy(), "OBJECT"), exp.Cast(this=keys, to=b.data_type("VARCHAR[]"))),
            ],
            b.array([value.copy()]),
        )

    @staticmethod
    def property_of(value: exp.Expression, key: exp.Expression) -> exp.Expression:
        """A property of an object by a name that is only known on the row, as JSON text."""
        pointer = b.call(
            "concat",
            "/",
            b.call("replace", b.call("replace", key.copy(), "~", "~0"), "/", "~1"),
        )
        return b.coalesce(b.cast(b.call("json_extract", value.copy(), pointer), "VARCHAR"), "null")

    def element(self, text: exp.Expression, item: p.ExpandItem) -> exp.Expression:
        """An element as a value of the item's type; JSON null is null."""
        value = b.null_if(text, "null")
        if item.type is _T.DYNAMIC:
            return value
        converted = self.convert(Typed(value, _T.DYNAMIC), item.type)
        if item.type in (_T.LONG, _T.INT, _T.REAL, _T.BOOL, _T.DECIMAL):
            return b.when(
                b.equals(b.call("left", text.copy(), b.number(1)), '"'),
                b.null(b.SQL_TYPES[item.type]),
                converted,
            )
        return converted


def _last_place(type: KustoType) -> exp.Expression:
    """The number of the last value from `low_` to `high_` by `step_`, from 0; -1 where there is none."""
    span = b.subtract(column_sql("high_"), column_sql("low_"))
    if type is _T.REAL:
        steps: exp.Expression = b.cast(
            b.call("floor", b.ratio(exp.Paren(this=span), column_sql("step_"))), "BIGINT"
        )
    else:
        steps = b.whole(exp.Paren(this=span), column_sql("step_"))
    return b.when(
        exp.And(
            this=exp.NEQ(this=column_sql("step_"), expression=b.number(0)),
            expression=exp.GTE(
                this=exp.Paren(
                    this=b.multiply(exp.Paren(this=span.copy()), b.call("sign", column_sql("step_")))
                ),
                expression=b.number(0),
            ),
        ),
        b.call("least", steps, b.number(MAX_SEQUENCE)),
        b.number(-1),
    )


def storage_value(column: Column, value: exp.Expression) -> exp.Expression:
    """A column as tables hold it: a datetime as TIMESTAMP."""
    if column.type is not _T.DATETIME:
        return value
    if isinstance(value, exp.Mul) and isinstance(value.this, exp.Anonymous) and value.this.name == "epoch_us":
        return b.call("make_timestamp", value.this)
    return b.call("make_timestamp", b.call("divide", value, 10))
