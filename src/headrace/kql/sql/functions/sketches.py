"""Lowerings of sketches. A sketch is a dynamic array whose first element names its kind."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.aggregates import conditional_pair, filtered
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import DYNAMIC, STRING, converted, to_dynamic_of
from headrace.kql.sql.functions.direct import by_python
from headrace.kql.sql.functions.strings import constant_text
from headrace.kql.types import parse_type


def _hll(arguments: Sequence[Typed], condition: exp.Expression | None) -> exp.Expression:
    value = arguments[0]
    # md5 is the engine's only hash that is the same in every version, which stored sketches need.
    hashed = b.cast(b.call("md5_number_lower", b.as_text(value.sql)), "VARCHAR")
    listed = filtered(b.call("list", exp.Distinct(expressions=[hashed])), condition)
    accuracy = arguments[1].sql if len(arguments) > 1 else b.number(1)
    return b.python("hll", b.call("kql_list_json", listed), b.call("any_value", accuracy))


conditional_pair("hll", "hll_if", _hll)


@lowers("tdigest")
def tdigest(arguments: Sequence[Typed]) -> exp.Expression:
    """Values and weights, sorted and gathered by Python."""
    value = arguments[0]
    weight: exp.Expression = b.cast(arguments[1].sql, "VARCHAR") if len(arguments) > 1 else b.text("1")
    pair = b.call("concat", "[", b.as_text(value.sql), ",", b.coalesce(weight, "0"), "]")
    known = b.is_not_null(b.again(value.sql))
    listed = filtered(b.call("list", pair), known)
    return b.python("tdigest", b.text(value.type.value), b.call("kql_list_json", listed))


def _gathered(name: str) -> None:
    def aggregate(arguments: Sequence[Typed]) -> exp.Expression:
        return b.python(f"{name}_merge", b.call("kql_list_json", b.call("list", arguments[0].sql)))

    def scalar(arguments: Sequence[Typed]) -> exp.Expression:
        parts: list[exp.Expression] = [b.text("[")]
        for index, argument in enumerate(arguments):
            parts.extend([b.text("," if index else ""), b.coalesce(argument.sql, "null")])
        return b.python(f"{name}_merge", b.call("concat", *parts, b.text("]")))

    lowers(f"{name}_merge")(aggregate)
    lowers(f"__scalar_{name}_merge")(scalar)


_gathered("hll")
_gathered("tdigest")


@lowers("percentile_tdigest")
def percentile_tdigest(arguments: Sequence[Typed]) -> exp.Expression:
    """Of the sketch's own type, or of the one asked for."""
    found = b.python("percentile_tdigest", arguments[0].sql, arguments[1].sql)
    kind = parse_type(constant_text(arguments[2]) or "") if len(arguments) == 3 else None
    return found if kind is None else converted(found, DYNAMIC, kind)


@lowers("percentiles_array_tdigest")
def percentiles_array_tdigest(arguments: Sequence[Typed]) -> exp.Expression:
    """As an array; the elements have the sketch's own type, whichever type is asked for."""
    numbers = [argument for argument in arguments if argument.type is not STRING]
    return b.python("percentiles_tdigest", *[to_dynamic_of(argument) for argument in numbers])


by_python("dcount_hll", "rank_tdigest", "percentrank_tdigest")
