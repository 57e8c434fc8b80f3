"""Lowerings of geography: each is a call of Python."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Context, Typed, lowers

_RESULTS = {
    "geo_distance_2points": "DOUBLE",
    "geo_azimuth": "DOUBLE",
    "geo_angle": "DOUBLE",
    "geo_point_in_circle": "BOOLEAN",
    "geo_point_in_polygon": "BOOLEAN",
    "geo_distance_point_to_line": "DOUBLE",
    "geo_line_length": "DOUBLE",
    "geo_point_to_geohash": "",
    "geo_geohash_to_central_point": "VARCHAR",
    "geo_geohash_to_polygon": "VARCHAR",
    "geo_geohash_neighbors": "VARCHAR",
    "geo_from_wkt": "VARCHAR",
}


def _register(name: str, result: str) -> None:
    def lowering(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
        made = b.python(name, *[argument.sql for argument in arguments])
        if not result:
            return b.coalesce(made, "")
        return made if result == "VARCHAR" else b.cast(made, result)

    lowers(name)(lowering)


for _name, _result in _RESULTS.items():
    _register(_name, _result)
