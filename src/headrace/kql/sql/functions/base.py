"""How declared functions become SQL: the typed expression, the context, and the tables of lowerings.

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

from headrace.kql.bind.functions.registry import Constant
from headrace.kql.sql.functions import build as b
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

    def hoist(self, expression: exp.Expression) -> exp.Expression:
        """A cheap expression of the same value: computed once a row in a select below where that is possible,
        else the expression itself. Window functions and costly shared values are hoisted."""
        ...

    def order(self) -> list[exp.Expression]:
        """The order expressions of the serialized rows, for window functions."""
        ...


Lowering = Callable[[Sequence[Typed]], exp.Expression]
"""The SQL of a call; the arguments have the types of its resolution already."""
ContextLowering = Callable[[Context, Sequence[Typed]], exp.Expression]
SeveralLowering = Callable[[Sequence[Typed]], Sequence[exp.Expression]]

LOWERINGS: dict[str, ContextLowering] = {}
SEVERAL: dict[str, SeveralLowering] = {}


def lowers(*names: str, opposite: str | None = None) -> Callable[[Lowering], Lowering]:
    """Register a lowering; `opposite` is the function that is NOT of it."""

    def register(lowering: Lowering) -> Lowering:
        for name in names:
            LOWERINGS[name] = lambda _, arguments: lowering(arguments)
        if opposite is not None:
            LOWERINGS[opposite] = lambda _, arguments: b.negation(lowering(arguments))
        return lowering

    return register


def lowers_in_context(*names: str) -> Callable[[ContextLowering], ContextLowering]:
    """Register a lowering that asks the statement it stands in."""

    def register(lowering: ContextLowering) -> ContextLowering:
        LOWERINGS.update(dict.fromkeys(names, lowering))
        return lowering

    return register


def lowers_several(*names: str) -> Callable[[SeveralLowering], SeveralLowering]:
    """Register the lowering of an aggregate that makes several columns."""

    def register(lowering: SeveralLowering) -> SeveralLowering:
        SEVERAL.update(dict.fromkeys(names, lowering))
        return lowering

    return register
