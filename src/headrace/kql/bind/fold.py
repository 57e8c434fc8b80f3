"""Constant folding at bind time, for what decides a scan's time range or must be known at compile time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.kql.bind.functions.registry import Function, Value
from headrace.kql.plan.expressions import Expr, Literal
from headrace.kql.syntax.literals import (
    MAX_DATETIME,
    MIN_DATETIME,
    TICKS_PER_DAY,
    parse_datetime,
    parse_timespan,
)
from headrace.kql.types import KustoType

_T = KustoType
_LONG_RANGE = range(-(2**63), 2**63)
MAX_TEXT = 10_000


def fold(function: Function, arguments: Sequence[Expr], result: KustoType) -> Literal | None:
    """The value of a call over constants; None if it is not known how, or the value does not exist."""
    rule = _RULES.get(function.name)
    if rule is None or function.volatile:
        return None
    values: list[Any] = []
    for argument in arguments:
        constant = argument.constant
        if constant is None or constant.value is None or argument.type is _T.DYNAMIC:
            return None
        values.append(constant.value)
    try:
        value = rule([argument.type for argument in arguments], values, result)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return Literal(result, value) if value is not None else None


def _checked(value: Any, result: KustoType) -> Value:
    if result in (_T.LONG, _T.TIMESPAN):
        return int(value) if int(value) in _LONG_RANGE else None
    if result is _T.INT:
        return int(value) if -(2**31) <= value < 2**31 else None
    if result is _T.DATETIME:
        return int(value) if MIN_DATETIME <= value <= MAX_DATETIME else None
    if result is _T.REAL:
        return float(value)
    return None


_INTEGRAL = frozenset([_T.LONG, _T.INT, _T.DATETIME, _T.TIMESPAN])


def _add(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    return _checked(values[0] + values[1], result) if _T.DECIMAL not in types else None


def _subtract(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    return _checked(values[0] - values[1], result) if _T.DECIMAL not in types else None


def _multiply(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    if _T.DECIMAL in types or (result is _T.TIMESPAN and _T.REAL in types):
        return None
    return _checked(values[0] * values[1], result)


def _negate(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    return _checked(-values[0], result) if _T.DECIMAL not in types else None


def _bin(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    if types[0] not in _INTEGRAL or types[1] not in _INTEGRAL or values[1] <= 0:
        return None
    if types[0] is _T.DATETIME:
        # Bins of a datetime count from year 1, as ticks do in Kusto.
        return _checked((values[0] - MIN_DATETIME) // values[1] * values[1] + MIN_DATETIME, result)
    return _checked(values[0] // values[1] * values[1], result)


def _strcat(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    if any(kind is not _T.STRING for kind in types):
        return None
    text = "".join(values)
    return text if len(text) <= MAX_TEXT else None


def _start_of(unit: str) -> Callable[[Sequence[KustoType], Sequence[Any], KustoType], Value]:
    def rule(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
        if types[0] is not _T.DATETIME:
            return None
        offset = int(values[1]) if len(values) > 1 else 0
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=values[0] // TICKS_PER_DAY)
        if unit == "week":
            # The week begins on Sunday.
            moment -= timedelta(days=(moment.weekday() + 1) % 7 - 7 * offset)
        elif unit == "day":
            moment += timedelta(days=offset)
        elif unit == "month":
            months = moment.year * 12 + moment.month - 1 + offset
            moment = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
        else:
            moment = moment.replace(year=moment.year + offset, month=1, day=1)
        return _checked((moment - datetime(1970, 1, 1, tzinfo=UTC)).days * TICKS_PER_DAY, result)

    return rule


# Functions read more forms of text than literals have, and some otherwise: what both read alike is folded.
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?)?Z?", re.ASCII)
_TIMESPAN = re.compile(r"-?(?:\d{1,6}(?:d|h|m|s|ms)|(?:\d{1,6}\.)?[01]\d:[0-5]\d:[0-5]\d)", re.ASCII)


def _to_datetime(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    if types[0] is _T.DATETIME:
        return int(values[0])
    plain = types[0] is _T.STRING and _DATETIME.fullmatch(values[0])
    return parse_datetime(values[0]) if plain else None


def _to_timespan(types: Sequence[KustoType], values: Sequence[Any], result: KustoType) -> Value:
    if types[0] is _T.TIMESPAN:
        return int(values[0])
    plain = types[0] is _T.STRING and _TIMESPAN.fullmatch(values[0])
    return parse_timespan(values[0]) if plain else None


_Rule = Callable[[Sequence[KustoType], Sequence[Any], KustoType], Value]
_RULES: dict[str, _Rule] = {
    "__add": _add,
    "__subtract": _subtract,
    "__multiply": _multiply,
    "__negate": _negate,
    "bin": _bin,
    "floor": _bin,
    "strcat": _strcat,
    "startofday": _start_of("day"),
    "startofweek": _start_of("week"),
    "startofmonth": _start_of("month"),
    "startofyear": _start_of("year"),
    "todatetime": _to_datetime,
    "totimespan": _to_timespan,
}
