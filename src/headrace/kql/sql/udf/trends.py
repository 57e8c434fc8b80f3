"""Lines, polynomials, periods and the decomposition of series."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from headrace.kql.sql.udf.series import (
    finite,
    interpolated,
    known,
    mean_and_variance,
    outlier_scores,
    packed,
    transform,
)
from headrace.kql.sql.udf.values import Json, dump, parse, parse_array

_MOST_DEGREE = 16
_MOST_PERIODS = 16
_SEASONAL = 0.7
"""The score from which `series_seasonal` takes a period for one."""


def fitted_line(values: Sequence[float]) -> tuple[float, float]:
    """The slope and the start of the line of least squares over places 0, 1, 2, ..."""
    size = len(values)
    if size < 2:
        return 0.0, values[0] if values else 0.0
    middle = (size - 1) / 2
    mean = math.fsum(values) / size
    joint = math.fsum((place - middle) * (value - mean) for place, value in enumerate(values))
    slope = joint / math.fsum((place - middle) ** 2 for place in range(size))
    return slope, mean - slope * middle


def _line_of(values: Sequence[float]) -> dict[str, Json]:
    slope, start = fitted_line(values)
    line = [start + slope * place for place in range(len(values))]
    _, variance = mean_and_variance(values)
    rest = [value - fit for value, fit in zip(values, line, strict=True)]
    residual = math.fsum(item * item for item in rest) / (len(values) - 1) if len(values) > 1 else 0.0
    return {
        "rsquare": 1 - residual / variance if variance else 0.0,
        "slope": slope,
        "variance": variance,
        "rvariance": residual,
        "interception": start,
        "line_fit": line,
    }


def _fit_line(series: str | None) -> str | None:
    values = known(series)
    return packed(*_line_of(values).values()) if values else None


def _fit_line_dynamic(series: str | None) -> str | None:
    values = known(series)
    return dump(_line_of(values)) if values else None


def _squares(values: Sequence[float]) -> float:
    slope, start = fitted_line(values)
    return math.fsum((value - start - slope * place) ** 2 for place, value in enumerate(values))


def _two_lines(values: Sequence[float]) -> dict[str, Json]:
    if len(values) > 2000:
        raise ValueError("too long")
    _, variance = mean_and_variance(values)
    split = min(
        range(1, max(len(values) - 1, 2)),
        key=lambda place: _squares(values[:place]) + _squares(values[place:]),
    )
    left, right = _line_of(values[:split]), _line_of(values[split:] or values[-1:])
    residual = (_squares(values[:split]) + _squares(values[split:])) / max(len(values) - 1, 1)
    made: dict[str, Json] = {
        "rsquare": 1 - residual / variance if variance else 0.0,
        "split_idx": split,
        "variance": variance,
        "rvariance": residual,
        "line_fit": left["line_fit"] + right["line_fit"],
    }
    for side, line in (("right", right), ("left", left)):
        for name in ("rsquare", "slope", "interception", "variance", "rvariance"):
            made[f"{side}_{name}"] = line[name]
    return made


def _fit_2lines(series: str | None) -> str | None:
    return packed(*_two_lines(known(series)).values())


def _fit_2lines_dynamic(series: str | None) -> str | None:
    made = _two_lines(known(series))
    return dump({name: finite(value) for name, value in made.items()})


def _fit_poly(y: str | None, x: str | None = None, degree: str | None = None) -> str | None:
    values = known(y)
    places = known(x) if x is not None else [float(place + 1) for place in range(len(values))]
    size = min(max(int(parse(degree) or 1), 1), _MOST_DEGREE) + 1
    rows = [
        [math.fsum(place ** (row + column) for place in places) for column in range(size)]
        + [math.fsum(value * place**row for place, value in zip(places, values, strict=True))]
        for row in range(size)
    ]
    coefficients = _solved(rows)
    fit = [math.fsum(c * place**power for power, c in enumerate(coefficients)) for place in places]
    _, variance = mean_and_variance(values)
    rest = math.fsum((value - item) ** 2 for value, item in zip(values, fit, strict=True)) / (len(values) - 1)
    return packed(1 - rest / variance if variance else 0.0, coefficients[::-1], variance, rest, fit)


def _solved(rows: list[list[float]]) -> list[float]:
    """Linear equations by elimination, the greatest pivot first."""
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(size):
            if row != column:
                factor = rows[row][column] / rows[column][column]
                rows[row] = [one - factor * two for one, two in zip(rows[row], rows[column], strict=True)]
    return [rows[row][size] / rows[row][row] for row in range(size)]


def correlations(values: Sequence[float]) -> list[float]:
    """The series' correlation with itself at each lag up to half of its length."""
    mean, _ = mean_and_variance(values)
    size = 1
    while size < 2 * len(values):
        size *= 2
    waves = transform([complex(value - mean) for value in values] + [0j] * (size - len(values)), False)
    powers = transform([complex(abs(wave) ** 2) for wave in waves], True)
    start = powers[0].real
    if start <= 0:
        return []
    total = len(values)
    return [powers[lag].real / start * total / (total - lag) for lag in range(total // 2 + 1)]


LEAST_PERIOD = 4
"""The shortest period, in points, that can be told from noise."""


def _score(found: Sequence[float], lag: int) -> float:
    """The lesser of the correlations at a lag and at twice of it: a period repeats."""
    return max(min(found[place] for place in (lag, 2 * lag) if place < len(found)), 0.0)


def _is_peak(found: Sequence[float], lag: int) -> bool:
    """Whether no lag nearby, up to a quarter more or less, correlates better."""
    near = max(lag // 4, 1)
    return found[lag] > 0.1 and found[lag] >= max(found[lag - near : lag + near + 1])


def _peaks(values: Sequence[float], least: float, most: float) -> list[tuple[float, float]]:
    """Lags at which the correlation peaks, with their scores, the best first; no multiples of a better one."""
    found = correlations(values)
    peaks = [
        (lag, min(_score(found, lag), 1.0))
        for lag in range(LEAST_PERIOD, len(found) - 1)
        if least <= lag <= most and _is_peak(found, lag)
    ]
    kept: list[tuple[float, float]] = []
    for lag, score in sorted(peaks, key=lambda peak: (-round(peak[1], 6), peak[0])):
        if score > 0 and all(lag % better for better, _ in kept):
            kept.append((float(lag), score))
    return kept


def _periods_detect(series: str | None, least: str | None, most: str | None, count: str | None) -> str | None:
    asked = min(max(int(parse(count)), 0), _MOST_PERIODS)
    peaks = _peaks(known(series), float(parse(least)), float(parse(most)))[:asked]
    peaks.extend([(0.0, 0.0)] * (asked - len(peaks)))
    return packed([peak[0] for peak in peaks], [peak[1] for peak in peaks])


def _periods_validate(series: str | None, *periods: str | None) -> str | None:
    found = correlations(known(series))
    asked = [float(parse(period)) for period in periods]
    scores = [
        min(_score(found, round(period)), 1.0) if LEAST_PERIOD <= round(period) < len(found) else 0.0
        for period in asked
    ]
    return packed(asked, scores)


def _period(values: Sequence[float], asked: int | None, threshold: float) -> int:
    if asked is not None and asked >= 0:
        return asked
    if len(values) < 4:
        return 0
    slope, start = fitted_line(values)
    peaks = _peaks([value - start - slope * place for place, value in enumerate(values)], 2, len(values) / 2)
    return int(peaks[0][0]) if peaks and peaks[0][1] >= threshold else 0


def _phases(values: Sequence[float], period: int) -> list[float]:
    """The median of each phase of the period."""
    return [statistics.median(values[phase::period]) for phase in range(period)]


def _season(values: Sequence[float], period: int, size: int) -> list[float]:
    """The median of each phase of the period, repeated to a size; it sums to nothing."""
    if period < 2 or len(values) < period:
        return [0.0] * size
    phases = _phases(values, period)
    middle = math.fsum(phases) / period
    return [phases[place % period] - middle for place in range(size)]


def decomposed(
    series: str | None, period: int | None, trend: str, test: int, threshold: float
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Baseline, season, trend and rest; the last `test` elements are left out of the learning."""
    listed = parse_array(series)
    if not listed:
        raise ValueError("no series")
    values = [float(item) for item in interpolated(listed, None, True, 0.0)]
    learned = values[: len(values) - test] if 0 < test < len(values) else values
    slope, start = fitted_line(learned)
    mean = math.fsum(learned) / len(learned)
    size = len(values)
    if trend == "linefit":
        line = [start + slope * place for place in range(size)]
    else:
        line = [mean if trend == "avg" else 0.0] * size
    found = _period(learned, period, threshold)
    flat = [value - fit for value, fit in zip(learned, line, strict=False)]
    season = _season(flat, found, size)
    baseline = [one + two for one, two in zip(line, season, strict=True)]
    rest = [value - fit for value, fit in zip(values, baseline, strict=True)]
    return baseline, season, line, rest


def _options(
    period: str | None, trend: str | None, test: str | None, threshold: str | None
) -> tuple[int | None, str, int, float]:
    asked, points, limit = parse(period), parse(test), parse(threshold)
    return (
        None if asked is None else int(asked),
        str(parse(trend) or "avg").lower(),
        int(points or 0),
        float(limit if limit is not None else 0.6),
    )


def _decompose(
    series: str | None,
    period: str | None = None,
    trend: str | None = None,
    test: str | None = None,
    threshold: str | None = None,
) -> str | None:
    return packed(*decomposed(series, *_options(period, trend, test, threshold)))


def _forecast(
    series: str | None,
    points: str | None,
    period: str | None = None,
    trend: str | None = None,
    threshold: str | None = None,
) -> str | None:
    options = _options(period, trend if trend is not None else '"linefit"', points, threshold)
    return dump([finite(item) for item in decomposed(series, *options)[0]])


def _anomalies(
    series: str | None,
    threshold: str | None = None,
    period: str | None = None,
    trend: str | None = None,
    test: str | None = None,
    method: str | None = None,
    season_threshold: str | None = None,
) -> str | None:
    baseline, _, _, rest = decomposed(series, *_options(period, trend, test, season_threshold))
    limit = parse(threshold)
    limit = 1.5 if limit is None else float(limit)
    low, high = (0.25, 0.75) if str(parse(method) or "").lower() == "tukey" else (0.1, 0.9)
    scores = outlier_scores(rest, low, high)
    flags = [(1 if score > 0 else -1) if abs(score) > limit else 0 for score in scores]
    return packed(flags, scores, baseline)


def _seasonal(series: str | None, period: str | None = None, test: str | None = None) -> str | None:
    listed = parse_array(series)
    if not listed:
        return None
    values = [float(item) for item in interpolated(listed, None, True, 0.0)]
    points = int(parse(test) or 0)
    learned = values[: len(values) - points] if 0 < points < len(values) else values
    asked = parse(period)
    found = _period(learned, None if asked is None else int(asked), _SEASONAL)
    if not 0 < found <= len(learned):
        return dump([0.0] * len(values))
    phases = _phases(learned, found)
    return dump([phases[place % found] for place in range(len(values))])


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "series_fit_line": _fit_line,
    "series_fit_line_dynamic": _fit_line_dynamic,
    "series_fit_2lines": _fit_2lines,
    "series_fit_2lines_dynamic": _fit_2lines_dynamic,
    "series_fit_poly": _fit_poly,
    "series_periods_detect": _periods_detect,
    "series_periods_validate": _periods_validate,
    "series_decompose": _decompose,
    "series_decompose_forecast": _forecast,
    "series_decompose_anomalies": _anomalies,
    "series_seasonal": _seasonal,
}
