"""Geography: distances, angles, circles and polygons on the sphere, geohashes, WKT."""

from __future__ import annotations

from functools import partial

from headrace.kql.bind.functions.declare import BOOL, DYNAMIC, REAL, STRING, scalar

_extended = partial(scalar, family="geography")
_TWO = "longitude1: real, latitude1: real, longitude2: real, latitude2: real"

FUNCTIONS = (
    _extended("geo_distance_2points", "The metres between two points.", f"{_TWO}, spheroid?: any", REAL),
    _extended("geo_azimuth", "The direction from one point to another in radians.", _TWO, REAL),
    _extended(
        "geo_angle",
        "The angle at the second of three points in radians.",
        f"{_TWO}, longitude3: real, latitude3: real",
        REAL,
    ),
    _extended(
        "geo_point_in_circle",
        "Whether a point lies in a circle of so many metres.",
        "longitude: real, latitude: real, center_longitude: real, center_latitude: real, radius: real",
        BOOL,
    ),
    _extended(
        "geo_point_in_polygon",
        "Whether a point lies in a polygon.",
        "longitude: real, latitude: real, polygon: dynamic",
        BOOL,
    ),
    _extended(
        "geo_distance_point_to_line",
        "The metres from a point to a line.",
        "longitude: real, latitude: real, line: dynamic",
        REAL,
    ),
    _extended("geo_line_length", "The metres of a line.", "line: dynamic", REAL),
    _extended(
        "geo_point_to_geohash",
        "The geohash of a point.",
        "longitude: real, latitude: real, accuracy?: long",
        STRING,
    ),
    _extended("geo_geohash_to_central_point", "The middle of a geohash.", "geohash: string", DYNAMIC),
    _extended("geo_geohash_to_polygon", "The rectangle of a geohash.", "geohash: string", DYNAMIC),
    _extended("geo_geohash_neighbors", "The geohashes around one.", "geohash: string", DYNAMIC),
    _extended("geo_from_wkt", "The shape of a well-known text.", "wkt: string", DYNAMIC),
)
