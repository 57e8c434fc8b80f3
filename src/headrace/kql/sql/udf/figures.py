"""Numbers: bit shifts, distributions, units."""

from __future__ import annotations

import math
from collections.abc import Callable

from headrace.kql.sql.udf.units import convert_unit
from headrace.kql.sql.udf.values import as_float, as_int

_TINY = 1e-300


def _shift_left(value: str | None, amount: str | None) -> str | None:
    number, count = as_int(value), as_int(amount)
    if number is None or count is None:
        return None
    made = (number << count) & (2**64 - 1)
    return str(made - 2**64 if made >= 2**63 else made)


def _continued(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (Lentz's method)."""
    ratio, inverse = 1.0, 1 - (a + b) * x / (a + 1)
    inverse = 1 / (inverse if abs(inverse) > _TINY else _TINY)
    made = inverse
    for step in range(1, 1000):
        for term in (
            step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step)),
            -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1)),
        ):
            inverse = 1 + term * inverse
            inverse = 1 / (inverse if abs(inverse) > _TINY else _TINY)
            ratio = 1 + term / ratio
            ratio = ratio if abs(ratio) > _TINY else _TINY
            change = inverse * ratio
            made *= change
        if abs(change - 1) < 1e-16:
            break
    return made


def beta_cdf_of(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function."""
    if not 0 <= x <= 1 or a <= 0 or b <= 0:
        return math.nan
    if x in (0.0, 1.0):
        return x
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _continued(a, b, x) / a
    return 1 - front * _continued(b, a, 1 - x) / b


def _three(
    function: Callable[[float, float, float], float],
) -> Callable[[str | None, str | None, str | None], str | None]:
    def run(x: str | None, alpha: str | None, beta: str | None) -> str | None:
        values = [as_float(item) for item in (x, alpha, beta)]
        if any(item is None for item in values):
            return None
        return repr(function(*[item for item in values if item is not None]))

    return run


def _beta_pdf(x: float, a: float, b: float) -> float:
    if not 0 <= x <= 1 or a <= 0 or b <= 0:
        return math.nan
    if x in (0.0, 1.0):
        return 0.0
    return math.exp(
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + (a - 1) * math.log(x)
        + (b - 1) * math.log1p(-x)
    )


def _beta_inv(probability: float, a: float, b: float) -> float:
    if not 0 <= probability <= 1 or a <= 0 or b <= 0:
        return math.nan
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if beta_cdf_of(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _one(function: Callable[[float], float]) -> Callable[[str | None], str | None]:
    def run(value: str | None) -> str | None:
        number = as_float(value)
        return None if number is None else repr(function(number))

    return run


def _welch(*values: str | None) -> str | None:
    numbers = [as_float(value) for value in values]
    if any(number is None for number in numbers):
        return None
    mean1, variance1, count1, mean2, variance2, count2 = (number or 0.0 for number in numbers)
    share1, share2 = variance1 / count1, variance2 / count2
    statistic = (mean1 - mean2) / math.sqrt(share1 + share2)
    freedom = (share1 + share2) ** 2 / (share1**2 / (count1 - 1) + share2**2 / (count2 - 1))
    return repr(beta_cdf_of(freedom / (freedom + statistic**2), freedom / 2, 0.5))


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "shift_left": _shift_left,
    "beta_cdf": _three(beta_cdf_of),
    "beta_pdf": _three(_beta_pdf),
    "beta_inv": _three(_beta_inv),
    "erf": _one(math.erf),
    "erfc": _one(math.erfc),
    "welch_test": _welch,
    "convert_unit": convert_unit,
}
