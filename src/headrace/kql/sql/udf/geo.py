"""Where IP addresses are, from an optional MaxMind-format database."""

from __future__ import annotations

from typing import Any

from headrace.kql.sql.udf.values import Json, dump

_MEMBERS = ("Country", "Region", "State", "City", "Latitude", "Longitude")


def _name(record: Any, *path: str | int) -> Json:
    for step in path:
        if isinstance(step, str) and isinstance(record, dict):
            record = record.get(step)
        elif isinstance(step, int) and isinstance(record, list) and len(record) > step:
            record = record[step]
        else:
            return None
    return record


def look_up(reader: Any, ip: str | None) -> Any:
    """The database's record of an address, None if there is no database, address or record."""
    if reader is None or not ip:
        return None
    try:
        return reader.get(ip)
    except (ValueError, TypeError, OSError):
        return None


def geo_location(reader: Any, ip: str | None) -> str | None:
    """An object of country, region, state, city, latitude and longitude; null members for what is not known."""
    record = look_up(reader, ip)
    state = _name(record, "subdivisions", 0, "names", "en")
    values = (
        _name(record, "country", "names", "en"),
        _name(record, "continent", "names", "en"),
        state,
        _name(record, "city", "names", "en"),
        _name(record, "location", "latitude"),
        _name(record, "location", "longitude"),
    )
    return dump(dict(zip(_MEMBERS, values, strict=True)))


def geo_info(reader: Any, ip: str | None) -> str | None:
    """As `geo_location`, with the names that queries know; only members that are known."""
    record = look_up(reader, ip)
    if record is None:
        return "{}" if ip else None
    found = {
        "country": _name(record, "country", "names", "en"),
        "state": _name(record, "subdivisions", 0, "names", "en"),
        "city": _name(record, "city", "names", "en"),
        "latitude": _name(record, "location", "latitude"),
        "longitude": _name(record, "location", "longitude"),
    }
    return dump({name: value for name, value in found.items() if value is not None})
