"""Choosing between values."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.functions.declare import (
    ANY,
    BOOL,
    DOCUMENTED,
    DYNAMIC,
    EXTENDED,
    ORDERED,
    common,
    scalar,
    way,
    widest,
)
from headrace.kql.bind.functions.operators import condition_cure
from headrace.kql.bind.functions.registry import (
    Argument,
    Function,
    Kind,
    Mismatch,
    Param,
    Resolution,
    Resolver,
    Signature,
    Surface,
)
from headrace.kql.types import KustoType


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


def _function(
    name: str,
    doc: str,
    params: tuple[Param, ...],
    resolver: Resolver,
    result: KustoType = DYNAMIC,
    aliases: tuple[str, ...] = (),
    transform: Surface = DOCUMENTED,
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        signatures=(Signature(params, result),),
        doc=doc,
        family="conditional",
        aliases=aliases,
        transform=transform,
        resolver=resolver,
    )


_VALUES = (Param("value", ANY, variadic=True, at_least=2),)

FUNCTIONS = (
    _function(
        "iff",
        "The second value where the condition holds, else the third.",
        (Param("if", (BOOL,)), Param("then", ANY), Param("else", ANY)),
        _iff,
        aliases=("iif",),
    ),
    _function(
        "case",
        "The value after the first condition that holds, else the last value.",
        (Param("condition", (BOOL,)), Param("then", ANY), Param("more", ANY, variadic=True, at_least=1)),
        _case,
    ),
    _function(
        "coalesce", "The first value that is not null or empty.", _VALUES, _all_common, transform=EXTENDED
    ),
    _function("max_of", "The greatest value; nulls are passed over.", _VALUES, _orderable),
    _function("min_of", "The least value; nulls are passed over.", _VALUES, _orderable),
    _function(
        "array_iff",
        "An array of choices, element by element.",
        (Param("conditions", (DYNAMIC,)), Param("then", ANY), Param("else", ANY)),
        _array_iff,
        aliases=("array_iif",),
        transform=EXTENDED,
    ),
    scalar(
        "around",
        "Whether a value lies within a distance of a centre.",
        "value: real, center: real, delta: real",
        BOOL,
        way("value: datetime, center: datetime, delta: timespan", BOOL),
        way("value: timespan, center: timespan, delta: timespan", BOOL),
        family="conditional",
    ),
    scalar(
        "assert",
        "True where the condition holds, else an error with the message.",
        "condition: bool, message: string",
        BOOL,
        family="conditional",
    ),
)
