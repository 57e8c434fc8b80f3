"""Choosing between values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headrace.kql.bind.functions.declare import (
    BOOL,
    DOCUMENTED,
    DYNAMIC,
    ORDERED,
    common,
    scalar,
    way,
    widest,
)
from headrace.kql.bind.functions.operators import condition_cure
from headrace.kql.bind.functions.registry import (
    Argument,
    Mismatch,
    Resolution,
)


def _chosen(arguments: Sequence[Argument], places: Sequence[int]) -> Resolution:
    """The values at `places` get one type, every other argument is a predicate."""
    kinds = [arguments[place].type for place in places]
    # A dynamic among typed values gives way to them.
    typed = [kind for kind in kinds if kind is not DYNAMIC]
    result = common(typed) if typed else DYNAMIC
    if result is None:
        names = ", ".join(dict.fromkeys(kind.value for kind in kinds))
        raise Mismatch(f"needs values of one type, not {names}", places[-1])
    types = []
    for index, argument in enumerate(arguments):
        if index in places:
            types.append(result)
        elif argument.type is BOOL or argument.untyped:
            types.append(BOOL)
        else:
            message = f"needs a bool as condition, not {argument.type}"
            raise Mismatch(message, index, condition_cure(argument.type))
    return Resolution(tuple(types), (result,))


def _iff(arguments: Sequence[Argument]) -> Resolution:
    return _chosen(arguments, (1, 2))


def _case(arguments: Sequence[Argument]) -> Resolution:
    if len(arguments) % 2 == 0:
        raise Mismatch("needs pairs of condition and value, and then a value for all the rest")
    return _chosen(arguments, (*range(1, len(arguments) - 1, 2), len(arguments) - 1))


def _all_common(arguments: Sequence[Argument]) -> Resolution:
    kind = widest(arguments)
    return Resolution(tuple(kind for _ in arguments), (kind,))


def _orderable(arguments: Sequence[Argument]) -> Resolution:
    for index, argument in enumerate(arguments):
        if argument.type not in ORDERED and not argument.untyped:
            raise Mismatch(f"cannot order {argument.type}", index)
    return _all_common(arguments)


def _array_iff(arguments: Sequence[Argument]) -> Resolution:
    return Resolution((DYNAMIC, arguments[1].type, arguments[2].type), (DYNAMIC,))


_listed = partial(scalar, family="conditional", transform=DOCUMENTED)
_extended = partial(scalar, family="conditional")

FUNCTIONS = (
    _listed(
        "iff",
        "The second value where the condition holds, else the third.",
        "if: bool, then: any, else: any",
        DYNAMIC,
        resolver=_iff,
        aliases=("iif",),
    ),
    _listed(
        "case",
        "The value after the first condition that holds, else the last value.",
        "condition: bool, then: any, more+: any",
        DYNAMIC,
        resolver=_case,
    ),
    _extended(
        "coalesce",
        "The first value that is not null or empty.",
        "value++: any",
        DYNAMIC,
        resolver=_all_common,
    ),
    _listed(
        "max_of", "The greatest value; nulls are passed over.", "value++: any", DYNAMIC, resolver=_orderable
    ),
    _listed(
        "min_of", "The least value; nulls are passed over.", "value++: any", DYNAMIC, resolver=_orderable
    ),
    _extended(
        "array_iff",
        "An array of choices, element by element.",
        "conditions: dynamic, then: any, else: any",
        DYNAMIC,
        resolver=_array_iff,
        aliases=("array_iif",),
    ),
    _extended(
        "around",
        "Whether a value lies within a distance of a centre.",
        "value: real, center: real, delta: real",
        BOOL,
        way("value: datetime, center: datetime, delta: timespan", BOOL),
        way("value: timespan, center: timespan, delta: timespan", BOOL),
    ),
    _extended(
        "assert",
        "True where the condition holds, else an error with the message.",
        "condition: bool, message: string",
        BOOL,
    ),
)
