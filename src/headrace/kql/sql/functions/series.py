"""Lowerings of series functions: each is one call of Python over the whole array."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.bind.functions import series as declared
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Context, Typed, lowers
from headrace.kql.sql.functions.convert import REAL, to_dynamic_of


def _register(name: str, *, real: bool) -> None:
    def lowering(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
        made = b.python(name, *[to_dynamic_of(argument) for argument in arguments])
        return b.cast(made, "DOUBLE") if real else made

    lowers(name)(lowering)


for _function in declared.FUNCTIONS:
    _register(_function.name, real=_function.signatures[0].result is REAL)
