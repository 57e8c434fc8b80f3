"""Lowerings of aggregates.

A condition becomes a FILTER. Where Kusto gives 0, the empty text or an empty array for a group without
values, so do these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from sqlglot import exp

from headrace.kql.bind.functions.registry import Constant
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers, lowers_several
from headrace.kql.sql.functions.convert import (
    BOOL,
    DATETIME,
    DECIMAL,
    DYNAMIC,
    LONG,
    REAL,
    STRING,
    TIMESPAN,
    to_dynamic_of,
)
from headrace.kql.sql.functions.strings import constant_long

MOST_ELEMENTS = 1_048_576


def filtered(aggregate: exp.Expression, condition: exp.Expression | None) -> exp.Expression:
    """The aggregate over the rows where the condition holds, over all of them if there is none."""
    if condition is None:
        return aggregate
    return exp.Filter(this=aggregate, expression=exp.Where(this=condition))


def _distinct(*expressions: exp.Expression) -> exp.Expression:
    return exp.Distinct(expressions=list(expressions))


Builder = Callable[[Sequence[Typed], exp.Expression | None], exp.Expression]


def conditional_pair(name: str, other: str, builder: Builder) -> None:
    """Register an aggregate and its form with a condition as second argument."""

    def plain(arguments: Sequence[Typed]) -> exp.Expression:
        return builder(arguments, None)

    def conditional(arguments: Sequence[Typed]) -> exp.Expression:
        return builder([arguments[0], *arguments[2:]], arguments[1].sql)

    lowers(name)(plain)
    lowers(other)(conditional)


@lowers("count")
def count(arguments: Sequence[Typed]) -> exp.Expression:
    """Rows, nulls included."""
    condition = arguments[0].sql if arguments and arguments[0].type is BOOL else None
    return filtered(b.call("count", exp.Star()), condition)


@lowers("countif")
def countif(arguments: Sequence[Typed]) -> exp.Expression:
    """Rows where the condition holds."""
    return filtered(b.call("count", exp.Star()), arguments[0].sql)


def _sum(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    argument = arguments[0]
    total = filtered(b.call("sum", argument.sql), condition)
    if argument.type is REAL:
        return b.coalesce(total, b.real(0.0))
    if argument.type is DECIMAL:
        return b.coalesce(b.try_cast(total, "DECIMAL"), b.cast(b.number(0), "DECIMAL"))
    # The engine sums in 128 bits.
    return b.try_cast(b.coalesce(total, 0), "BIGINT")


def _avg(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    argument = arguments[0]
    if argument.type in (DATETIME, TIMESPAN):
        total = filtered(b.call("sum", argument.sql), condition)
        amount = filtered(b.call("count", b.again(argument.sql)), _again(condition))
        return b.try_cast(b.whole(total, b.cast(b.null_if(amount, 0), "INT128")), "BIGINT")
    if argument.type is DECIMAL:
        total = filtered(b.call("sum", argument.sql), condition)
        amount = filtered(b.call("count", b.again(argument.sql)), _again(condition))
        return b.try_cast(b.ratio(total, b.null_if(amount, 0)), "DECIMAL")
    mean = filtered(b.call("avg", b.cast(argument.sql, "DOUBLE")), condition)
    return b.coalesce(mean, b.real(float("nan")))


def _again(expression: exp.Expression | None) -> exp.Expression | None:
    return expression.copy() if expression is not None else None


def _least(name: str) -> Builder:
    def build(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
        argument = arguments[0]
        made = filtered(b.call(name, argument.sql), condition)
        return b.coalesce(made, "") if argument.type is STRING else made

    return build


_MOST_SPREAD = 1e150
"""What the engine can square."""


def _spread(name: str) -> Builder:
    def build(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
        # Values beyond, infinities and NaN (the greatest to the engine) would end the query; here they give NaN.
        within = exp.LT(this=b.call("abs", arguments[0].sql), expression=b.real(_MOST_SPREAD))
        made = filtered(b.call(name, b.when(within, b.again(arguments[0].sql))), condition)
        beyond = filtered(b.call("bool_or", b.negation(within.copy())), _again(condition))
        nan = b.real(float("nan"))
        made = b.coalesce(made, nan.copy() if name.endswith("pop") else b.real(0.0))
        return b.when(beyond, nan, made)

    return build


conditional_pair("sum", "sumif", _sum)
conditional_pair("avg", "avgif", _avg)
conditional_pair("min", "minif", _least("min"))
conditional_pair("max", "maxif", _least("max"))
conditional_pair("stdev", "stdevif", _spread("stddev_samp"))
conditional_pair("stdevp", "stdevpif", _spread("stddev_pop"))
conditional_pair("variance", "varianceif", _spread("var_samp"))
conditional_pair("variancep", "variancepif", _spread("var_pop"))


def _covariance(name: str, engine: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        condition = arguments[2].sql if len(arguments) == 3 else None
        return filtered(b.call(engine, arguments[0].sql, arguments[1].sql), condition)

    lowers(name, f"{name}if")(lowering)


_covariance("covariance", "covar_samp")
_covariance("covariancep", "covar_pop")


def _count_distinct(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    return filtered(b.call("count", _distinct(arguments[0].sql)), condition)


# Exact: the answer is never worse than the estimate that Kusto documents.
conditional_pair("dcount", "dcountif", _count_distinct)
conditional_pair("count_distinct", "count_distinctif", _count_distinct)


def _size(arguments: Sequence[Typed]) -> int:
    known = constant_long(arguments[1]) if len(arguments) > 1 else None
    return MOST_ELEMENTS if known is None else max(0, min(known, MOST_ELEMENTS))


def _few(arguments: Sequence[Typed]) -> list[Typed]:
    """The arguments of an old name, whose arrays end at 128 elements unless it is told otherwise."""
    size = Typed(b.number(128), LONG, Constant(128))
    return [*arguments, size] if len(arguments) == 1 else list(arguments)


def _cut(listed: exp.Expression, arguments: Sequence[Typed]) -> exp.Expression:
    """The list's first elements, when a size is asked for, as a dynamic array."""
    if len(arguments) > 1:
        listed = b.call("list_slice", listed, 1, _size(arguments))
    return b.coalesce(b.call("kql_list_json", listed), "[]")


def _make_list(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    argument = arguments[0]
    if argument.type is STRING:
        listed = filtered(b.call("list", to_dynamic_of(argument)), condition)
        return _cut(listed, arguments)
    known = b.is_not_null(b.again(argument.sql))
    condition = known if condition is None else b.both(condition, known)
    listed = filtered(b.call("list", to_dynamic_of(argument)), condition)
    if argument.type is DYNAMIC:
        listed = b.call("kql_flat_list", listed)
    return _cut(listed, arguments)


def _make_set(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    argument = arguments[0]
    known = b.is_not_null(b.again(argument.sql)) if argument.type is not STRING else None
    if known is not None:
        condition = known if condition is None else b.both(condition, known)
    listed = filtered(b.call("list", _distinct(argument.sql)), condition)
    if argument.type is DYNAMIC:
        listed = b.call("list_distinct", b.call("kql_flat_list", listed))
    # In order, so that the same rows give the same text, and the same elements where not all are wanted.
    listed = b.call("list_sort", listed)
    if argument.type is not DYNAMIC:
        element = Typed(b.name_("e_"), argument.type)
        listed = b.call("list_transform", listed, b.lambda_("e_", to_dynamic_of(element)))
    return _cut(listed, arguments)


def _make_bag(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    listed = filtered(b.call("list", arguments[0].sql), condition)
    size = b.number(_size(arguments))
    return b.coalesce(b.python("make_bag", b.call("kql_list_json", listed), size), "{}")


conditional_pair("make_list", "make_list_if", _make_list)
conditional_pair("make_set", "make_set_if", _make_set)
conditional_pair("make_bag", "make_bag_if", _make_bag)


@lowers("makelist")
def makelist(arguments: Sequence[Typed]) -> exp.Expression:
    """An old name."""
    return _make_list(_few(arguments), None)


@lowers("makeset")
def makeset(arguments: Sequence[Typed]) -> exp.Expression:
    """An old name."""
    return _make_set(_few(arguments), None)


@lowers("make_dictionary")
def make_dictionary(arguments: Sequence[Typed]) -> exp.Expression:
    """An old name."""
    return _make_bag(_few(arguments), None)


@lowers("make_list_with_nulls")
def make_list_with_nulls(arguments: Sequence[Typed]) -> exp.Expression:
    """Nulls keep their places."""
    return _cut(b.call("list", to_dynamic_of(arguments[0])), arguments)


@lowers("buildschema")
def buildschema(arguments: Sequence[Typed]) -> exp.Expression:
    """Over all values of the group."""
    return b.python("buildschema", b.call("kql_list_json", b.call("list", arguments[0].sql)))


def _packed(arguments: Sequence[Typed]) -> exp.Expression:
    """One value a row that holds all the arguments, so that they come from the same row."""
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(f"v{index}"), expression=argument.sql)
        for index, argument in enumerate(arguments)
    ]
    return b.call("struct_pack", *fields)


def _unpacked(packed: exp.Expression, arguments: Sequence[Typed]) -> list[exp.Expression]:
    made = []
    for index, argument in enumerate(arguments):
        field = b.call("struct_extract", b.again(packed), f"v{index}")
        made.append(b.coalesce(field, "") if argument.type is STRING else field)
    return made


def _arg(name: str, engine: str, extreme: str) -> None:
    def several(arguments: Sequence[Typed]) -> Sequence[exp.Expression]:
        key = arguments[0]
        first = b.call(extreme, key.sql)
        first = b.coalesce(first, "") if key.type is STRING else first
        if len(arguments) == 1:
            return [first]
        # Where every key is null, any row answers.
        order = b.again(key.sql)
        packed = b.call(engine, _packed(arguments[1:]), order)
        if key.type is not STRING:
            packed = b.coalesce(packed, b.call("any_value", _packed(_copies(arguments[1:]))))
        return [first, *_unpacked(packed, arguments[1:])]

    lowers_several(name)(several)


def _copies(arguments: Sequence[Typed]) -> list[Typed]:
    return [Typed(b.again(argument.sql), argument.type, argument.constant) for argument in arguments]


_arg("arg_max", "arg_max", "max")
_arg("arg_min", "arg_min", "min")


@lowers_several("take_any", "any")
def take_any(arguments: Sequence[Typed]) -> Sequence[exp.Expression]:
    """One argument: a value that is not null if there is one. Several: all from one row."""
    if len(arguments) == 1:
        made = b.call("any_value", arguments[0].sql)
        return [b.coalesce(made, "") if arguments[0].type is STRING else made]
    return _unpacked(b.call("any_value", _packed(arguments)), arguments)


@lowers("take_anyif", "anyif")
def take_anyif(arguments: Sequence[Typed]) -> exp.Expression:
    """A value of the rows where the condition holds."""
    made = filtered(b.call("any_value", arguments[0].sql), arguments[1].sql)
    return b.coalesce(made, "") if arguments[0].type is STRING else made


def _percentage(argument: Typed) -> float:
    value = argument.constant.value if argument.constant is not None else None
    return min(max(float(value or 0), 0.0), 100.0)


def _share(percentage: float) -> float:
    """The percentage as a share, without the binary remainder that would push a rank up by one."""
    return round(percentage / 100, 12)


def _percentile(value: Typed, percentage: float) -> exp.Expression:
    """The nearest rank: the least value that at least that share of values does not exceed."""
    return b.call("quantile_disc", b.again(value.sql), b.real(_share(percentage)))


@lowers("percentile")
def percentile(arguments: Sequence[Typed]) -> exp.Expression:
    """Nearest rank."""
    return _percentile(arguments[0], _percentage(arguments[1]))


@lowers_several("percentiles")
def percentiles(arguments: Sequence[Typed]) -> Sequence[exp.Expression]:
    """One sort for all of them."""
    shares = [_share(_percentage(argument)) for argument in arguments[1:]]
    listed = b.call("quantile_disc", arguments[0].sql, b.array([b.real(share) for share in shares]))
    if len(shares) == 1:
        return [b.call("list_extract", listed, 1)]
    return [b.call("list_extract", b.again(listed), index + 1) for index in range(len(shares))]


def _shares(arguments: Sequence[Typed]) -> list[float]:
    first = arguments[0]
    if first.type is DYNAMIC:
        parsed = json.loads(str(first.constant.value)) if first.constant is not None else []
        numbers = parsed if isinstance(parsed, list) else [parsed]
        return [min(max(float(item), 0.0), 100.0) for item in numbers if isinstance(item, int | float)]
    return [_percentage(argument) for argument in arguments]


@lowers("percentiles_array")
def percentiles_array(arguments: Sequence[Typed]) -> exp.Expression:
    """As a dynamic array."""
    shares = [b.real(_share(share)) for share in _shares(arguments[1:])]
    listed = b.call("quantile_disc", arguments[0].sql, b.array(shares))
    return _array_of(listed, arguments[0])


def _array_of(listed: exp.Expression, sample: Typed) -> exp.Expression:
    name = "kql_e"
    body = to_dynamic_of(Typed(b.name_(name), sample.type))
    return b.call("kql_list_json", b.call("list_transform", listed, b.lambda_(name, body)))


def _weighted(value: Typed, weight: Typed, shares: Sequence[float]) -> exp.Expression:
    """Nearest rank by weight: the values and weights, sorted by value, as JSON for Python to walk."""
    pair = b.call(
        "concat",
        "[",
        b.coalesce(b.cast(value.sql, "VARCHAR"), "null"),
        ",",
        b.cast(weight.sql, "VARCHAR"),
        "]",
    )
    listed = b.call("kql_list_json", b.call("list", pair))
    return b.python("percentiles_weighted", listed, b.text(json.dumps(list(shares))))


@lowers_several("percentilesw")
def percentilesw(arguments: Sequence[Typed]) -> Sequence[exp.Expression]:
    """See `_weighted`."""
    shares = [_percentage(argument) for argument in arguments[2:]]
    made = _weighted(arguments[0], arguments[1], shares)
    kind = b.SQL_TYPES[arguments[0].type]
    return [
        b.try_cast(b.call("json_extract_string", b.again(made), f"$[{index}]"), kind)
        for index in range(len(shares))
    ]


@lowers("percentilew")
def percentilew(arguments: Sequence[Typed]) -> exp.Expression:
    """See `_weighted`."""
    return percentilesw(arguments)[0]


@lowers("percentilesw_array")
def percentilesw_array(arguments: Sequence[Typed]) -> exp.Expression:
    """See `_weighted`."""
    return _weighted(arguments[0], arguments[1], _shares(arguments[2:]))


def _bits(name: str, engine: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        return b.call(engine, arguments[0].sql)

    lowers(name)(lowering)


_bits("binary_all_and", "bit_and")
_bits("binary_all_or", "bit_or")
_bits("binary_all_xor", "bit_xor")
