"""Operators: arithmetic, comparison, logic, text matching and member access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from headrace.kql.bind.functions.declare import (
    BOOL,
    DATETIME,
    DECIMAL,
    DOCUMENTED,
    DYNAMIC,
    GUID,
    INT,
    LONG,
    NUMBERS,
    REAL,
    STRING,
    TIMESPAN,
    scalar,
)
from headrace.kql.bind.functions.registry import (
    Argument,
    Function,
    Mismatch,
    Resolution,
    Resolver,
    conversion_cure,
)
from headrace.kql.types import KustoType

_listed = partial(scalar, family="operators", transform=DOCUMENTED)
_extended = partial(scalar, family="operators")
_Pairs = Mapping[tuple[KustoType, KustoType], KustoType]

_ADD: _Pairs = {
    (TIMESPAN, TIMESPAN): TIMESPAN,
    (DATETIME, TIMESPAN): DATETIME,
    (TIMESPAN, DATETIME): DATETIME,
}
_SUBTRACT: _Pairs = {
    (TIMESPAN, TIMESPAN): TIMESPAN,
    (DATETIME, DATETIME): TIMESPAN,
    (DATETIME, TIMESPAN): DATETIME,
}
_MULTIPLY: _Pairs = {(TIMESPAN, REAL): TIMESPAN, (REAL, TIMESPAN): TIMESPAN}
_DIVIDE: _Pairs = {
    (TIMESPAN, TIMESPAN): REAL,
    (TIMESPAN, REAL): TIMESPAN,
    (DATETIME, TIMESPAN): REAL,
    (DATETIME, DATETIME): REAL,
}
_MODULO: _Pairs = {
    (TIMESPAN, TIMESPAN): TIMESPAN,
    (DATETIME, TIMESPAN): TIMESPAN,
    (TIMESPAN, REAL): TIMESPAN,
}

_WIDTH = {INT: 0, LONG: 1, REAL: 2, DECIMAL: 3}


def widest_number(left: KustoType, right: KustoType) -> KustoType:
    """The type of arithmetic over two numbers: the wider of the two, and never less than long."""
    return max(left, right, LONG, key=_WIDTH.__getitem__)


def _arithmetic(symbol: str, pairs: _Pairs) -> Resolver:
    def resolve(arguments: Sequence[Argument]) -> Resolution:
        left, right = arguments[0].type, arguments[1].type
        if left is DYNAMIC and right is DYNAMIC:
            return Resolution((DYNAMIC, DYNAMIC), (DYNAMIC,))
        # A dynamic beside a typed value is taken as that type; beside an int as long.
        if left is DYNAMIC:
            left = _partner(symbol, right, first=False)
        elif right is DYNAMIC:
            right = _partner(symbol, left, first=True)
        if left in NUMBERS and right in NUMBERS:
            width = widest_number(left, right)
            return Resolution((width, width), (width,))
        # A time keeps its ticks; the number beside it is taken as a real.
        asked = (REAL if left in NUMBERS else left, REAL if right in NUMBERS else right)
        result = pairs.get(asked)
        if result is None:
            raise Mismatch(f"cannot be applied to {arguments[0].type} and {arguments[1].type}")
        return Resolution(asked, (result,))

    return resolve


def _partner(symbol: str, other: KustoType, *, first: bool) -> KustoType:
    if other is INT:
        return LONG
    if other is DATETIME and symbol == "-":
        return TIMESPAN if first else DATETIME
    if other is DATETIME and symbol == "+":
        return TIMESPAN
    return other


def _equality(arguments: Sequence[Argument]) -> Resolution:
    left, right = arguments[0].type, arguments[1].type
    kind = comparison_type(left, right)
    if kind is None:
        raise Mismatch(f"cannot compare {left} with {right}", cure=_comparison_cure(left, right))
    return Resolution((kind, kind), (BOOL,))


def _ordering(arguments: Sequence[Argument]) -> Resolution:
    """What is before what: of numbers and times; texts and guids are only equal or not."""
    left, right = arguments[0].type, arguments[1].type
    if left is STRING and right is STRING:
        raise Mismatch("cannot compare string with string", cure="Write `strcmp(a, b) < 0`.")
    resolution = _equality(arguments)
    if resolution.arguments[0] in (STRING, GUID):
        raise Mismatch(f"cannot compare {left} with {right}", cure=_comparison_cure(left, right))
    return resolution


def _comparison_cure(left: KustoType, right: KustoType) -> str | None:
    """How two types can be brought together, for a hint."""
    if {left, right} == {DATETIME, TIMESPAN}:
        return "For a time that long ago write `ago(...)`."
    if {left, right} <= {STRING, GUID, DYNAMIC}:
        return "Convert both to a number or a time, or compare texts by `strcmp()`."
    if STRING in (left, right) and DATETIME not in (left, right):
        other = right if left is STRING else left
        return f"Convert one of them, as by `to{other}()` or `tostring()`."
    return None


def comparison_type(left: KustoType, right: KustoType) -> KustoType | None:
    """The type two values are compared in, None if they cannot be. A dynamic follows its partner.

    A guid meets a string as text: in a workspace's tables a guid is a label of strings.
    """
    if left is right:
        return left
    if left is DYNAMIC:
        return right
    if right is DYNAMIC:
        return left
    if {left, right} == {GUID, STRING}:
        return STRING
    if {left, right} <= {*NUMBERS, BOOL}:
        pair = {LONG if kind is BOOL else kind for kind in (left, right)}
        if pair == {REAL, DECIMAL}:
            return REAL
        return max(pair, key=_WIDTH.__getitem__)
    return None


def _list(arguments: Sequence[Argument]) -> Resolution:
    """The value and each element: all brought to one type, dynamic arrays kept to be spread."""
    value = arguments[0].type
    types = [value]
    for index, argument in enumerate(arguments[1:], 1):
        if argument.type is DYNAMIC:
            types.append(DYNAMIC)
            continue
        kind = comparison_type(value, argument.type)
        if kind is None:
            raise Mismatch(f"cannot compare {value} with {argument.type}", index)
        types.append(kind if value is not DYNAMIC else argument.type)
    return Resolution(tuple(types), (BOOL,))


def _between(arguments: Sequence[Argument]) -> Resolution:
    value, low, high = (argument.type for argument in arguments)
    if value is DATETIME and low is DATETIME and high is TIMESPAN:
        return Resolution((DATETIME, DATETIME, TIMESPAN), (BOOL,))
    kind = comparison_type(value, low)
    kind = comparison_type(kind, high) if kind is not None else None
    if kind in (None, BOOL, STRING, GUID):
        raise Mismatch(f"cannot tell whether {value} lies between {low} and {high}")
    assert kind is not None
    return Resolution((kind, kind, kind), (BOOL,))


def _negate(arguments: Sequence[Argument]) -> Resolution:
    kind = arguments[0].type
    if kind is DYNAMIC:
        return Resolution((DYNAMIC,), (DYNAMIC,))
    if kind not in (*NUMBERS, TIMESPAN):
        raise Mismatch(f"cannot be applied to {kind}", 0)
    result = LONG if kind is INT and arguments[0].constant is None else kind
    return Resolution((result,), (result,))


def _texts() -> list[Function]:
    made = []
    listed = {"has", "contains", "startswith", "endswith"}
    docs = {
        "has": "the text holds the term",
        "contains": "the text holds the other text anywhere",
        "startswith": "the text starts with the other text",
        "endswith": "the text ends with the other text",
        "hasprefix": "a term of the text starts with the other text",
        "hassuffix": "a term of the text ends with the other text",
    }
    for word, doc in docs.items():
        for suffix, how in (("", "in any case"), ("_cs", "in the same case")):
            declare = _listed if word in listed else _extended
            for no, start in (("", "Whether"), ("not_", "Whether it is not so that")):
                made.append(
                    declare(
                        f"__{no}{word}{suffix}",
                        f"{start} {doc}, {how}.",
                        "text: text, search: string",
                        BOOL,
                    )
                )
    return made


def _logic(arguments: Sequence[Argument]) -> Resolution:
    for index, argument in enumerate(arguments):
        if argument.type not in (BOOL, DYNAMIC):
            raise Mismatch(f"needs a bool, not {argument.type}", index, condition_cure(argument.type))
    return Resolution(tuple(BOOL for _ in arguments), (BOOL,))


def condition_cure(type: KustoType) -> str | None:
    """How a value is made a condition, for a hint."""
    if type is DYNAMIC:
        return conversion_cure([BOOL])
    if type is STRING:
        return "Compare it, or ask `isnotempty()`."
    return "Compare it, as with `!= 0`." if type in NUMBERS else None


def _index(arguments: Sequence[Argument]) -> Resolution:
    if arguments[0].type is not DYNAMIC:
        raise Mismatch(
            f"only a dynamic has members, this is {arguments[0].type}"
            + (": parse it first with `parse_json`" if arguments[0].type is STRING else ""),
            0,
        )
    key = arguments[1].type
    if key not in (STRING, LONG, INT, DYNAMIC, REAL):
        raise Mismatch(f"an index is a string or a long, not {key}", 1)
    return Resolution((DYNAMIC, LONG if key in (INT, REAL) else key), (DYNAMIC,))


_BOTH = "left: any, right: any"
_LIST = "value: any, element*: any"

FUNCTIONS = (
    _listed("__add", "The sum.", _BOTH, BOOL, resolver=_arithmetic("+", _ADD)),
    _listed("__subtract", "The difference.", _BOTH, BOOL, resolver=_arithmetic("-", _SUBTRACT)),
    _listed("__multiply", "The product.", _BOTH, BOOL, resolver=_arithmetic("*", _MULTIPLY)),
    _listed(
        "__divide",
        "The quotient; of two integers an integer, cut towards zero.",
        _BOTH,
        BOOL,
        resolver=_arithmetic("/", _DIVIDE),
    ),
    _listed("__modulo", "The remainder, never negative.", _BOTH, BOOL, resolver=_arithmetic("%", _MODULO)),
    _listed("__negate", "The opposite number.", "value: any", BOOL, resolver=_negate),
    _listed("__plus", "The number itself.", "value: any", BOOL, resolver=_negate),
    _listed("__equal", "Whether both are equal.", _BOTH, BOOL, resolver=_equality),
    _listed("__not_equal", "Whether they differ.", _BOTH, BOOL, resolver=_equality),
    _listed("__less", "Whether the first is less.", _BOTH, BOOL, resolver=_ordering),
    _listed("__less_or_equal", "Whether the first is no more.", _BOTH, BOOL, resolver=_ordering),
    _listed("__greater", "Whether the first is more.", _BOTH, BOOL, resolver=_ordering),
    _listed("__greater_or_equal", "Whether the first is no less.", _BOTH, BOOL, resolver=_ordering),
    _listed("__and", "Whether both hold.", _BOTH, BOOL, resolver=_logic),
    _listed("__or", "Whether at least one holds.", _BOTH, BOOL, resolver=_logic),
    _listed("__in", "Whether the value is one of the list.", _LIST, BOOL, resolver=_list),
    _listed("__not_in", "Whether the value is none of the list.", _LIST, BOOL, resolver=_list),
    _extended("__in_ci", "Whether the text is one of the list, in any case.", _LIST, BOOL, resolver=_list),
    _extended(
        "__not_in_ci", "Whether the text is none of the list, in any case.", _LIST, BOOL, resolver=_list
    ),
    _listed(
        "__between",
        "Whether the value lies in the range, ends included.",
        "value: any, low: any, high: any",
        BOOL,
        resolver=_between,
    ),
    _listed(
        "__not_between",
        "Whether the value lies outside the range.",
        "value: any, low: any, high: any",
        BOOL,
        resolver=_between,
    ),
    _listed(
        "__index",
        "A member of an object, or an element of an array.",
        "value: any, key: any",
        BOOL,
        resolver=_index,
    ),
    _listed("__equal_ci", "Whether both texts are equal, in any case.", "left: text, right: text", BOOL),
    _listed("__not_equal_ci", "Whether the texts differ, in any case.", "left: text, right: text", BOOL),
    _listed(
        "__matches_regex",
        "Whether the pattern (RE2) occurs in the text.",
        "text: text, pattern: string",
        BOOL,
    ),
    _extended("__has_any", "Whether the text holds one of the terms.", "text: text, term*: any", BOOL),
    _extended("__has_all", "Whether the text holds every term.", "text: text, term*: any", BOOL),
    _extended(
        "__like",
        "Whether the text fits the pattern of `*`, in any case.",
        "text: text, pattern: string",
        BOOL,
    ),
    _extended(
        "__not_like", "Whether the text does not fit the pattern.", "text: text, pattern: string", BOOL
    ),
    _extended(
        "__like_cs",
        "Whether the text fits the pattern, in the same case.",
        "text: text, pattern: string",
        BOOL,
    ),
    _extended(
        "__not_like_cs", "Whether it does not fit, in the same case.", "text: text, pattern: string", BOOL
    ),
    *_texts(),
    _listed("not", "The opposite; null stays null.", "value: bool", BOOL),
)
