"""Mathematical functions: rounding, powers, angles, bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headrace.kql.bind.functions.declare import (
    BOOL,
    DATETIME,
    DECIMAL,
    DOCUMENTED,
    EXTENDED,
    INT,
    LONG,
    REAL,
    TIMESPAN,
    same,
    scalar,
)
from headrace.kql.bind.functions.operators import widest_number
from headrace.kql.bind.functions.registry import Argument, Function, Mismatch, Naming, Resolution
from headrace.kql.types import KustoType

_listed = partial(scalar, family="mathematics", transform=DOCUMENTED, naming=Naming.FIRST)
_extended = partial(scalar, family="mathematics", transform=EXTENDED, naming=Naming.FIRST)
_random = partial(scalar, family="mathematics", naming=Naming.FIRST, volatile=True)
_plain = partial(scalar, family="mathematics")


def _bin(arguments: Sequence[Argument]) -> Resolution:
    value, size = arguments[0].type, arguments[1].type
    if arguments[0].untyped:
        value = DATETIME if size is TIMESPAN else size
    if arguments[1].untyped:
        size = TIMESPAN if value is DATETIME else value
    numbers = (INT, LONG, REAL, DECIMAL)
    if value in numbers and size in numbers:
        width = widest_number(value, size)
        return Resolution((width, width), (width,))
    if value in (DATETIME, TIMESPAN) and size is TIMESPAN:
        return Resolution((value, size), (value,))
    if KustoType.DYNAMIC in (value, size):
        raise Mismatch("cannot round a dynamic", cure="Convert it first, as by `tolong()` or `todatetime()`.")
    cure = "Write the size as a timespan, such as `1h`." if value in (DATETIME, TIMESPAN) else None
    raise Mismatch(f"cannot round {value} down to a multiple of {size}", 1, cure)


def _bin_at(arguments: Sequence[Argument]) -> Resolution:
    value, size, fixed = (argument.type for argument in arguments)
    numbers = (INT, LONG, REAL, DECIMAL)
    if value in numbers and size in numbers and fixed in numbers:
        width = widest_number(widest_number(value, size), fixed)
        return Resolution((width, width, width), (width,))
    if value is fixed and value in (DATETIME, TIMESPAN) and size is TIMESPAN:
        return Resolution((value, size, fixed), (value,))
    raise Mismatch(f"cannot round {value} to bins of {size} about {fixed}")


def _absolute(arguments: Sequence[Argument]) -> KustoType:
    return LONG if arguments[0].type is INT else arguments[0].type


def _reals(*rows: tuple[str, str], naming: Naming = Naming.FIRST) -> tuple[Function, ...]:
    return tuple(_extended(name, doc, "value: real", REAL, naming=naming) for name, doc in rows)


FUNCTIONS = (
    _listed("abs", "The number without its sign.", "value: number|timespan", _absolute),
    _listed(
        "bin",
        "The value rounded down to a multiple of the size; also of datetimes and timespans.",
        "value: any, size: any",
        LONG,
        aliases=("floor",),
        resolver=_bin,
    ),
    _extended(
        "bin_at",
        "The value rounded down to a bin, one of which starts at the fixed point.",
        "value: any, size: any, fixed: any",
        LONG,
        resolver=_bin_at,
    ),
    _listed("ceiling", "The least whole number that is no less.", "value: number", same()),
    _listed(
        "round",
        "The number rounded to a number of digits after the point.",
        "value: number, precision?: long",
        same(),
    ),
    _listed("exp", "The power of e.", "value: real", REAL),
    _listed("exp2", "The power of 2.", "value: real", REAL),
    _listed("exp10", "The power of 10.", "value: real", REAL),
    _listed("log", "The natural logarithm.", "value: real", REAL),
    _listed("log2", "The logarithm to base 2.", "value: real", REAL),
    _listed("log10", "The logarithm to base 10.", "value: real", REAL),
    _listed("pow", "The base to the power.", "base: real, exponent: real", REAL),
    _listed("sign", "-1, 0 or 1.", "value: real", REAL, naming=Naming.COLUMN),
    _listed("isnan", "Whether the value is not a number.", "value: real", BOOL, naming=Naming.COLUMN),
    _listed("isinf", "Whether the value is infinite.", "value: real", BOOL, naming=Naming.COLUMN),
    _listed("isfinite", "Whether the value is a finite number.", "value: real", BOOL, naming=Naming.COLUMN),
    *_reals(
        ("sqrt", "The square root."),
        ("sin", "The sine of radians."),
        ("cos", "The cosine of radians."),
        ("tan", "The tangent of radians."),
        ("asin", "The arc sine in radians."),
        ("acos", "The arc cosine in radians."),
        ("atan", "The arc tangent in radians."),
        ("gamma", "The gamma function."),
        ("loggamma", "The logarithm of the gamma function."),
        ("erf", "The error function."),
        ("erfc", "The complementary error function."),
    ),
    *_reals(
        ("cot", "The cotangent of radians."),
        ("degrees", "Radians as degrees."),
        ("radians", "Degrees as radians."),
        naming=Naming.COLUMN,
    ),
    _extended("atan2", "The angle of a point in radians.", "y: real, x: real", REAL),
    _plain("pi", "The number pi.", "", REAL),
    _random("rand", "A random number in [0, 1), or a random whole number below n.", "n?: long", REAL),
    _plain("beta_cdf", "The cumulative beta distribution.", "x: real, alpha: real, beta: real", REAL),
    _plain("beta_pdf", "The density of the beta distribution.", "x: real, alpha: real, beta: real", REAL),
    _plain(
        "beta_inv",
        "The inverse of the cumulative beta distribution.",
        "p: real, alpha: real, beta: real",
        REAL,
    ),
    _plain(
        "welch_test",
        "The p-value of Welch's test.",
        "mean1: real, variance1: real, count1: real, mean2: real, variance2: real, count2: real",
        REAL,
    ),
    _listed("binary_and", "The bits set in both.", "left: long, right: long", LONG),
    _listed("binary_or", "The bits set in either.", "left: long, right: long", LONG),
    _listed("binary_xor", "The bits set in just one.", "left: long, right: long", LONG),
    _listed("binary_not", "The bits flipped.", "value: long", LONG),
    _listed("binary_shift_left", "The bits moved left.", "value: long, shift: long", LONG),
    _listed("binary_shift_right", "The bits moved right.", "value: long, shift: long", LONG),
    _extended("bitset_count_ones", "How many bits are set.", "value: long", LONG),
    *(
        _plain(
            f"convert_{quantity}",
            f"A {quantity} in another unit.",
            "value: real, from: string, to: string",
            REAL,
        )
        for quantity in (
            "angle",
            "energy",
            "force",
            "length",
            "mass",
            "speed",
            "temperature",
            "volume",
        )
    ),
)
