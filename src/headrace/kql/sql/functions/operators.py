"""Lowerings of arithmetic, comparison, logic and member access."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import (
    BOOL,
    DATETIME,
    DECIMAL,
    DYNAMIC,
    INT,
    LONG,
    REAL,
    STRING,
    TIMESPAN,
    converted,
    encode_text,
    json_path,
    member,
    to_bool,
    to_string,
    typed,
)
from headrace.kql.types import KustoType

_TICKS = (DATETIME, TIMESPAN)
_NUMBERS = (INT, LONG, REAL, DECIMAL)


def _integer(kind: KustoType) -> bool:
    return kind in (INT, LONG, DATETIME, TIMESPAN)


def _guarded(kind: KustoType, expression: exp.Expression) -> exp.Expression:
    """Integers and decimals can run over, which the engine takes for an error; here it gives null."""
    if kind is REAL:
        return expression
    if kind is DECIMAL:
        return b.try_cast(b.attempt(expression), "DECIMAL")
    return b.attempt(expression)


def _dynamic_arithmetic(symbol: str, arguments: Sequence[Typed]) -> exp.Expression:
    return b.python("dynamic_arithmetic", symbol, arguments[0].sql, arguments[1].sql)


def _sum(kind: type[exp.Binary], symbol: str, arguments: Sequence[Typed]) -> exp.Expression:
    left, right = arguments
    if left.type is DYNAMIC:
        return _dynamic_arithmetic(symbol, arguments)
    made = _guarded(left.type, b.binary(kind, left.sql, right.sql))
    if DATETIME in (left.type, right.type) and TIMESPAN in (left.type, right.type):
        return b.call("kql_ticks_in_range", made)
    return made


@lowers("__add")
def add(arguments: Sequence[Typed]) -> exp.Expression:
    """Times are ticks, so all sums are sums of numbers."""
    return _sum(exp.Add, "+", arguments)


@lowers("__subtract")
def subtract(arguments: Sequence[Typed]) -> exp.Expression:
    """See `add`."""
    return _sum(exp.Sub, "-", arguments)


@lowers("__multiply")
def multiply(arguments: Sequence[Typed]) -> exp.Expression:
    """Integers that run over are null."""
    left, right = arguments
    if left.type is DYNAMIC:
        return _dynamic_arithmetic("*", arguments)
    if TIMESPAN in (left.type, right.type):
        return _scaled(exp.Mul, left, right)
    return _guarded(left.type, b.binary(exp.Mul, left.sql, right.sql))


def _scaled(kind: type[exp.Binary], left: Typed, right: Typed) -> exp.Expression:
    """A timespan times or by a number, rounded to whole ticks: exact times a whole constant."""
    span, factor = (left, right) if left.type is TIMESPAN else (right, left)
    if kind is exp.Div:
        result: exp.Expression = b.ratio(b.cast(span.sql, "DOUBLE"), factor.sql)
    else:
        constant = factor.constant.value if factor.constant else None
        if isinstance(constant, int | float) and float(constant).is_integer() and abs(constant) < 2**53:
            return b.attempt(b.multiply(span.sql, b.long(int(constant))))
        result = b.multiply(b.cast(span.sql, "DOUBLE"), factor.sql)
    return b.try_cast(b.call("round", result), "BIGINT")


@lowers("__divide")
def divide(arguments: Sequence[Typed]) -> exp.Expression:
    """Integers: cut towards zero, null by zero. Reals: as IEEE 754 says."""
    left, right = arguments
    if left.type is DYNAMIC:
        return _dynamic_arithmetic("/", arguments)
    if left.type in _TICKS and right.type in _TICKS:
        return b.ratio(b.cast(left.sql, "DOUBLE"), b.cast(right.sql, "DOUBLE"))
    if left.type in _TICKS:
        return _scaled(exp.Div, left, right)
    if left.type is REAL:
        return b.ratio(left.sql, right.sql)
    if left.type is DECIMAL:
        quotient = b.ratio(left.sql, b.null_if(right.sql, 0))
        return b.try_cast(quotient, "DECIMAL")
    constant = right.constant.value if right.constant else None
    if constant and constant != -1:
        return b.whole(left.sql, right.sql)
    # Only the least integer by -1 can run over.
    return b.attempt(b.whole(left.sql, right.sql))


@lowers("__modulo")
def modulo(arguments: Sequence[Typed]) -> exp.Expression:
    """Never negative: 0 <= N % D < abs(D)."""
    left, right = arguments
    if left.type is DYNAMIC:
        return _dynamic_arithmetic("%", arguments)
    value, size = left.sql, right.sql
    if left.type in _TICKS and right.type is REAL:
        size = b.try_cast(b.call("trunc", size), "BIGINT")
    remainder = b.modulo(value, size)
    fixed = b.when(
        b.less(remainder, 0), b.add(b.again(remainder), b.call("abs", b.again(size))), b.again(remainder)
    )
    return fixed if left.type is REAL else _guarded(left.type, fixed)


@lowers("__negate")
def negate(arguments: Sequence[Typed]) -> exp.Expression:
    """The opposite number."""
    argument = arguments[0]
    if argument.type is DYNAMIC:
        return b.python("dynamic_arithmetic", "-", b.text("0"), argument.sql)
    if argument.type is REAL:
        return exp.Neg(this=b.wrap(argument.sql))
    return _guarded(argument.type, exp.Neg(this=b.wrap(argument.sql)))


@lowers("__plus")
def plus(arguments: Sequence[Typed]) -> exp.Expression:
    """Nothing changes."""
    return arguments[0].sql


def nullable(argument: Typed) -> bool:
    """Whether the value can be NULL in SQL."""
    return argument.type is not STRING and (argument.constant is None or argument.constant.value is None)


def _never_nan(argument: Typed) -> bool:
    """Whether a value surely is a number: of another type than real, a constant, or made of an integer."""
    if argument.type is not REAL:
        return True
    if argument.constant is not None:
        return argument.constant.value is None or not math.isnan(float(str(argument.constant.value)))
    return type(argument.sql) is exp.Cast and not argument.sql.this.is_string


def _if_number(condition: exp.Expression, side: Typed) -> exp.Expression:
    """The condition, false where the side is NaN: to the engine that is equal to itself and above all numbers."""
    if _never_nan(side):
        return condition
    return exp.Paren(this=b.both(condition, b.negation(b.call("isnan", b.again(side.sql)))))


def _equality(arguments: Sequence[Typed]) -> exp.Expression:
    """Equal values. A null equals no value; of two nulls it is not known."""
    left, right = arguments
    plain = b.equals(left.sql, right.sql)
    if not _never_nan(right):
        plain = _if_number(plain, left)
    if not nullable(left) and not nullable(right):
        return plain
    if not nullable(left) or not nullable(right):
        return b.coalesce(plain, b.false())
    known = b.either(b.is_not_null(b.again(left.sql)), b.is_not_null(b.again(right.sql)))
    return b.coalesce(plain, b.null_if(b.negation(known), b.true()))


@lowers("__equal")
def equal(arguments: Sequence[Typed]) -> exp.Expression:
    """See `_equality`."""
    return _equality(arguments)


@lowers("__not_equal")
def not_equal(arguments: Sequence[Typed]) -> exp.Expression:
    """The opposite of `__equal`: a null differs from every value."""
    left, right = arguments
    if not _never_nan(left) and not _never_nan(right):
        return b.negation(_equality(arguments))
    if not nullable(left) and not nullable(right):
        return exp.NEQ(this=b.wrap(left.sql), expression=b.wrap(right.sql))
    if not nullable(left) or not nullable(right):
        different = exp.NEQ(this=b.wrap(left.sql), expression=b.wrap(right.sql))
        return b.coalesce(different, b.true())
    return b.negation(_equality(arguments))


def _order(kind: type[exp.Binary], arguments: Sequence[Typed]) -> exp.Expression:
    left, right = arguments
    if left.type is DYNAMIC:
        number = [b.call("kql_json_real", side.sql) for side in arguments]
        return b.binary(kind, *number)
    # To the engine NaN is above all numbers.
    above = left if kind in (exp.GT, exp.GTE) else right
    return _if_number(b.binary(kind, left.sql, right.sql), above)


def _register_order(name: str, kind: type[exp.Binary]) -> None:
    lowers(name)(lambda arguments: _order(kind, arguments))


for _name, _kind in (
    ("__less", exp.LT),
    ("__less_or_equal", exp.LTE),
    ("__greater", exp.GT),
    ("__greater_or_equal", exp.GTE),
):
    _register_order(_name, _kind)


@lowers("__and")
def logical_and(arguments: Sequence[Typed]) -> exp.Expression:
    """Three-valued."""
    return b.both(*[argument.sql for argument in arguments])


@lowers("__or")
def logical_or(arguments: Sequence[Typed]) -> exp.Expression:
    """Three-valued."""
    return b.either(*[argument.sql for argument in arguments])


@lowers("not")
def logical_not(arguments: Sequence[Typed]) -> exp.Expression:
    """Null stays null."""
    argument = arguments[0]
    return b.negation(argument.sql if argument.type is BOOL else to_bool(argument))


def elements(value: Typed, listed: Sequence[Typed]) -> tuple[list[Typed], list[exp.Expression]]:
    """The single elements of a list, and the arrays in it that are known only when the query runs.

    Elements of constant dynamic arrays are spread, and everything is brought to the value's type.
    """
    single: list[Typed] = []
    arrays: list[exp.Expression] = []
    kind = STRING if value.type in (DYNAMIC, STRING) else value.type
    for argument in listed:
        if argument.type is not DYNAMIC:
            single.append(Typed(converted(argument.sql, argument.type, kind), kind, argument.constant))
        elif argument.constant is not None:
            single.extend(spread(argument.constant.value, kind))
        else:
            arrays.append(argument.sql)
    return single, arrays


def spread(content: object, kind: KustoType) -> list[Typed]:
    """The elements of a constant dynamic (JSON text), each as a constant of the type."""
    parsed = json.loads(content) if isinstance(content, str) else None
    items = parsed if isinstance(parsed, list) else [parsed]
    found = []
    for item in items:
        if item is None:
            continue
        if kind is STRING:
            found.append(typed(STRING, item if isinstance(item, str) else json.dumps(item)))
        else:
            encoded = json.dumps(item, ensure_ascii=False)
            found.append(Typed(converted(b.text(encoded), DYNAMIC, kind), kind))
    return found


def _listed(arguments: Sequence[Typed], *, ci: bool) -> exp.Expression:
    value = arguments[0]
    single, arrays = elements(value, arguments[1:])
    kind = STRING if value.type is DYNAMIC else value.type
    subject = to_string(value) if value.type is DYNAMIC else value.sql
    if ci:
        subject = b.call("lower", subject)
    conditions: list[exp.Expression] = []
    if single:
        items = [
            _lowered(item) if ci else item.sql
            for item in single
            if item.constant is None or (item.constant.value is not None and _never_nan(item))
        ]
        if items:
            conditions.append(exp.In(this=b.wrap(subject), expressions=items))
    for sql in arrays:
        conditions.append(_in_array(b.again(subject), kind, sql, ci=ci))
    if not conditions:
        return b.false()
    result = b.either(*conditions)
    if kind is STRING and not arrays and all(item.type is STRING for item in single):
        return result
    return b.coalesce(result, b.false())


def _lowered(item: Typed) -> exp.Expression:
    if item.constant is not None and isinstance(item.constant.value, str):
        return b.text(item.constant.value.lower())
    return b.call("lower", item.sql)


def _in_array(subject: exp.Expression, kind: KustoType, sql: exp.Expression, *, ci: bool) -> exp.Expression:
    """Whether a dynamic that is known only at run time, an array or one value, holds the subject."""
    name = "kql_e"
    body = converted(b.name_(name), DYNAMIC, kind)
    if ci:
        body = b.call("lower", body)
    listed = b.coalesce(b.call("kql_json_list", sql), b.array([b.again(sql)]))
    return b.call("list_contains", b.call("list_transform", listed, b.lambda_(name, body)), subject)


def _is_ci(arguments: Sequence[Typed]) -> bool:
    return arguments[0].type in (STRING, DYNAMIC)


@lowers("__in", opposite="__not_in")
def in_(arguments: Sequence[Typed]) -> exp.Expression:
    """A null is in no list."""
    return _listed(arguments, ci=False)


@lowers("__in_ci", opposite="__not_in_ci")
def in_ci(arguments: Sequence[Typed]) -> exp.Expression:
    """In any case of letters."""
    return _listed(arguments, ci=_is_ci(arguments))


@lowers("__between", opposite="__not_between")
def between(arguments: Sequence[Typed]) -> exp.Expression:
    """Both ends included; an end that is a timespan counts from the low one."""
    value, low, high = arguments
    end = high.sql
    if high.type is TIMESPAN and low.type is DATETIME:
        end = b.attempt(b.add(b.again(low.sql), high.sql))
    return exp.Between(this=b.wrap(value.sql), low=b.wrap(low.sql), high=b.wrap(end))


_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*", re.ASCII)


@lowers("__index")
def index(arguments: Sequence[Typed]) -> exp.Expression:
    """A member. Steps with plain constant keys grow one path, so that the text is read once."""
    value, key = arguments
    listed = _texts(value.sql)
    if listed is not None and key.constant is not None and isinstance(key.constant.value, int):
        # An element of a list that has not become JSON yet, such as `split` gives.
        place = key.constant.value
        return encode_text(b.call("list_extract", listed, place + 1 if place >= 0 else place))
    step = _step(key)
    if step is None:
        return _member_at_run_time(value, key)
    outer = json_path(value.sql)
    if outer is not None and outer.expressions[1].this.startswith("$") and step.startswith(("[", ".")):
        return member(outer.expressions[0], outer.expressions[1].this + step)
    return member(value.sql, f"${step}" if step.startswith(("[", ".")) else step)


def _texts(sql: exp.Expression) -> exp.Expression | None:
    """The list of texts that an array was made of, where the array is made right here."""
    inner = sql.this if isinstance(sql, exp.Cast) else None
    if isinstance(inner, exp.Anonymous) and inner.args.get("kql_texts"):
        found: exp.Expression = inner.expressions[0]
        return found
    return None


def _step(key: Typed) -> str | None:
    """The piece of a JSON path for a constant key; a JSON pointer for a key that a path cannot spell."""
    if key.constant is None or key.type is DYNAMIC:
        return None
    content = key.constant.value
    if isinstance(content, int):
        return f"[{content}]" if content >= 0 else f"[#{content}]"
    if not isinstance(content, str) or "\0" in content:
        return None
    if _PLAIN_KEY.fullmatch(content):
        return f'."{content}"'
    return "/" + content.replace("~", "~0").replace("/", "~1")


def _member_at_run_time(value: Typed, key: Typed) -> exp.Expression:
    if key.type is LONG:
        place = b.cast(key.sql, "VARCHAR")
        path = b.when(
            b.less(b.again(key.sql), 0),
            b.call("concat", "$[#", place, "]"),
            b.call("concat", "$[", b.again(place), "]"),
        )
        extract = b.call("json_extract", value.sql, path)
        return b.null_if(b.cast(extract, "VARCHAR"), "null")
    return b.python("member", value.sql, converted(key.sql, key.type, DYNAMIC))
