"""The values of literals (datetimes and timespans as ticks of 100 ns), and how texts and names are written."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from headrace.kql.types import KustoType

TICKS_PER_SECOND = 10_000_000
TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND
_EPOCH = date(1970, 1, 1).toordinal()
MIN_DATETIME = (1 - _EPOCH) * TICKS_PER_DAY
MAX_DATETIME = (date(9999, 12, 31).toordinal() + 1 - _EPOCH) * TICKS_PER_DAY - 1

_UNIT_TICKS = {
    "d": TICKS_PER_DAY,
    "h": 3600 * TICKS_PER_SECOND,
    "m": 60 * TICKS_PER_SECOND,
    "s": TICKS_PER_SECOND,
    "ms": 10_000,
    "micro": 10,
    "tick": 1,
}
_UNIT_OF = {
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("micro", "micros", "microsecond", "microseconds"), "micro"),
    **dict.fromkeys(("tick", "ticks"), "tick"),
}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TIMESPAN_UNIT = re.compile(r"(\d+(?:\.\d+)?)([a-z]+)\Z")
_TIMESPAN_CLOCK = re.compile(r"(-)?(?:(\d+)\.)?(\d{1,3}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,7})\d*)?)?\Z")
_DATE = re.compile(
    r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?"
    r"(?:[T ]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,7})\d*)?)?)?\s*(AM|PM)?)?"
    r"\s*(Z|GMT|UTC|[+-]\d{1,2}:?\d{0,2})?\Z",
    re.IGNORECASE,
)
_SLASHED = re.compile(
    r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})"
    r"(?:[T ]+(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,7})\d*)?)?)?\s*(AM|PM)?)?"
    r"\s*(Z|GMT|UTC|[+-]\d{1,2}:?\d{0,2})?\Z",
    re.IGNORECASE,
)
_WORDED = re.compile(
    r"(?:[a-z]{3,9},?\s+)?(\d{1,2})[ -]([a-z]{3,9})[ -](\d{2,4})"
    r"(?:\s+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,7})\d*)?)?\s*(AM|PM)?)?"
    r"\s*(Z|GMT|UTC|[+-]\d{1,2}:?\d{0,2})?\Z",
    re.IGNORECASE,
)
_LONGEST_TIMESPAN = 256
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_YEAR = re.compile(r"\d{4}\Z")
_LISTED = re.compile(r"(\d{4}), (\d{1,2}), (\d{1,2})\Z")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})\Z")
_GUID = re.compile(
    r"\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?\Z", re.I
)


def parse_timespan(text: str) -> int | None:
    """Ticks of a timespan in a literal's form (`1.5h`, `1.02:03:04`, `3` for days); None if it is none."""
    if len(text) > _LONGEST_TIMESPAN:
        # Numbers of very many digits take the square of their number to read.
        return None
    negative = text.startswith("-")
    match = _TIMESPAN_UNIT.match(text.lstrip("-").lower().replace(" ", ""))
    if match:
        number, name = match.groups()
        unit = _UNIT_OF.get(name)
        if unit is None:
            if name in ("nano", "nanos", "nanosecond", "nanoseconds"):
                return _signed(int(Decimal(number) / 100), negative)
            return None
        return _signed(int(Decimal(number) * _UNIT_TICKS[unit]), negative)
    match = _TIMESPAN_CLOCK.match(text)
    if match:
        _, days, hours, minutes, seconds, fraction = match.groups()
        total = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds or 0)
        return _signed(total * TICKS_PER_SECOND + int((fraction or "").ljust(7, "0")), negative)
    if re.fullmatch(r"-?\d{1,8}", text):
        return int(text) * TICKS_PER_DAY
    return None


def _signed(ticks: int, negative: bool) -> int:
    return -ticks if negative else ticks


def parse_datetime(text: str) -> int | None:
    """Ticks since 1970 of a datetime in a literal's form; None if it is none or out of range."""
    text = ", ".join(part.strip() for part in text.split(",")) if "," in text else text.strip()
    year = month = day = 0
    rest: tuple[str | None, ...] = (None,) * 6
    if match := _DATE.match(text):
        year, month, day = int(match[1]), int(match[2]), int(match[3] or 1)
        rest = match.groups()[3:]
    elif match := _SLASHED.match(text):
        month, day, year = int(match[1]), int(match[2]), int(match[3])
        rest = match.groups()[3:]
    elif (match := _WORDED.match(text)) and match[2][:3].lower() in _MONTHS:
        day, month, year = int(match[1]), _MONTHS.index(match[2][:3].lower()) + 1, int(match[3])
        year += 2000 if year < 50 else 1900 if year < 100 else 0
        rest = match.groups()[3:]
    elif (match := _COMPACT.match(text)) or (match := _LISTED.match(text)):
        year, month, day = int(match[1]), int(match[2]), int(match[3])
    elif _YEAR.match(text):
        year, month, day = int(text), 1, 1
    else:
        return None
    return _assemble(year, month, day, rest)


def _assemble(year: int, month: int, day: int, rest: tuple[str | None, ...]) -> int | None:
    hour_text, minute_text, second_text, fraction, half, zone = rest
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None
    hour, minute, second = int(hour_text or 0), int(minute_text or 0), int(second_text or 0)
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.upper() == "PM" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    ticks = ((days * 24 + hour) * 60 + minute) * 60 + second
    ticks = ticks * TICKS_PER_SECOND + int((fraction or "").ljust(7, "0"))
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "").rjust(2, "0").ljust(4, "0")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * 60 * TICKS_PER_SECOND
        ticks += offset if zone[0] == "-" else -offset
    return ticks if MIN_DATETIME <= ticks <= MAX_DATETIME else None


def parse_guid(text: str) -> str | None:
    """A guid in its canonical form, lower-case with dashes; None if it is none."""
    match = _GUID.match(text.strip())
    return "-".join(match.groups()).lower() if match else None


def typed_value(type: KustoType, content: str) -> tuple[bool, Any]:
    """Whether `content` is a literal of `type`, and its value (None for `null`)."""
    quoted = len(content) >= 2 and content[0] == content[-1] and content[0] in "\"'"
    if quoted:
        content = content[1:-1]
    if content == "null" and not quoted:
        return True, None
    value: Any = None
    if type is KustoType.DATETIME:
        value = parse_datetime(content)
    elif type is KustoType.TIMESPAN:
        value = parse_timespan(content)
    elif type is KustoType.GUID:
        value = parse_guid(content)
    elif type is KustoType.BOOL:
        value = {"true": True, "false": False, "1": True, "0": False}.get(content.lower())
    elif type is KustoType.DECIMAL:
        try:
            value = Decimal(content)
        except InvalidOperation:
            value = None
    elif type is KustoType.REAL:
        value = _real(content)
    else:
        value = _integer(content, 31 if type is KustoType.INT else 63)
    return value is not None, value


def _real(text: str) -> float | None:
    special = {"+inf": "inf", "-inf": "-inf", "nan": "nan", "inf": "inf"}.get(text.lower())
    if special:
        return float(special)
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) else None


def _integer(text: str, bits: int) -> int | None:
    text = text.replace(" ", "")
    if not re.fullmatch(r"[+-]?(0[xX][0-9a-fA-F]{1,16}|\d{1,20})", text):
        return None
    value = int(text, 16) if "x" in text.lower() else int(text)
    if "x" in text.lower() and value >= 1 << bits:
        value -= 1 << (bits + 1)
    return value if -(1 << bits) <= value < 1 << bits else None


def string_text(text: str) -> str:
    """A string as KQL writes it, in single quotes."""
    escaped = "".join(f"\\u{ord(c):04x}" if c in "\\'" or ord(c) < 32 else c for c in text)
    return f"'{escaped}'"


def bracket_text(name: str) -> str:
    """A name in brackets, whatever it is: it may be a word of the language."""
    return f"[{string_text(name)}]"


def name_text(name: str) -> str:
    """A name for people: in brackets only where it has to be."""
    return name if _PLAIN_NAME.fullmatch(name) else bracket_text(name)
