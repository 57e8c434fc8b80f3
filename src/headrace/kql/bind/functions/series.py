"""Functions over series: dynamic arrays of numbers."""

from __future__ import annotations

from functools import partial
from typing import Unpack

from headrace.kql.bind.functions.declare import DYNAMIC, LONG, REAL, Traits, scalar
from headrace.kql.bind.functions.registry import Function, Naming
from headrace.kql.types import KustoType

_STATS = (
    ("min", REAL),
    ("min_idx", LONG),
    ("max", REAL),
    ("max_idx", LONG),
    ("avg", REAL),
    ("stdev", REAL),
    ("variance", REAL),
)
_LINE = (
    ("rsquare", REAL),
    ("slope", REAL),
    ("variance", REAL),
    ("rvariance", REAL),
    ("interception", REAL),
    ("line_fit", DYNAMIC),
)
_TWO_LINES = (
    ("rsquare", REAL),
    ("split_idx", LONG),
    ("variance", REAL),
    ("rvariance", REAL),
    ("line_fit", DYNAMIC),
    ("right_rsquare", REAL),
    ("right_slope", REAL),
    ("right_interception", REAL),
    ("right_variance", REAL),
    ("right_rvariance", REAL),
    ("left_rsquare", REAL),
    ("left_slope", REAL),
    ("left_interception", REAL),
    ("left_variance", REAL),
    ("left_rvariance", REAL),
)
_POLY = (
    ("rsquare", REAL),
    ("coefficients", DYNAMIC),
    ("variance", REAL),
    ("rvariance", REAL),
    ("poly_fit", DYNAMIC),
)
_PARTS = (("baseline", DYNAMIC), ("seasonal", DYNAMIC), ("trend", DYNAMIC), ("residual", DYNAMIC))
_ANOMALIES = (("ad_flag", DYNAMIC), ("ad_score", DYNAMIC), ("baseline", DYNAMIC))
_extended = partial(scalar, family="series")


def _series(
    name: str,
    doc: str,
    text: str = "series: dynamic",
    result: KustoType = DYNAMIC,
    **traits: Unpack[Traits],
) -> Function:
    return _extended(f"series_{name}", doc, text, result, **traits)


_TWO = "left: dynamic|real|long|int|decimal, right: dynamic|real|long|int|decimal"

FUNCTIONS = (
    *(
        _series(name, f"Element by element: {doc}.", _TWO)
        for name, doc in (
            ("add", "the sum"),
            ("subtract", "the difference"),
            ("multiply", "the product"),
            ("divide", "the quotient"),
            ("pow", "the power"),
            ("greater", "whether the first is more"),
            ("greater_equals", "whether the first is no less"),
            ("less", "whether the first is less"),
            ("less_equals", "whether the first is no more"),
            ("equals", "whether both are equal"),
            ("not_equals", "whether they differ"),
        )
    ),
    *(
        _series(name, f"Of each element {doc}.")
        for name, doc in (
            ("abs", "the absolute value"),
            ("sign", "the sign"),
            ("exp", "the exponential"),
            ("log", "the natural logarithm"),
            ("sin", "the sine"),
            ("asin", "the arc sine"),
            ("cos", "the cosine"),
            ("acos", "the arc cosine"),
            ("tan", "the tangent"),
            ("atan", "the arc tangent"),
            ("floor", "the greatest whole number that is no more"),
            ("ceiling", "the least whole number that is no less"),
        )
    ),
    _series("sum", "The sum of the elements.", result=REAL),
    _series("product", "The product of the elements.", result=REAL),
    _series("magnitude", "The Euclidean length.", result=REAL),
    _series("dot_product", "The sum of the products.", _TWO, REAL),
    _series("pearson_correlation", "The correlation of two series.", "left: dynamic, right: dynamic", REAL),
    _series(
        "cosine_similarity",
        "The cosine of the angle between two series.",
        "left: dynamic, right: dynamic, left_magnitude?: real, right_magnitude?: real",
        REAL,
    ),
    _series(
        "stats_dynamic",
        "Least, greatest, mean, deviation and the like, as an object.",
        "series: dynamic, ignore_nonfinite?: bool",
    ),
    _series(
        "stats",
        "Least, greatest, mean, deviation and the like.",
        "series: dynamic, ignore_nonfinite?: bool",
        columns=_STATS,
    ),
    _series(
        "fill_const",
        "Missing elements replaced by a constant.",
        "series: dynamic, constant?: any, missing?: any",
        naming=Naming.FIRST,
    ),
    _series(
        "fill_forward",
        "Missing elements replaced by the last known.",
        "series: dynamic, missing?: any",
        naming=Naming.FIRST,
    ),
    _series(
        "fill_backward",
        "Missing elements replaced by the next known.",
        "series: dynamic, missing?: any",
        naming=Naming.FIRST,
    ),
    _series(
        "fill_linear",
        "Missing elements on the line between their neighbours.",
        "series: dynamic, missing?: any, fill_edges?: bool, constant?: any",
        naming=Naming.FIRST,
    ),
    _series(
        "fir",
        "The series filtered by weights.",
        "series: dynamic, filter: dynamic, normalize?: bool, center?: bool",
        naming=Naming.FIRST,
    ),
    _series(
        "iir",
        "The series filtered by weights and feedback.",
        "series: dynamic, numerators: dynamic, denominators: dynamic",
        naming=Naming.FIRST,
    ),
    _series(
        "outliers",
        "How far each element lies outside the usual.",
        "series: dynamic, kind?: string, ignore?: real, low?: real, high?: real",
        naming=Naming.FIRST,
    ),
    _series("fit_line", "The straight line that fits best.", columns=_LINE),
    _series("fit_line_dynamic", "The straight line that fits best, as an object."),
    _series("fit_2lines", "The two straight lines that fit best.", columns=_TWO_LINES),
    _series("fit_2lines_dynamic", "The two straight lines that fit best, as an object."),
    _series(
        "fit_poly", "The polynomial that fits best.", "y: dynamic, x?: dynamic, degree?: long", columns=_POLY
    ),
    _series(
        "fft",
        "The Fourier transform.",
        "real: dynamic, imaginary?: dynamic",
        columns=(("real", DYNAMIC), ("imag", DYNAMIC)),
    ),
    _series(
        "ifft",
        "The inverse Fourier transform.",
        "real: dynamic, imaginary?: dynamic",
        columns=(("real", DYNAMIC), ("imag", DYNAMIC)),
    ),
    _series("seasonal", "The seasonal part.", "series: dynamic, period?: long, test_points?: long"),
    _series(
        "periods_detect",
        "The periods of a series and their scores.",
        "series: dynamic, least: real, most: real, count: long",
        columns=(("periods", DYNAMIC), ("periods_scores", DYNAMIC)),
    ),
    _series(
        "periods_validate",
        "The scores of given periods.",
        "series: dynamic, period+: real",
        columns=(("periods", DYNAMIC), ("scores", DYNAMIC)),
    ),
    _series(
        "decompose",
        "The series' baseline, season, trend and rest.",
        "series: dynamic, period?: long, trend?: string, test_points?: long, threshold?: real",
        columns=_PARTS,
    ),
    _series(
        "decompose_forecast",
        "The series continued.",
        "series: dynamic, points: long, period?: long, trend?: string, threshold?: real",
    ),
    _series(
        "decompose_anomalies",
        "Where the series leaves its baseline.",
        "series: dynamic, threshold?: real, period?: long, trend?: string, test_points?: long, method?: string, "
        "season_threshold?: real",
        columns=_ANOMALIES,
    ),
)
