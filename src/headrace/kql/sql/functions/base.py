"""How declared functions become SQL: the typed expression, the context, and the table of lowerings.

Values inside a plan are held as follows. string: VARCHAR, never null. int, long, real, bool: INTEGER,
BIGINT, DOUBLE, BOOLEAN. datetime and timespan: BIGINT ticks of 100 ns (a datetime counts from 1970-01-01
UTC). guid: VARCHAR, lower case with dashes. decimal: DECIMAL(38, 12). dynamic: VARCHAR holding JSON text;
JSON null is SQL NULL, a string inside keeps its quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from headrace.kql.bind.functions.registry import Constant, Resolution
from headrace.kql.types import KustoType


@dataclass(frozen=True, slots=True)
class Typed:
    """A SQL expression, the Kusto type of its values, and its value where that is known at compile time."""

    sql: exp.Expression
    type: KustoType
    constant: Constant | None = None


class Context(Protocol):
    """What a lowering may ask of the statement it stands in."""

    def now(self) -> exp.Expression:
        """The statement's moment, in ticks."""
        ...

    def fresh(self, prefix: str = "x") -> str:
        """A name that no other part of the statement uses, for a lambda's parameter."""
        ...

    def hoist(self, expression: exp.Expression) -> exp.Expression:
        """A cheap expression of the same value: computed once a row in a select below where that is possible,
        else the expression itself. Window functions and costly shared values are hoisted."""
        ...

    def order(self) -> list[exp.Expression]:
        """The order expressions of the serialized rows, for window functions."""
        ...


Lowering = Callable[[Context, Sequence[Typed]], exp.Expression]
SeveralLowering = Callable[[Context, Sequence[Typed]], Sequence[exp.Expression]]

_LOWERINGS: dict[str, Lowering] = {}
_SEVERAL: dict[str, SeveralLowering] = {}
# Functions whose lowering sees the arguments' own types: the binder's target types are not applied first.
_RAW: set[str] = set()


def lowers(*names: str, raw: bool = False) -> Callable[[Lowering], Lowering]:
    """Register a lowering. It gets arguments already of the resolution's types, unless `raw`."""

    def register(lowering: Lowering) -> Lowering:
        for name in names:
            _LOWERINGS[name] = lowering
            if raw:
                _RAW.add(name)
        return lowering

    return register


def lowers_several(*names: str) -> Callable[[SeveralLowering], SeveralLowering]:
    """Register the lowering of an aggregate that makes several columns."""

    def register(lowering: SeveralLowering) -> SeveralLowering:
        for name in names:
            _SEVERAL[name] = lowering
        return lowering

    return register


def lowered_names() -> frozenset[str]:
    """The declared names (not aliases) that have a lowering."""
    return frozenset(_LOWERINGS) | frozenset(_SEVERAL)


def lower(context: Context, name: str, arguments: Sequence[Typed], resolution: Resolution) -> exp.Expression:
    """The SQL of a bound call with one result. `name` is the declared name, never an alias.

    Raises KeyError for a function that has no lowering (see `lowered_names`).
    """
    lowering = _LOWERINGS.get(name)
    if lowering is None:
        return _SEVERAL[name](context, brought(context, arguments, resolution))[0]
    if name in _RAW:
        return lowering(context, arguments)
    return lowering(context, brought(context, arguments, resolution))


def lower_several(
    context: Context, name: str, arguments: Sequence[Typed], resolution: Resolution
) -> tuple[exp.Expression, ...]:
    """The SQL of a bound call, one expression a result column."""
    several = _SEVERAL.get(name)
    if several is None:
        return (lower(context, name, arguments, resolution),)
    return tuple(several(context, brought(context, arguments, resolution)))


def brought(context: Context, arguments: Sequence[Typed], resolution: Resolution) -> list[Typed]:
    """The arguments converted to the types of the resolution."""
    from headrace.kql.sql.functions.convert import convert

    return [
        convert(context, argument, target)
        for argument, target in zip(arguments, resolution.arguments, strict=True)
    ]
