"""Arithmetic on whole numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Eager, Evaluator, Function
from headrace.arm.templates.values import need_int, shown

_MOST = 1 << 63

# Python's own `int` would also take underscores and the digits of other scripts.
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,40}\s*")


def _pair(name: str, operate: Callable[[int, int], int]) -> Function:
    def run(_run: Evaluator, arguments: list[Any]) -> int:
        left, right = (need_int(name, item) for item in arguments)
        if right == 0 and name in ("div", "mod"):
            raise TemplateError(f"The template function '{name}' cannot divide by zero.")
        return bounded(name, operate(left, right))

    return Function(name, 2, 2, run)


def bounded(name: str, number: int) -> int:
    """A number that fits 64 bits. Raises `TemplateError`."""
    if not -_MOST <= number < _MOST:
        raise TemplateError(f"The result of the template function '{name}' is no 64-bit integer.")
    return number


def _quotient(left: int, right: int) -> int:
    """Cut towards zero, as integers are divided elsewhere."""
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


def _extreme(name: str, choose: Callable[[list[int]], int]) -> Eager:
    def run(_run: Evaluator, arguments: list[Any]) -> int:
        values = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else arguments
        if not values:
            raise TemplateError(f"The template function '{name}' needs a number.")
        return choose([need_int(name, item) for item in values])

    return run


def _int(_run: Evaluator, arguments: list[Any]) -> int:
    value = arguments[0]
    try:
        if isinstance(value, str) and _WHOLE.fullmatch(value) is None:
            raise ValueError(value)
        return bounded("int", int(value))
    except (TypeError, ValueError, OverflowError):
        raise TemplateError(f"The template function 'int' cannot read '{shown(value)}'.") from None


def _float(_run: Evaluator, arguments: list[Any]) -> float:
    value = arguments[0]
    try:
        if isinstance(value, str) and "_" in value:
            raise ValueError(value)
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(number)
        return number
    except (TypeError, ValueError, OverflowError):
        raise TemplateError(f"The template function 'float' cannot read '{shown(value)}'.") from None


FUNCTIONS = (
    _pair("add", lambda left, right: left + right),
    _pair("sub", lambda left, right: left - right),
    _pair("mul", lambda left, right: left * right),
    _pair("div", _quotient),
    _pair("mod", lambda left, right: left - right * _quotient(left, right)),
    Function("min", 1, None, _extreme("min", min)),
    Function("max", 1, None, _extreme("max", max)),
    Function("int", 1, 1, _int),
    Function("float", 1, 1, _float),
)
