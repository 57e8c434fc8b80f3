"""Lowerings of choices between values."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import DATETIME, DYNAMIC, STRING, TIMESPAN, to_dynamic_of


@lowers("iff")
def iff(arguments: Sequence[Typed]) -> exp.Expression:
    """A null condition counts as false."""
    condition, then, otherwise = (argument.sql for argument in arguments)
    return b.when(condition, then, otherwise)


@lowers("case")
def case(arguments: Sequence[Typed]) -> exp.Expression:
    """Conditions in turn; a null one counts as false."""
    pairs = [(arguments[index].sql, arguments[index + 1].sql) for index in range(0, len(arguments) - 1, 2)]
    return b.choose(pairs, arguments[-1].sql)


@lowers("coalesce")
def coalesce(arguments: Sequence[Typed]) -> exp.Expression:
    """Of strings the first that is not empty."""
    if arguments[0].type is STRING:
        given = [b.null_if(argument.sql, "") for argument in arguments]
        return b.coalesce(given[0], *given[1:], "")
    return b.coalesce(arguments[0].sql, *[argument.sql for argument in arguments[1:]])


def _extreme(name: str, arguments: Sequence[Typed]) -> exp.Expression:
    if arguments[0].type is DYNAMIC:
        return b.python(f"{name}_of", *[argument.sql for argument in arguments])
    return b.call("greatest" if name == "max" else "least", *[argument.sql for argument in arguments])


@lowers("max_of")
def max_of(arguments: Sequence[Typed]) -> exp.Expression:
    """Nulls are passed over."""
    return _extreme("max", arguments)


@lowers("min_of")
def min_of(arguments: Sequence[Typed]) -> exp.Expression:
    """Nulls are passed over."""
    return _extreme("min", arguments)


@lowers("around")
def around(arguments: Sequence[Typed]) -> exp.Expression:
    """Both ends included."""
    value, center, delta = arguments
    low, high = b.subtract(center.sql, delta.sql), b.add(b.again(center.sql), b.again(delta.sql))
    if value.type in (DATETIME, TIMESPAN):
        low, high = b.attempt(low), b.attempt(high)
    return exp.Between(this=b.wrap(value.sql), low=b.wrap(low), high=b.wrap(high))


@lowers("assert")
def assertion(arguments: Sequence[Typed]) -> exp.Expression:
    """Ends the statement with the message where the condition does not hold."""
    condition, message = arguments
    failure = b.cast(b.call("error", b.call("concat", "assert: ", message.sql)), "BOOLEAN")
    return b.when(condition.sql, b.true(), failure)


@lowers("array_iff")
def array_iff(arguments: Sequence[Typed]) -> exp.Expression:
    """Element by element; a choice that is no array stands for every element."""
    conditions, then, otherwise = arguments
    return b.python("array_iff", conditions.sql, to_dynamic_of(then), to_dynamic_of(otherwise))
