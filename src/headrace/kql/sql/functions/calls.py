"""From a bound call to its SQL: the arguments are brought to the resolution's types, then lowered."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.bind.functions.registry import Resolution
from headrace.kql.sql.functions.base import LOWERINGS, SEVERAL, Context, Typed
from headrace.kql.sql.functions.convert import convert


def lowered_names() -> frozenset[str]:
    """The declared names (not aliases) that have a lowering."""
    return frozenset(LOWERINGS) | frozenset(SEVERAL)


def lower(context: Context, name: str, arguments: Sequence[Typed], resolution: Resolution) -> exp.Expression:
    """The SQL of a bound call with one result. `name` is the declared name, never an alias.

    Raises KeyError for a function that has no lowering (see `lowered_names`).
    """
    brought = _brought(arguments, resolution)
    lowering = LOWERINGS.get(name)
    return lowering(context, brought) if lowering is not None else SEVERAL[name](brought)[0]


def lower_several(
    context: Context, name: str, arguments: Sequence[Typed], resolution: Resolution
) -> tuple[exp.Expression, ...]:
    """The SQL of a bound call, one expression a result column."""
    several = SEVERAL.get(name)
    if several is None:
        return (lower(context, name, arguments, resolution),)
    return tuple(several(_brought(arguments, resolution)))


def _brought(arguments: Sequence[Typed], resolution: Resolution) -> list[Typed]:
    return [
        convert(argument, target) for argument, target in zip(arguments, resolution.arguments, strict=True)
    ]
