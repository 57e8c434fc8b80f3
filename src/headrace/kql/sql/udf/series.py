"""Series functions: arithmetic, fills, statistics and filters over arrays of numbers."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from headrace.kql.sql.udf.values import Json, dump, parse, parse_array

_MOST = 1_048_576


def numbers(text: str | None) -> list[float | int | None] | None:
    """The elements, null where one is no number; None for what is no array."""
    listed = parse_array(text)
    if listed is None or len(listed) > _MOST:
        return None
    return [item if isinstance(item, int | float) and not isinstance(item, bool) else None for item in listed]


def known(text: str | None) -> list[float]:
    """The elements that are numbers; raises ValueError for what is no array."""
    listed = numbers(text)
    if listed is None:
        raise ValueError("no series")
    return [float(item) for item in listed if item is not None]


def finite(value: Json) -> Json:
    """A number as JSON holds it: infinities and NaN as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def packed(*values: Json) -> str | None:
    """Several values as one array."""
    return dump(
        [[finite(item) for item in value] if isinstance(value, list) else finite(value) for value in values]
    )


def _divided(left: float, right: float) -> float:
    if right == 0:
        return math.nan if left == 0 else math.copysign(math.inf, left)
    return left / right


def _powered(left: float, right: float) -> float:
    try:
        return math.pow(left, right)
    except (ValueError, OverflowError):
        return math.nan


_PAIRS: dict[str, Callable[[float, float], Json]] = {
    "add": lambda left, right: left + right,
    "subtract": lambda left, right: left - right,
    "multiply": lambda left, right: left * right,
    "divide": _divided,
    "pow": _powered,
    "greater": lambda left, right: left > right,
    "greater_equals": lambda left, right: left >= right,
    "less": lambda left, right: left < right,
    "less_equals": lambda left, right: left <= right,
    "equals": lambda left, right: left == right,
    "not_equals": lambda left, right: left != right,
}


def _pairwise(function: Callable[[float, float], Json], left: str | None, right: str | None) -> str | None:
    first, second = parse(left), parse(right)
    if not isinstance(first, list) and not isinstance(second, list):
        return None
    size = max(len(side) for side in (first, second) if isinstance(side, list))

    def at(side: Json, place: int) -> Json:
        item = (side[place] if place < len(side) else None) if isinstance(side, list) else side
        return item if isinstance(item, int | float) else None

    made = []
    for place in range(size):
        one, two = at(first, place), at(second, place)
        made.append(None if one is None or two is None else finite(function(one, two)))
    return dump(made)


def _defined(function: Callable[[float], float]) -> Callable[[float], float]:
    def run(value: float) -> float:
        try:
            return function(value)
        except (ValueError, OverflowError):
            return math.nan

    return run


_UNARY: dict[str, Callable[[float], Json]] = {
    "abs": abs,
    "sign": lambda value: (value > 0) - (value < 0),
    "exp": _defined(math.exp),
    "log": _defined(math.log),
    "sin": math.sin,
    "asin": _defined(math.asin),
    "cos": math.cos,
    "acos": _defined(math.acos),
    "tan": math.tan,
    "atan": math.atan,
    "floor": math.floor,
    "ceiling": math.ceil,
}


def _each(function: Callable[[float], Json], series: str | None) -> str | None:
    listed = numbers(series)
    return (
        None
        if listed is None
        else dump([None if item is None else finite(function(item)) for item in listed])
    )


def _sum(series: str | None) -> str | None:
    return repr(math.fsum(known(series)))


def _product(series: str | None) -> str | None:
    return repr(float(math.prod(known(series))))


def _magnitude(series: str | None) -> str | None:
    return repr(math.sqrt(math.fsum(item * item for item in known(series))))


def _numeric_pairs(left: str | None, right: str | None) -> list[tuple[float, float]]:
    """The pairs of two series, or of one and a number, up to the end of the shorter; none without numbers."""
    first, second = parse(left), parse(right)
    if not isinstance(first, list):
        first = [first] * len(second)
    if not isinstance(second, list):
        second = [second] * len(first)
    return [
        (float(one), float(two))
        for one, two in zip(first, second, strict=False)
        if _number(one) and _number(two)
    ]


def _number(item: Json) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _dot(left: str | None, right: str | None) -> str | None:
    pairs = _numeric_pairs(left, right)
    return repr(math.fsum(one * two for one, two in pairs)) if pairs else None


def _cosine(left: str | None, right: str | None, *magnitudes: str | None) -> str | None:
    pairs = _numeric_pairs(left, right)
    if not pairs:
        return None
    lengths = [math.sqrt(math.fsum(pair[side] ** 2 for pair in pairs)) for side in (0, 1)]
    for side, given in enumerate(magnitudes):
        lengths[side] = float(parse(given))
    return repr(math.fsum(one * two for one, two in pairs) / (lengths[0] * lengths[1]))


def _pearson(left: str | None, right: str | None) -> str | None:
    first, second = known(left), known(right)
    sizes = {len(first), len(second), len(parse(left)), len(parse(right))}
    if len(sizes) > 1 or not first:
        return None
    mean1, mean2 = math.fsum(first) / len(first), math.fsum(second) / len(second)
    joint = math.fsum((one - mean1) * (two - mean2) for one, two in zip(first, second, strict=True))
    spread = math.fsum((one - mean1) ** 2 for one in first) * math.fsum((two - mean2) ** 2 for two in second)
    return repr(joint / math.sqrt(spread)) if spread else "nan"


def mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the variance of a sample."""
    mean = math.fsum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    return mean, spread / (len(values) - 1) if len(values) > 1 else 0.0


def _statistics(series: str | None, ignore: str | None) -> dict[str, Json] | None:
    listed = numbers(series)
    values = [float(item) for item in listed or [] if item is not None]
    if listed is None or not values or (len(values) < len(listed) and ignore != "true"):
        return None
    mean, variance = mean_and_variance(values)
    least, most = min(values), max(values)
    return {
        "min": least,
        "min_idx": listed.index(least),
        "max": most,
        "max_idx": listed.index(most),
        "avg": mean,
        "stdev": math.sqrt(variance),
        "variance": variance,
        "sum": math.fsum(values),
        "len": len(listed),
    }


def _stats_dynamic(series: str | None, ignore: str | None = None) -> str | None:
    return dump(_statistics(series, ignore))


def _stats(series: str | None, ignore: str | None = None) -> str | None:
    found = _statistics(series, ignore)
    return None if found is None else packed(*list(found.values())[:7])


def _is_missing(item: Json, missing: Json) -> bool:
    return item is None if missing is None else item == missing


def _fill_const(series: str | None, constant: str | None = "0", missing: str | None = None) -> str | None:
    listed = parse_array(series)
    value, placeholder = parse(constant), parse(missing)
    if listed is None:
        return None
    return dump([value if _is_missing(item, placeholder) else item for item in listed])


def _carried(listed: list[Json], placeholder: Json) -> list[Json]:
    made: list[Json] = []
    last: Json = None
    for item in listed:
        if not _is_missing(item, placeholder):
            last = item
        made.append(item if last is None else last)
    return made


def _fill_forward(series: str | None, missing: str | None = None) -> str | None:
    listed = parse_array(series)
    return None if listed is None else dump(_carried(listed, parse(missing)))


def _fill_backward(series: str | None, missing: str | None = None) -> str | None:
    listed = parse_array(series)
    return None if listed is None else dump(_carried(listed[::-1], parse(missing))[::-1])


def interpolated(listed: list[Json], placeholder: Json, edges: bool, constant: Json) -> list[Json]:
    """Missing elements put on the line between their neighbours."""
    places = [place for place, item in enumerate(listed) if not _is_missing(item, placeholder)]
    if not places:
        return [constant] * len(listed)
    made = list(listed)
    whole = all(isinstance(listed[place], int) for place in places)
    for left, right in pairwise(places):
        slope = (listed[right] - listed[left]) / (right - left)
        for place in range(left + 1, right):
            value = listed[left] + slope * (place - left)
            made[place] = math.floor(value) if whole else value
    if edges:
        made[: places[0]] = [listed[places[0]]] * places[0]
        made[places[-1] + 1 :] = [listed[places[-1]]] * (len(listed) - places[-1] - 1)
    return made


def _fill_linear(
    series: str | None, missing: str | None = None, edges: str | None = None, constant: str | None = "0"
) -> str | None:
    listed = parse_array(series)
    if listed is None:
        return None
    return dump(interpolated(listed, parse(missing), edges != "false", parse(constant)))


def _fir(
    series: str | None, weights: str | None, normalize: str | None = None, center: str | None = None
) -> str | None:
    values, taps = known(series), known(weights)
    total = math.fsum(taps)
    negative = any(tap < 0 for tap in taps)
    if negative and normalize == "true":
        return None
    if normalize != "false" and not negative and total:
        taps = [tap / total for tap in taps]
    shift = len(taps) // 2 if center == "true" else 0
    made = []
    for place in range(len(values)):
        made.append(
            math.fsum(
                tap * values[place + shift - back]
                for back, tap in enumerate(taps)
                if 0 <= place + shift - back < len(values)
            )
        )
    return dump(made)


def _iir(series: str | None, numerators: str | None, denominators: str | None) -> str | None:
    values, forward, back = known(series), known(numerators), known(denominators)
    if not back or back[0] == 0:
        return None
    made: list[float] = []
    for place in range(len(values)):
        total = math.fsum(tap * values[place - lag] for lag, tap in enumerate(forward) if place >= lag)
        total -= math.fsum(tap * made[place - lag] for lag, tap in enumerate(back) if lag and place >= lag)
        made.append(total / back[0])
    return dump(made)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value at a share of sorted values, between neighbours on the line."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def outlier_scores(values: Sequence[float], low: float, high: float) -> list[float]:
    """Tukey's fences: how many ranges between the quantiles a value lies outside them, signed."""
    ordered = sorted(values)
    first, last = quantile(ordered, low), quantile(ordered, high)
    span = last - first
    made = []
    for value in values:
        outside = value - last if value > last else min(value - first, 0.0)
        made.append(0.0 if outside == 0 else (outside / span if span else math.copysign(math.inf, outside)))
    return made


def _outliers(
    series: str | None,
    kind: str | None = None,
    ignore: str | None = None,
    low: str | None = None,
    high: str | None = None,
) -> str | None:
    listed = numbers(series)
    if listed is None:
        return None
    missing = parse(ignore)
    places = [place for place, item in enumerate(listed) if item is not None and item != missing]
    tukey = parse(kind) == "tukey"
    first = 25 if tukey else float(parse(low) if low is not None else 10)
    last = 75 if tukey else float(parse(high) if high is not None else 90)
    scores: list[Json] = [0.0] * len(listed)
    if places:
        found = outlier_scores([float(listed[place] or 0) for place in places], first / 100, last / 100)
        for place, score in zip(places, found, strict=True):
            scores[place] = finite(score)
    return dump(scores)


def _fourier(inverse: bool, real: str | None, imaginary: str | None = None) -> str | None:
    first = known(real)
    second = known(imaginary) if imaginary is not None else [0.0] * len(first)
    size = len(first)
    if size > 4096 and size & (size - 1):
        return None
    made = transform([complex(one, two) for one, two in zip(first, second, strict=True)], inverse)
    scale = 1 / size if inverse and size else 1
    return packed([item.real * scale for item in made], [item.imag * scale for item in made])


def transform(values: list[complex], inverse: bool) -> list[complex]:
    """The discrete Fourier transform: halves while the size is even, by its definition otherwise."""
    size = len(values)
    if size <= 1:
        return values
    sign = 1 if inverse else -1
    if size % 2:
        turn = [cmath.exp(sign * 2j * cmath.pi * place / size) for place in range(size)]
        return [
            sum((value * turn[place * step % size] for place, value in enumerate(values)), 0j)
            for step in range(size)
        ]
    even, odd = transform(values[::2], inverse), transform(values[1::2], inverse)
    made = [0j] * size
    for place in range(size // 2):
        turned = cmath.exp(sign * 2j * cmath.pi * place / size) * odd[place]
        made[place], made[place + size // 2] = even[place] + turned, even[place] - turned
    return made


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    **{f"series_{name}": partial(_pairwise, function) for name, function in _PAIRS.items()},
    **{f"series_{name}": partial(_each, function) for name, function in _UNARY.items()},
    "series_sum": _sum,
    "series_product": _product,
    "series_magnitude": _magnitude,
    "series_dot_product": _dot,
    "series_cosine_similarity": _cosine,
    "series_pearson_correlation": _pearson,
    "series_stats_dynamic": _stats_dynamic,
    "series_stats": _stats,
    "series_fill_const": _fill_const,
    "series_fill_forward": _fill_forward,
    "series_fill_backward": _fill_backward,
    "series_fill_linear": _fill_linear,
    "series_fir": _fir,
    "series_iir": _iir,
    "series_outliers": _outliers,
    "series_fft": partial(_fourier, False),
    "series_ifft": partial(_fourier, True),
}
