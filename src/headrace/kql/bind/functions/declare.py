"""Short words for writing declarations: type sets, parameters and result rules."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.functions.registry import (
    Argument,
    Check,
    Function,
    Kind,
    Mismatch,
    Naming,
    Param,
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

    `?` optional, `*` any number of them, `+` one or more, `!` after the type a constant, `~` before
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
                at_least=1 if name.endswith("+") else 0,
                loose=loose,
            )
        )
    return tuple(made)


def way(text: str, result: KustoType | ResultRule) -> Signature:
    """One signature: its parameters as `params` reads them, and the result."""
    return Signature(params(text), result)


def scalar(
    name: str,
    doc: str,
    text: str,
    result: KustoType | ResultRule,
    *more: Signature,
    family: str,
    aliases: tuple[str, ...] = (),
    transform: Surface = EXTENDED,
    naming: Naming = Naming.COLUMN,
    prefix: str = "",
    check: Check | None = None,
) -> Function:
    """A plain scalar function with one signature or several."""
    return Function(
        name=name,
        kind=Kind.SCALAR,
        signatures=(way(text, result), *more),
        doc=doc,
        family=family,
        aliases=aliases,
        transform=transform,
        naming=naming,
        prefix=prefix,
        check=check,
    )


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
