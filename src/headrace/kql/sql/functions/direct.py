"""Lowerings that are one call, of a function of the engine or of Python."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Lowering, Typed, lowers
from headrace.kql.sql.functions.convert import DECIMAL, DYNAMIC, GUID, STRING, to_dynamic_of
from headrace.kql.types import KustoType


def by_engine(*names: str, **others: str) -> None:
    """Register functions that the engine has under the declared names, or under other ones."""
    for name, engine in {**dict(zip(names, names, strict=True)), **others}.items():
        lowers(name)(_engine_call(engine))


def _engine_call(name: str) -> Lowering:
    return lambda arguments: b.call(name, *[argument.sql for argument in arguments])


def by_python(*names: str, json: bool = False) -> None:
    """Register functions that Python has under the declared names (see `udf`).

    The declared result says how the text that Python answers is read. With `json` every argument goes as JSON text.
    """
    for name in names:
        lowers(name)(_python_call(name, _result(name), json=json))


def _python_call(name: str, result: KustoType, *, json: bool) -> Lowering:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        given = [to_dynamic_of(argument) if json else argument.sql for argument in arguments]
        return _read(b.python(name, *given), result)

    return lowering


def _result(name: str) -> KustoType:
    function = FUNCTIONS.find(name)
    assert function is not None
    result = function.signatures[0].result
    assert isinstance(result, KustoType)
    return result


def _read(made: exp.Expression, kind: KustoType) -> exp.Expression:
    """A text that Python made as a value of its type."""
    if kind is STRING:
        return b.coalesce(made, "")
    if kind in (DYNAMIC, GUID):
        return made
    return b.try_cast(made, "DECIMAL") if kind is DECIMAL else b.cast(made, b.SQL_TYPES[kind])
