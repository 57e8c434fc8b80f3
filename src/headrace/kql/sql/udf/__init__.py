"""The Python side of rare functions: text in, text out, None for null.

A dynamic comes and goes as JSON text, a datetime or timespan as its ticks in decimal digits, a bool as `true`
or `false`. What a function cannot do with a value is null; none raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from headrace.kql.sql.udf import (
    agents,
    bags,
    dates,
    figures,
    geo,
    network,
    series,
    shapes,
    sketches,
    special,
    text,
    trends,
    xmlpath,
)
from headrace.kql.sql.udf.values import guarded

Library = Mapping[str, Callable[..., str | None]]

_FUNCTIONS: Library = {
    name: guarded(function)
    for family in (
        agents,
        bags,
        dates,
        figures,
        network,
        series,
        shapes,
        sketches,
        special,
        text,
        trends,
        xmlpath,
    )
    for name, function in family.FUNCTIONS.items()
}


def library(reader: Any = None) -> Library:
    """All functions by name; `reader` is a MaxMind-format database, or None."""
    return {
        **_FUNCTIONS,
        "geo_location": guarded(partial(geo.geo_location, reader)),
        "geo_info_from_ip_address": guarded(partial(geo.geo_info, reader)),
    }


def names() -> frozenset[str]:
    """The names that lowered functions may call."""
    return frozenset(library())
