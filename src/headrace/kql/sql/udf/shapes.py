"""Points, lines and polygons on a sphere of 6,371,010 metres; geohashes; WKT."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

from headrace.kql.sql.udf.values import Json, as_bool, as_float, as_int, dump, parse_bag

RADIUS = 6_371_010.0
_MOST_TEXT = 1_000_000


def _points(*values: str | None) -> list[tuple[float, float]] | None:
    """Pairs of longitude and latitude; None if one is missing or out of range."""
    numbers = [as_float(value) for value in values]
    found = []
    for longitude, latitude in zip(numbers[::2], numbers[1::2], strict=True):
        if longitude is None or latitude is None or not -180 <= longitude <= 180 or not -90 <= latitude <= 90:
            return None
        found.append((longitude, latitude))
    return found


def distance(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Metres along the great circle."""
    latitude1, latitude2 = math.radians(one[1]), math.radians(two[1])
    turn = math.radians(two[0] - one[0])
    chord = (
        math.sin((latitude2 - latitude1) / 2) ** 2
        + math.cos(latitude1) * math.cos(latitude2) * math.sin(turn / 2) ** 2
    )
    return 2 * RADIUS * math.asin(min(1.0, math.sqrt(chord)))


def azimuth(one: tuple[float, float], two: tuple[float, float]) -> float:
    """The direction of the great circle at its start, in radians from north."""
    latitude1, latitude2 = math.radians(one[1]), math.radians(two[1])
    turn = math.radians(two[0] - one[0])
    return math.atan2(
        math.sin(turn) * math.cos(latitude2),
        math.cos(latitude1) * math.sin(latitude2)
        - math.sin(latitude1) * math.cos(latitude2) * math.cos(turn),
    ) % (2 * math.pi)


def _distance(*values: str | None) -> str | None:
    points = _points(*values[:4])
    return None if points is None else repr(distance(points[0], points[1]))


def _azimuth(*values: str | None) -> str | None:
    points = _points(*values)
    return None if points is None or points[0] == points[1] else repr(azimuth(points[0], points[1]))


def _angle(*values: str | None) -> str | None:
    points = _points(*values)
    if points is None or points[1] in (points[0], points[2]):
        return None
    return repr((azimuth(points[1], points[2]) - azimuth(points[1], points[0])) % (2 * math.pi))


def _in_circle(*values: str | None) -> str | None:
    points, radius = _points(*values[:4]), as_float(values[4])
    if points is None or radius is None or radius < 0:
        return None
    return as_bool(distance(points[0], points[1]) <= radius)


def _is_place(point: Json) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in point)
        and -180 <= point[0] <= 180
        and -90 <= point[1] <= 90
    )


def _is_ring(ring: Json) -> bool:
    """Whether places make a closed ring whose corners differ."""
    if not isinstance(ring, list) or len(ring) < 4 or ring[0] != ring[-1]:
        return False
    return all(map(_is_place, ring)) and len({tuple(place) for place in ring}) == len(ring) - 1


def _rings(shape: Json) -> list[list[list[list[float]]]] | None:
    """The rings of each polygon; None for what is no valid polygon."""
    if not isinstance(shape, dict) or shape.get("type") not in ("Polygon", "MultiPolygon"):
        return None
    polygons = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
    valid = all(polygon and all(map(_is_ring, polygon)) for polygon in polygons)
    return list(polygons) if valid and polygons else None


def _inside(point: tuple[float, float], ring: list[list[float]]) -> bool:
    found = False
    for (x1, y1), (x2, y2) in pairwise(ring):
        if (y1 > point[1]) != (y2 > point[1]) and point[0] < (x2 - x1) * (point[1] - y1) / (y2 - y1) + x1:
            found = not found
    return found


def _in_polygon(longitude: str | None, latitude: str | None, polygon: str | None) -> str | None:
    points, polygons = _points(longitude, latitude), _rings(parse_bag(polygon))
    if points is None or polygons is None:
        return None
    return as_bool(
        any(
            _inside(points[0], rings[0]) and not any(_inside(points[0], hole) for hole in rings[1:])
            for rings in polygons
        )
    )


def _lines(shape: Json) -> list[list[list[float]]]:
    """The places of each line; raises ValueError for what is no valid line."""
    if not isinstance(shape, dict) or shape.get("type") not in ("LineString", "MultiLineString"):
        raise ValueError("no line")
    lines = [shape["coordinates"]] if shape["type"] == "LineString" else shape["coordinates"]
    if not lines or not all(len(line) >= 2 and all(map(_is_place, line)) for line in lines):
        raise ValueError("no line")
    return list(lines)


def _length(line: str | None) -> str | None:
    total = 0.0
    for part in _lines(parse_bag(line)):
        for one, two in pairwise(part):
            total += distance((one[0], one[1]), (two[0], two[1]))
    return repr(total)


def _to_segment(point: tuple[float, float], one: tuple[float, float], two: tuple[float, float]) -> float:
    """Metres to the nearest point of a great circle's arc."""
    along = distance(one, two) / RADIUS
    if along == 0:
        return distance(point, one)
    off = distance(one, point) / RADIUS
    turn = azimuth(one, point) - azimuth(one, two)
    cross = math.asin(math.sin(off) * math.sin(turn))
    foot = math.atan2(math.sin(off) * math.cos(turn), math.cos(off))
    if 0 <= foot <= along:
        return abs(cross) * RADIUS
    return min(distance(point, one), distance(point, two))


def _to_line(longitude: str | None, latitude: str | None, line: str | None) -> str | None:
    points = _points(longitude, latitude)
    if points is None:
        return None
    return repr(
        min(
            _to_segment(points[0], (one[0], one[1]), (two[0], two[1]))
            for part in _lines(parse_bag(line))
            for one, two in pairwise(part)
        )
    )


_LETTERS = "0123456789bcdefghjkmnpqrstuvwxyz"


def geohash(longitude: float, latitude: float, size: int) -> str:
    """The geohash of a point."""
    ranges = [[-180.0, 180.0], [-90.0, 90.0]]
    values = (longitude, latitude)
    made, number = "", 0
    for bit in range(size * 5):
        axis = bit % 2
        middle = sum(ranges[axis]) / 2
        upper = values[axis] >= middle
        ranges[axis][0 if upper else 1] = middle
        number = number * 2 + upper
        if bit % 5 == 4:
            made, number = made + _LETTERS[number], 0
    return made


def geohash_box(text: str) -> tuple[float, float, float, float] | None:
    """West, south, east and north of a geohash."""
    if not 1 <= len(text) <= 18 or any(letter not in _LETTERS for letter in text):
        return None
    ranges = [[-180.0, 180.0], [-90.0, 90.0]]
    bit = 0
    for letter in text:
        number = _LETTERS.index(letter)
        for place in range(4, -1, -1):
            axis = bit % 2
            ranges[axis][0 if number >> place & 1 else 1] = sum(ranges[axis]) / 2
            bit += 1
    return ranges[0][0], ranges[1][0], ranges[0][1], ranges[1][1]


def _to_geohash(longitude: str | None, latitude: str | None, accuracy: str | None = "5") -> str | None:
    points = _points(longitude, latitude)
    size = as_int(accuracy)
    if points is None or size is None or not 1 <= size <= 18:
        return None
    return geohash(*points[0], size)


def _central(text: str | None) -> str | None:
    box = geohash_box(text or "")
    if box is None:
        return None
    return dump({"type": "Point", "coordinates": [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]})


def _box_polygon(text: str | None) -> str | None:
    box = geohash_box(text or "")
    if box is None:
        return None
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return dump({"type": "Polygon", "coordinates": [ring]})


_AROUND = ((-1, -1), (-1, 1), (1, -1), (0, 1), (-1, 0), (1, 1), (1, 0), (0, -1))


def _neighbors(text: str | None) -> str | None:
    box = geohash_box(text or "")
    if box is None or text is None:
        return None
    width, height = box[2] - box[0], box[3] - box[1]
    made = []
    for east, north in _AROUND:
        latitude = (box[1] + box[3]) / 2 + north * height
        longitude = ((box[0] + box[2]) / 2 + east * width + 180) % 360 - 180
        if -90 <= latitude <= 90:
            made.append(geohash(longitude, latitude, len(text)))
    return dump(made)


_TOKEN = re.compile(r"\s*([A-Za-z]+|\(|\)|,|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
_SHAPES = {
    "POINT": ("Point", 0),
    "LINESTRING": ("LineString", 1),
    "POLYGON": ("Polygon", 2),
    "MULTIPOINT": ("MultiPoint", 1),
    "MULTILINESTRING": ("MultiLineString", 2),
    "MULTIPOLYGON": ("MultiPolygon", 3),
}


class _Wkt:
    """Reads one well-known text; raises ValueError where it is none."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        place = 0
        text = text.strip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError("no WKT")
            self.tokens.append(match[1])
            place = match.end()
        self.place = 0

    def take(self, wanted: str | None = None) -> str:
        token = self.tokens[self.place]
        if wanted is not None and token != wanted:
            raise ValueError("no WKT")
        self.place += 1
        return token

    def shape(self, depth: int = 0) -> Json:
        name = self.take().upper()
        if name == "GEOMETRYCOLLECTION" and depth < 20:
            return {"type": "GeometryCollection", "geometries": self.listed(lambda: self.shape(depth + 1))}
        if name not in _SHAPES:
            raise ValueError("no WKT")
        kind, levels = _SHAPES[name]
        if levels == 0:
            self.take("(")
            point = self.point()
            self.take(")")
            return {"type": kind, "coordinates": point}
        return {"type": kind, "coordinates": self.nested(levels)}

    def nested(self, levels: int) -> Json:
        if levels == 1:
            return self.listed(self.point)
        return self.listed(lambda: self.nested(levels - 1))

    def listed(self, item: Callable[[], Json]) -> list[Json]:
        self.take("(")
        made = [item()]
        while self.take() == ",":
            made.append(item())
        if self.tokens[self.place - 1] != ")":
            raise ValueError("no WKT")
        return made

    def point(self) -> Json:
        # A point of a MULTIPOINT may stand in parentheses of its own.
        own = self.tokens[self.place] == "("
        if own:
            self.take()
        made = [_number(self.take()), _number(self.take())]
        if own:
            self.take(")")
        return made


def _number(token: str) -> float | int:
    value = float(token)
    return int(value) if value.is_integer() else value


def _from_wkt(text: str | None) -> str | None:
    if not text or len(text) > _MOST_TEXT:
        return None
    reader = _Wkt(text)
    shape = reader.shape()
    return dump(shape) if reader.place == len(reader.tokens) else None


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "geo_distance_2points": _distance,
    "geo_azimuth": _azimuth,
    "geo_angle": _angle,
    "geo_point_in_circle": _in_circle,
    "geo_point_in_polygon": _in_polygon,
    "geo_line_length": _length,
    "geo_distance_point_to_line": _to_line,
    "geo_point_to_geohash": _to_geohash,
    "geo_geohash_to_central_point": _central,
    "geo_geohash_to_polygon": _box_polygon,
    "geo_geohash_neighbors": _neighbors,
    "geo_from_wkt": _from_wkt,
}
