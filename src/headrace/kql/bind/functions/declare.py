"""Short words for writing declarations: type sets, parameters and result rules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypedDict, Unpack

from headrace.kql.bind.functions.registry import (
    Argument,
    Check,
    Function,
    Kind,
    Mismatch,
    Naming,
    Param,
    Resolver,
    ResultRule,
    Signature,
    Surface,
    conversion,
)
from headrace.kql.types import KustoType

STRING, INT, LONG, REAL = KustoType.STRING, KustoType.INT, KustoType.LONG, KustoType.REAL
BOOL, DATETIME, TIMESPAN = KustoType.BOOL, KustoType.DATETIME, KustoType.TIMESPAN
DYNAMIC, GUID, DECIMAL = KustoType.DYNAMIC, KustoType.GUID, KustoType.DECIMAL

INTEGERS = (LONG, INT)
NUMBERS = (REAL, LONG, INT, DECIMAL)
SUMMABLE = (REAL, LONG, INT, DECIMAL, TIMESPAN)
MEASURES = (REAL, LONG, INT, DECIMAL, TIMESPAN, DATETIME)
SCALARS = (STRING, LONG, INT, REAL, BOOL, DATETIME, TIMESPAN, GUID, DECIMAL)
ORDERED = (*MEASURES, BOOL, STRING)
ANY = (STRING, LONG, INT, REAL, BOOL, DATETIME, TIMESPAN, GUID, DECIMAL, DYNAMIC)
TEXTS = (STRING, DYNAMIC)

DOCUMENTED, EXTENDED, NEVER = Surface.DOCUMENTED, Surface.EXTENDED, Surface.NEVER

_TYPE_WORDS = {
    **{kind.value: (kind,) for kind in KustoType},
    "number": NUMBERS,
    "integer": INTEGERS,
    "summable": SUMMABLE,
    "measure": MEASURES,
    "ordered": ORDERED,
    "scalar": SCALARS,
    "any": ANY,
    "text": TEXTS,
}


def params(text: str) -> tuple[Param, ...]:
    """Parameters from a line such as `"source: string, start: long!, length?: long, rest*: any"`.

    `?` optional, `*` any number of them, `+` one or more, `++` two or more, `!` after the type a constant, `~` before
    it: a value of any other type is converted; `|` joins types.
    """
    made = []
    for piece in (part.strip() for part in text.split(",") if part.strip()):
        name, _, kinds = (word.strip() for word in piece.partition(":"))
        constant, loose = kinds.endswith("!"), kinds.startswith("~")
        words = kinds.strip("~!").split("|")
        types = tuple(kind for word in words for kind in _TYPE_WORDS[word.strip()])
        made.append(
            Param(
                name.rstrip("?*+"),
                types,
                optional=name.endswith("?"),
                variadic=name[-1] in "*+",
                constant=constant,
                at_least=name.count("+"),
                loose=loose,
            )
        )
    return tuple(made)


def way(text: str, result: KustoType | ResultRule) -> Signature:
    """One signature: its parameters as `params` reads them, and the result."""
    return Signature(params(text), result)


class Traits(TypedDict, total=False):
    """What a declaration may say beside its signatures: see `Function`."""

    family: str
    aliases: tuple[str, ...]
    transform: Surface
    naming: Naming
    prefix: str
    volatile: bool
    context: bool
    ordered: bool
    resolver: Resolver
    columns: tuple[tuple[str, KustoType], ...]
    rewritten: bool
    check: Check | None


def declare(
    kind: Kind,
    name: str,
    doc: str,
    text: str,
    result: KustoType | ResultRule,
    *more: Signature,
    **traits: Unpack[Traits],
) -> Function:
    """A function with one signature (`text` and `result`, see `way`) or several."""
    return Function(name=name, kind=kind, signatures=(way(text, result), *more), doc=doc, **traits)


scalar = partial(declare, Kind.SCALAR)
"""A plain function: a value of values."""


def same(index: int = 0) -> ResultRule:
    """The result has the type of the argument of that index."""
    return lambda arguments: arguments[index].type


def common(types: Sequence[KustoType]) -> KustoType | None:
    """The type that all of `types` can be brought to without a loss, as Kusto's `case` and `coalesce` do."""
    result = types[0]
    for kind in types[1:]:
        if kind is result:
            continue
        if DYNAMIC in (kind, result):
            return None
        forward, backward = conversion(kind, (result,)), conversion(result, (kind,))
        if forward is None and backward is None:
            return None
        if forward is None or (backward is not None and kind is DECIMAL):
            result = kind
    return result


def widest(arguments: Sequence[Argument]) -> KustoType:
    """The common type of all arguments. Raises `Mismatch`."""
    found = common([argument.type for argument in arguments])
    if found is None:
        names = ", ".join(dict.fromkeys(argument.type.value for argument in arguments))
        dynamic = any(argument.type is DYNAMIC for argument in arguments)
        cure = "Convert what is dynamic, as by `tostring()`." if dynamic else None
        raise Mismatch(f"needs arguments of one type, not {names}", cure=cure)
    return found
