"""Reading datetimes and timespans that the engine's own casts do not take, and formatting them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from headrace.kql.sql.udf.values import dump
from headrace.kql.types import LEAST_DATETIME, MOST_DATETIME

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_A_DAY = 864_000_000_000
_MAX_LENGTH = 100

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_CLOCK = (
    r"(?:[T\s]\s*(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[AP]M)?)?"
)
# Behind a date alone an offset is written out: else it could be taken out of what is no date.
_ZONE = r"\s*(?P<zone>Z|GMT|UTC|[+-]\d{2}:\d{2}|(?(hour)[+-]\d{1,2}(?::?\d{2})?|(?!)))?"
_WEEKDAY = r"(?:(?:Mon|Tue|Tues|Wed|Wednes|Thu|Thurs|Fri|Sat|Satur|Sun)(?:day)?,?\s+)?"

# ISO 8601 and its relatives; RFC 822 and RFC 850; month first; the date without dashes.
_PATTERNS = tuple(
    re.compile(rf"\s*{_WEEKDAY}{date}{_CLOCK}{_ZONE}\s*", re.IGNORECASE | re.ASCII)
    for date in (
        r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})(?:[-/.](?P<day>\d{1,2}))?",
        r"(?P<day>\d{1,2})[-\s](?P<name>[A-Za-z]{3,9})[-\s,]\s*(?P<year>\d{4}|\d{2})",
        r"(?P<name>[A-Za-z]{3,9})\.?\s+(?P<day>\d{1,2}),?\s+(?P<year>\d{4})",
        r"(?P<month>\d{1,2})[-/.](?P<day>\d{1,2})[-/.](?P<year>\d{4})",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
        r"(?P<year>\d{4})",
    )
)
_SPAN = re.compile(
    r"\s*(?P<sign>-)?(?:(?P<days>\d{1,8})(?:\.|:(?=\d{1,2}:\d{1,2}:)))?(?P<hours>\d{1,2}):(?P<minutes>\d{1,2})"
    r"(?::(?P<seconds>\d{1,2})(?:\.(?P<fraction>\d{1,7})\d*)?)?\s*",
    re.ASCII,
)
_DAYS = re.compile(r"\s*(-?\d{1,8})\s*", re.ASCII)
_LITERAL = re.compile(
    r"\s*(-?\d{1,18}(?:\.\d{1,18})?)\s*"
    r"(microseconds?|micros?|milliseconds?|millis?|ms|ticks?|days?|hours?|hr?s?|minutes?|min|seconds?|sec|d|h|m|s)\s*",
    re.ASCII,
)
_UNITS = {
    "mic": 10,
    "mil": 10_000,
    "ms": 10_000,
    "t": 1,
    "d": _TICKS_A_DAY,
    "h": 36_000_000_000,
    "m": 600_000_000,
    "s": 10_000_000,
}


def read_datetime(text: str) -> int | None:
    """The ticks since 1970 of a text in any documented format, None if it is in none."""
    if len(text) > _MAX_LENGTH:
        return None
    for pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        if match is not None:
            return _ticks(match.groupdict())
    return None


def _ticks(parts: dict[str, str | None]) -> int | None:
    year_text = parts["year"] or "0"
    year = int(year_text)
    if len(year_text) == 2:
        year += 2000 if year < 50 else 1900
    month = _MONTHS.get((parts.get("name") or "")[:3].lower()) if parts.get("name") else None
    if parts.get("name") and month is None:
        return None
    month = month or int(parts.get("month") or 1)
    hour = int(parts["hour"] or 0)
    half = (parts["half"] or "").upper()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "PM" else 0)
    try:
        moment = datetime(
            year,
            month,
            int(parts.get("day") or 1),
            hour if hour != 24 else 0,
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    delta = moment - _EPOCH
    ticks = (delta.days * 86_400 + delta.seconds) * 10_000_000
    if hour == 24:
        if parts["minute"] not in (None, "00") or parts["second"] not in (None, "00"):
            return None
        ticks += _TICKS_A_DAY
    ticks += int((parts["fraction"] or "").ljust(7, "0")[:7])
    ticks -= _offset(parts["zone"])
    return ticks if LEAST_DATETIME <= ticks <= MOST_DATETIME else None


def _offset(zone: str | None) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "")
    hours, minutes = (int(digits[:-2]), int(digits[-2:])) if len(digits) > 2 else (int(digits), 0)
    return (-1 if zone[0] == "-" else 1) * (hours * 60 + minutes) * 600_000_000


def read_timespan(text: str) -> int | None:
    """The ticks of `[-][d.]hh:mm[:ss[.fffffff]]`, of a number of days or of a literal such as `90m`."""
    if len(text) > _MAX_LENGTH:
        return None
    match = _SPAN.fullmatch(text)
    if match is not None:
        hours, minutes, seconds = (int(match[name] or 0) for name in ("hours", "minutes", "seconds"))
        if hours > 24 or minutes > 59 or seconds > 59:
            return None
        ticks = int(match["days"] or 0) * _TICKS_A_DAY
        ticks += ((hours * 60 + minutes) * 60 + seconds) * 10_000_000
        ticks += int((match["fraction"] or "").ljust(7, "0"))
        return _bounded(-ticks if match["sign"] else ticks)
    match = _DAYS.fullmatch(text)
    if match is not None:
        return _bounded(int(match[1]) * _TICKS_A_DAY)
    match = _LITERAL.fullmatch(text)
    if match is not None:
        unit = match[2]
        size = _UNITS.get(unit[:3]) or _UNITS.get(unit[:2]) or _UNITS[unit[0]]
        return _bounded(round(float(match[1]) * size))
    return None


def _bounded(ticks: int) -> int | None:
    return ticks if -(2**63) <= ticks < 2**63 else None


def moment(ticks: int) -> tuple[datetime, int]:
    """The datetime (UTC, whole microseconds) of ticks, and the tick digit past them."""
    return _EPOCH + timedelta(microseconds=ticks // 10), ticks % 10


def moment_text(ticks: int) -> str:
    """The text of a datetime as `tostring` gives it."""
    when, rest = moment(ticks)
    return f"{when.year:04}{when:-%m-%dT%H:%M:%S.%f}{rest}Z"


def timespan_text(ticks: int) -> str:
    """The text of a timespan as `tostring` gives it."""
    days, rest = divmod(abs(ticks), _TICKS_A_DAY)
    seconds, fraction = divmod(rest, 10_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return (
        ("-" if ticks < 0 else "")
        + (f"{days}." if days else "")
        + text
        + (f".{fraction:07}" if fraction else "")
    )


_FORMAT = re.compile(r"d{1,8}|f{1,7}|F{1,7}|h{1,2}|H{1,2}|m{1,2}|M{1,2}|s{1,2}|y{4}|y{1,2}|tt|.", re.DOTALL)


def _format_datetime(text: str | None, format: str | None) -> str | None:
    """Runs of `d f F h H m M s y t`; everything else stands for itself."""
    if text is None or format is None:
        return None
    when, rest = moment(int(text))
    fraction = f"{when.microsecond:06}{rest}"
    made: list[str] = []
    for token in _FORMAT.findall(format):
        if token in ("d", "dd"):
            made.append(f"{when.day:0{len(token)}}")
        elif token in ("h", "hh"):
            made.append(f"{when.hour % 12 or 12:0{len(token)}}")
        elif token in ("H", "HH"):
            made.append(f"{when.hour:0{len(token)}}")
        elif token in ("m", "mm"):
            made.append(f"{when.minute:0{len(token)}}")
        elif token in ("M", "MM"):
            made.append(f"{when.month:0{len(token)}}")
        elif token in ("s", "ss"):
            made.append(f"{when.second:0{len(token)}}")
        elif token == "yyyy":
            made.append(f"{when.year:04}")
        elif token in ("y", "yy"):
            made.append(f"{when.year % 100:0{len(token)}}")
        elif token == "tt":
            made.append("AM" if when.hour < 12 else "PM")
        else:
            _append_fraction(made, token, fraction)
    return "".join(made)


def _append_fraction(made: list[str], token: str, fraction: str) -> None:
    if token[0] == "f":
        made.append(fraction[: len(token)])
    elif token[0] == "F":
        cut = fraction[: len(token)].rstrip("0")
        if cut:
            made.append(cut)
        elif made and made[-1] == ".":
            made.pop()
    else:
        made.append(token)


def _format_timespan(text: str | None, format: str | None) -> str | None:
    """Runs of `d f F h H m s`; everything else stands for itself."""
    if text is None or format is None:
        return None
    ticks = int(text)
    days, rest = divmod(abs(ticks), _TICKS_A_DAY)
    seconds, left = divmod(rest, 10_000_000)
    fraction = f"{left:07}"
    made: list[str] = ["-"] if ticks < 0 else []
    for token in _FORMAT.findall(format):
        if token[0] == "d":
            made.append(f"{days:0{len(token)}}")
        elif token in ("h", "H", "hh", "HH"):
            made.append(f"{seconds // 3600:0{len(token)}}")
        elif token in ("m", "mm"):
            made.append(f"{seconds // 60 % 60:0{len(token)}}")
        elif token in ("s", "ss"):
            made.append(f"{seconds % 60:0{len(token)}}")
        else:
            _append_fraction(made, token, fraction)
    return "".join(made)


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name or "")
    except (ValueError, OSError, KeyError):
        return None


def _local_to_utc(text: str | None, name: str | None) -> str | None:
    zone = _zone(name)
    if text is None or zone is None:
        return None
    when = moment(int(text))[0].replace(tzinfo=zone)
    # The greater offset: a time that the clocks skip is read as if they had turned already, one that they
    # show twice as the first of both.
    offset = max(when.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    return str(int(text) - _ticks_of(offset))


def _utc_to_local(text: str | None, name: str | None) -> str | None:
    zone = _zone(name)
    if text is None or zone is None:
        return None
    offset = moment(int(text))[0].astimezone(zone).utcoffset() or timedelta()
    return str(int(text) + _ticks_of(offset))


def _ticks_of(offset: timedelta) -> int:
    return (offset.days * 86_400 + offset.seconds) * 10_000_000


def _list_timezones(_: str | None) -> str | None:
    return dump(sorted(available_timezones()))


def _digits(result: int | None) -> str | None:
    return None if result is None else str(result)


def _todatetime(text: str | None) -> str | None:
    return None if text is None else _digits(read_datetime(text))


def _totimespan(text: str | None) -> str | None:
    return None if text is None else _digits(read_timespan(text))


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "todatetime": _todatetime,
    "totimespan": _totimespan,
    "format_datetime": _format_datetime,
    "format_timespan": _format_timespan,
    "datetime_local_to_utc": _local_to_utc,
    "datetime_utc_to_local": _utc_to_local,
    "list_timezones": _list_timezones,
}
