"""Aggregates: what `summarize` computes over a group of rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headrace.kql.bind.functions.checks import between
from headrace.kql.bind.functions.declare import (
    DYNAMIC,
    INT,
    LONG,
    MEASURES,
    NEVER,
    NUMBERS,
    ORDERED,
    REAL,
    declare,
    same,
    way,
)
from headrace.kql.bind.functions.registry import (
    Argument,
    Function,
    Kind,
    Mismatch,
    Naming,
    Resolution,
    Resolver,
    ResultRule,
)
from headrace.kql.types import KustoType

_aggregate = partial(declare, Kind.AGGREGATE, family="aggregates", transform=NEVER, naming=Naming.PREFIX)


def _promoted(arguments: Sequence[Argument]) -> KustoType:
    return LONG if arguments[0].type is INT else arguments[0].type


def _mean(arguments: Sequence[Argument]) -> KustoType:
    return REAL if arguments[0].type in (LONG, INT) else arguments[0].type


def _each(arguments: Sequence[Argument]) -> Resolution:
    types = tuple(argument.type for argument in arguments)
    return Resolution(types, types)


def _extreme(arguments: Sequence[Argument]) -> Resolution:
    """The first argument decides; the others come along."""
    kind = arguments[0].type
    if kind not in ORDERED and not arguments[0].untyped:
        raise Mismatch(f"cannot order {kind}", 0, "Convert it first, as by `tostring()` or `tolong()`.")
    return _each(arguments)


def _percentiles(first: int) -> Resolver:
    def resolve(arguments: Sequence[Argument]) -> Resolution:
        value = arguments[0].type
        if value not in MEASURES and not arguments[0].untyped:
            cure = "Convert it first, as by `tolong()`."
            raise Mismatch(f"takes numbers, datetimes or timespans, not {value}", 0, cure)
        value = {DYNAMIC: REAL, INT: LONG}.get(value, value)
        types = [value]
        for index, argument in enumerate(arguments[1:], 1):
            if argument.type not in NUMBERS:
                raise Mismatch(f"needs a number, not {argument.type}", index)
            if index >= first and argument.constant is None:
                raise Mismatch("needs a constant percentage", index)
            types.append(REAL if index >= first else LONG)
        return Resolution(tuple(types), tuple(value for _ in arguments[first:]))

    return resolve


def _pair(
    name: str, doc: str, text: str, result: KustoType | ResultRule, prefix: str = "", ordered: bool = False
) -> tuple[Function, Function]:
    """An aggregate, and its form that takes only the rows of a condition."""
    head, _, rest = text.partition(",")
    tail = f",{rest}" if rest else ""
    with_condition = {"make_list", "make_set", "make_bag", "take_any", "hll"}
    conditional = {"make_list": "make_list_if", "make_set": "make_set_if", "make_bag": "make_bag_if"}
    other = conditional.get(name, f"{name}if")
    other_prefix = prefix if name in with_condition else other
    return (
        _aggregate(name, doc, text, result, prefix=prefix or name, ordered=ordered),
        _aggregate(
            other,
            f"{doc.rstrip('.')}; of the rows where the condition holds.",
            f"{head}, condition: bool{tail}",
            result,
            prefix=other_prefix,
            ordered=ordered,
        ),
    )


def _two(name: str, doc: str) -> tuple[Function, Function]:
    return (
        _aggregate(name, doc, "x: real, y: real", REAL, naming=Naming.PAIR),
        _aggregate(
            f"{name}if",
            f"{doc} Of the rows where the condition holds.",
            "x: real, y: real, condition: bool",
            REAL,
            naming=Naming.PAIR,
        ),
    )


FUNCTIONS = (
    _aggregate(
        "count",
        "The number of rows, whatever a value in them is; those where a condition holds.",
        "",
        LONG,
        way("condition: bool", LONG),
        way("value: any", LONG),
    ),
    _aggregate("countif", "The number of rows where the condition holds.", "condition: bool", LONG),
    *_pair("sum", "The sum.", "value: summable", _promoted),
    *_pair("avg", "The mean of the values that are not null.", "value: measure", _mean),
    *_pair("min", "The least value.", "value: ordered", same()),
    *_pair("max", "The greatest value.", "value: ordered", same()),
    *_pair("stdev", "The standard deviation of a sample.", "value: real", REAL),
    *_pair("stdevp", "The standard deviation of the whole.", "value: real", REAL),
    *_pair("variance", "The variance of a sample.", "value: real", REAL),
    *_pair("variancep", "The variance of the whole.", "value: real", REAL),
    *_two("covariance", "The covariance of a sample."),
    *_two("covariancep", "The covariance of the whole."),
    _aggregate(
        "dcount",
        "About how many distinct values there are.",
        "value: any, accuracy?: long",
        LONG,
        check=between(1, "accuracy", 0, 4),
    ),
    _aggregate(
        "dcountif",
        "About how many distinct values the rows of a condition have.",
        "value: any, condition: bool, accuracy?: long",
        LONG,
        check=between(2, "accuracy", 0, 4),
    ),
    _aggregate("count_distinct", "How many distinct values there are, exactly.", "value: any", LONG),
    _aggregate(
        "count_distinctif",
        "How many distinct values the rows of a condition have, exactly.",
        "value: any, condition: bool",
        LONG,
    ),
    *_pair(
        "make_list",
        "An array of the values that are not null; arrays give their elements.",
        "value: any, size?: long!",
        DYNAMIC,
        "list",
        True,
    ),
    _aggregate(
        "make_list_with_nulls",
        "An array of all values, nulls included.",
        "value: any, size?: long!",
        DYNAMIC,
        prefix="list",
        ordered=True,
    ),
    *_pair(
        "make_set",
        "An array of the distinct values that are not null; arrays give their elements.",
        "value: any, size?: long!",
        DYNAMIC,
        "set",
    ),
    *_pair(
        "make_bag",
        "An object of all objects' keys; any one's value wins.",
        "value: dynamic, size?: long!",
        DYNAMIC,
        "bag",
    ),
    _aggregate(
        "makelist",
        "An old name of `make_list`, for at most 128 elements unless it is told otherwise.",
        "value: any, size?: long!",
        DYNAMIC,
        prefix="list",
        ordered=True,
    ),
    _aggregate(
        "make_dictionary",
        "An old name of `make_bag`, for at most 128 properties unless it is told otherwise.",
        "value: dynamic, size?: long!",
        DYNAMIC,
        prefix="dictionary",
    ),
    _aggregate(
        "makeset",
        "An old name of `make_set`, for at most 128 elements unless it is told otherwise.",
        "value: any, size?: long!",
        DYNAMIC,
        prefix="set",
    ),
    _aggregate(
        "buildschema", "A schema that fits all the values.", "value: dynamic", DYNAMIC, prefix="schema"
    ),
    _aggregate(
        "arg_max",
        "The values of the row that has the greatest first value.",
        "maximized: any, returned*: any",
        same(),
        naming=Naming.EACH,
        prefix="max",
        aliases=("argmax",),
        resolver=_extreme,
    ),
    _aggregate(
        "arg_min",
        "The values of the row that has the least first value.",
        "minimized: any, returned*: any",
        same(),
        naming=Naming.EACH,
        prefix="min",
        aliases=("argmin",),
        resolver=_extreme,
    ),
    _aggregate(
        "take_any",
        "The values of any row, one that is not null if there is one.",
        "value+: any",
        same(),
        naming=Naming.EACH,
        resolver=_each,
    ),
    _aggregate(
        "any",
        "The values of any row (an old name).",
        "value+: any",
        same(),
        naming=Naming.EACH,
        prefix="any",
        resolver=_each,
    ),
    _aggregate(
        "take_anyif",
        "A value of any row where the condition holds.",
        "value: any, condition: bool",
        same(),
        naming=Naming.FIRST,
    ),
    _aggregate(
        "anyif",
        "A value of any row where the condition holds (an old name).",
        "value: any, condition: bool",
        same(),
    ),
    _aggregate(
        "percentile",
        "The value below which that percentage of values lies.",
        "value: measure, percentage: number",
        same(),
        naming=Naming.PERCENTILE,
        resolver=_percentiles(1),
    ),
    _aggregate(
        "percentiles",
        "Several percentiles, a column each.",
        "value: measure, percentage+: number",
        same(),
        naming=Naming.PERCENTILE,
        prefix="percentile",
        resolver=_percentiles(1),
    ),
    _aggregate(
        "percentilew",
        "The percentile of weighted values.",
        "value: measure, weight: integer, percentage: number",
        same(),
        naming=Naming.PERCENTILE,
        prefix="percentile",
        resolver=_percentiles(2),
    ),
    _aggregate(
        "percentilesw",
        "Several percentiles of weighted values, a column each.",
        "value: measure, weight: integer, percentage+: number",
        same(),
        naming=Naming.PERCENTILE,
        prefix="percentile",
        resolver=_percentiles(2),
    ),
    _aggregate(
        "percentiles_array",
        "Several percentiles as an array.",
        "value: measure, percentages: dynamic!",
        DYNAMIC,
        way("value: measure, percentage+: real!", DYNAMIC),
        prefix="percentiles",
    ),
    _aggregate(
        "percentilesw_array",
        "Several percentiles of weighted values as an array.",
        "value: measure, weight: integer, percentages: dynamic!",
        DYNAMIC,
        way("value: measure, weight: integer, percentage+: real!", DYNAMIC),
        prefix="percentiles",
    ),
    _aggregate(
        "binary_all_and",
        "All values joined bit by bit with `and`.",
        "value: integer",
        same(),
        naming=Naming.FIRST,
    ),
    _aggregate(
        "binary_all_or",
        "All values joined bit by bit with `or`.",
        "value: integer",
        same(),
        naming=Naming.FIRST,
    ),
    _aggregate(
        "binary_all_xor",
        "All values joined bit by bit with `xor`.",
        "value: integer",
        same(),
        naming=Naming.FIRST,
    ),
    _aggregate(
        "hll",
        "A sketch of the distinct values.",
        "value: any, accuracy?: long",
        DYNAMIC,
        check=between(1, "accuracy", 0, 4),
    ),
    _aggregate(
        "hll_if",
        "A sketch of the distinct values of the rows of a condition.",
        "value: any, condition: bool, accuracy?: long",
        DYNAMIC,
        check=between(2, "accuracy", 0, 4),
    ),
    _aggregate("hll_merge", "One sketch of several.", "sketch: dynamic", DYNAMIC, prefix="hll_merge"),
    _aggregate("tdigest", "A sketch of the values' distribution.", "value: measure, weight?: long", DYNAMIC),
    _aggregate(
        "tdigest_merge",
        "One distribution sketch of several.",
        "sketch: dynamic",
        DYNAMIC,
        prefix="merge_tdigests",
        aliases=("merge_tdigest",),
    ),
)
