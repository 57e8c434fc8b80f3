"""Lowerings of mathematical functions."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import (
    DATETIME,
    DECIMAL,
    INT,
    LONG,
    REAL,
    TIMESPAN,
    YEAR_ONE,
)
from headrace.kql.sql.functions.direct import by_engine, by_python
from headrace.kql.sql.functions.strings import constant_long


@lowers("abs")
def absolute(arguments: Sequence[Typed]) -> exp.Expression:
    """The least integer has no opposite: null."""
    argument = arguments[0]
    if argument.type is INT:
        return b.call("abs", b.cast(argument.sql, "BIGINT"))
    made = b.call("abs", argument.sql)
    return b.attempt(made) if argument.type in (LONG, TIMESPAN) else made


def _constant_size(size: Typed) -> int | None:
    value = size.constant.value if size.constant is not None else None
    return value if isinstance(value, int) and value > 0 else None


@lowers("bin")
def bin_(arguments: Sequence[Typed]) -> exp.Expression:
    """Down to a multiple, of negatives too. A datetime's multiples count from year one."""
    value, size = arguments
    if value.type in (REAL, DECIMAL):
        quotient = b.call("floor", b.ratio(value.sql, _positive(size.sql)))
        made = b.multiply(quotient, b.again(size.sql))
        return made if value.type is REAL else b.try_cast(made, "DECIMAL")
    known = _constant_size(size)
    if value.type is DATETIME:
        return _bin_datetime(value.sql, size.sql, known)
    if known is not None:
        return b.attempt(b.floor_multiple(value.sql, b.long(known)))
    return b.attempt(b.floor_multiple(value.sql, _positive(size.sql)))


def _positive(size: exp.Expression) -> exp.Expression:
    """The size of bins, null where it is none."""
    return b.when(exp.GT(this=b.wrap(size), expression=b.number(0)), b.again(size))


def _bin_datetime(value: exp.Expression, size: exp.Expression, known: int | None) -> exp.Expression:
    # Ticks from year one are never negative, so one remainder is enough.
    if known is not None:
        shift = YEAR_ONE % known
        moved = b.add(value, b.long(YEAR_ONE)) if shift else value
        if shift:
            return b.subtract(b.again(value), b.modulo(moved, b.long(known)))
        return b.floor_multiple(value, b.long(known))
    divisor = _positive(size)
    return b.subtract(b.again(value), b.modulo(b.add(value, b.long(YEAR_ONE)), divisor))


@lowers("bin_at")
def bin_at(arguments: Sequence[Typed]) -> exp.Expression:
    """Bins counted from the fixed point."""
    value, size, fixed = arguments
    distance = b.subtract(value.sql, fixed.sql)
    if value.type in (REAL, DECIMAL):
        bins = b.call("floor", b.ratio(distance, _positive(size.sql)))
        made = b.add(b.multiply(bins, b.again(size.sql)), b.again(fixed.sql))
        return made if value.type is REAL else b.try_cast(made, "DECIMAL")
    multiple = b.floor_multiple(b.wrap(distance), _positive(size.sql))
    return b.attempt(b.add(multiple, b.again(fixed.sql)))


@lowers("ceiling")
def ceiling(arguments: Sequence[Typed]) -> exp.Expression:
    """Integers stay."""
    argument = arguments[0]
    if argument.type in (INT, LONG):
        return argument.sql
    made = b.call("ceil", argument.sql)
    return made if argument.type is REAL else b.cast(made, "DECIMAL")


_MOST_DIGITS = 400


@lowers("round")
def round_(arguments: Sequence[Typed]) -> exp.Expression:
    """Halves go away from zero; a negative precision rounds before the point."""
    argument = arguments[0]
    if len(arguments) == 1:
        if argument.type in (INT, LONG):
            return argument.sql
        made = b.call("round", argument.sql)
        return made if argument.type is REAL else b.cast(made, "DECIMAL")
    known = constant_long(arguments[1])
    # No number has more digits, before the point or behind it.
    if known is not None:
        digits = b.number(max(-_MOST_DIGITS, min(known, _MOST_DIGITS)))
    else:
        digits = b.try_cast(arguments[1].sql, "INT")
    if argument.type is DECIMAL:
        made = b.call("round", b.cast(argument.sql, "DOUBLE"), digits)
        return b.try_cast(made, "DECIMAL")
    if argument.type is not REAL:
        # Of the engine's integers only the widest do not wrap around.
        made = b.call("round", b.cast(argument.sql, "INT128"), digits)
        return b.try_cast(made, b.SQL_TYPES[argument.type])
    return b.call("round", argument.sql, digits)


def _defined(engine: str, arguments: Sequence[Typed]) -> exp.Expression:
    """A function of doubles that the engine refuses outside the function's domain: NaN there."""
    made = b.call(engine, *[argument.sql for argument in arguments])
    given = b.both(*[b.is_not_null(b.again(argument.sql)) for argument in arguments])
    return b.coalesce(b.attempt(made), b.when(given, b.real(float("nan"))))


def _nan_where_undefined(name: str, engine: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        return _defined(engine, arguments)

    lowers(name)(lowering)


for _name in ("pow", "sqrt", "sin", "cos", "tan", "asin", "acos", "gamma"):
    _nan_where_undefined(_name, _name)
_nan_where_undefined("loggamma", "lgamma")
by_engine("exp", "atan", "atan2", "degrees", "radians", "isnan", "isinf", "isfinite", "pi", binary_xor="xor")


def _logarithm(name: str, engine: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        # The engine refuses zero and less; here these are -Infinity and not a number.
        source = arguments[0].sql
        edge = b.when(
            b.equals(b.again(source), 0),
            b.real(float("-inf")),
            b.when(b.is_not_null(b.again(source)), b.real(float("nan"))),
        )
        return b.when(
            exp.GT(this=b.wrap(b.again(source)), expression=b.number(0)), b.call(engine, source), edge
        )

    lowers(name)(lowering)


for _name, _engine in (("log", "ln"), ("log2", "log2"), ("log10", "log10")):
    _logarithm(_name, _engine)


@lowers("cot")
def cot(arguments: Sequence[Typed]) -> exp.Expression:
    """One over the tangent."""
    return b.ratio(b.real(1.0), _defined("tan", arguments))


@lowers("exp2")
def exp2(arguments: Sequence[Typed]) -> exp.Expression:
    """A power of 2."""
    return b.call("pow", b.real(2.0), arguments[0].sql)


@lowers("exp10")
def exp10(arguments: Sequence[Typed]) -> exp.Expression:
    """A power of 10."""
    return b.call("pow", b.real(10.0), arguments[0].sql)


@lowers("sign")
def sign(arguments: Sequence[Typed]) -> exp.Expression:
    """A real."""
    return b.cast(b.call("sign", arguments[0].sql), "DOUBLE")


@lowers("rand")
def rand(arguments: Sequence[Typed]) -> exp.Expression:
    """A new number for each row."""
    if not arguments:
        return b.call("random")
    limit = b.cast(arguments[0].sql, "DOUBLE")
    return b.call("floor", b.multiply(b.call("random"), limit))


def _bits(name: str, kind: type[exp.Binary]) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        return b.binary(kind, arguments[0].sql, arguments[1].sql)

    lowers(name)(lowering)


_bits("binary_and", exp.BitwiseAnd)
_bits("binary_or", exp.BitwiseOr)


@lowers("binary_not")
def binary_not(arguments: Sequence[Typed]) -> exp.Expression:
    """All bits flipped: -1 - x."""
    return b.subtract(b.long(-1), arguments[0].sql)


def _shift_amount(argument: Typed) -> exp.Expression:
    # Only the lowest six bits of the amount count; a negative one gives null.
    bits = b.cast(b.binary(exp.BitwiseAnd, argument.sql, b.number(63)), "INT")
    return b.when(b.at_least(argument.sql, 0), bits)


@lowers("binary_shift_left")
def binary_shift_left(arguments: Sequence[Typed]) -> exp.Expression:
    """Bits that leave the top are lost, where the engine would refuse; so Python shifts."""
    shifted = b.python("shift_left", arguments[0].sql, _shift_amount(arguments[1]))
    return b.cast(shifted, "BIGINT")


@lowers("binary_shift_right")
def binary_shift_right(arguments: Sequence[Typed]) -> exp.Expression:
    """The sign moves in."""
    return b.binary(exp.BitwiseRightShift, arguments[0].sql, b.cast(_shift_amount(arguments[1]), "BIGINT"))


@lowers("bitset_count_ones")
def bitset_count_ones(arguments: Sequence[Typed]) -> exp.Expression:
    """Of the 64 bits."""
    return b.cast(b.call("bit_count", arguments[0].sql), "BIGINT")


by_python("beta_cdf", "beta_pdf", "beta_inv", "erf", "erfc", "welch_test")
for _quantity in ("angle", "energy", "force", "length", "mass", "speed", "temperature", "volume"):

    def _convert_unit(arguments: Sequence[Typed], quantity: str = _quantity) -> exp.Expression:
        units = [argument.sql for argument in arguments]
        return b.cast(b.python("convert_unit", b.text(quantity), *units), "DOUBLE")

    lowers(f"convert_{_quantity}")(_convert_unit)
