"""Sketches of distinct values (`hll`) and of distributions (`tdigest`), outside `summarize`."""

from __future__ import annotations

from functools import partial

from headrace.kql.bind.functions.declare import DYNAMIC, LONG, REAL, scalar, way
from headrace.kql.bind.functions.registry import Naming
from headrace.kql.bind.functions.strings import named_type

_extended = partial(scalar, family="sketches")

FUNCTIONS = (
    _extended(
        "dcount_hll",
        "How many distinct values a sketch has seen.",
        "sketch: dynamic",
        LONG,
        naming=Naming.PREFIX,
    ),
    _extended("__scalar_hll_merge", "One sketch of several.", "sketch+: dynamic", DYNAMIC),
    _extended("__scalar_tdigest_merge", "One distribution sketch of several.", "sketch+: dynamic", DYNAMIC),
    _extended(
        "percentile_tdigest",
        "A percentile of a sketch.",
        "sketch: dynamic, percentage: real",
        DYNAMIC,
        way("sketch: dynamic, percentage: real, type: string!", named_type),
        naming=Naming.PREFIX,
    ),
    _extended(
        "percentiles_array_tdigest",
        "Several percentiles of a sketch, as an array.",
        "sketch: dynamic, percentages: dynamic, type?: string!",
        DYNAMIC,
        way("sketch: dynamic, percentage+: real", DYNAMIC),
        naming=Naming.PREFIX,
        prefix="percentile_tdigest",
    ),
    _extended(
        "percentrank_tdigest",
        "The share of values below a value, in percent.",
        "sketch: dynamic, value: any",
        REAL,
    ),
    _extended(
        "rank_tdigest", "How many values are no more than a value.", "sketch: dynamic, value: any", REAL
    ),
)
