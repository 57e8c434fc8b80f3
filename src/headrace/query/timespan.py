"""ISO 8601 time spans of the query API: `P1D`, `PT3600.0S`, `start/end`, `start/duration`, `duration/end`."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta

from headrace.clock import from_datetime, to_datetime
from headrace.query.model import TimeRange

_DURATION = re.compile(
    r"P(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<weeks>\d{1,5})W)?(?:(?P<days>\d{1,6}(?:\.\d{1,9})?)D)?"
    r"(?:T(?:(?P<hours>\d{1,8}(?:\.\d{1,9})?)H)?(?:(?P<minutes>\d{1,9}(?:\.\d{1,9})?)M)?"
    r"(?:(?P<seconds>\d{1,12}(?:\.\d{1,9})?)S)?)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\.(\d+)")
_LONGEST = 100


class TimespanError(ValueError):
    """The text is no time span."""


def parse_timespan(text: str, now: int) -> TimeRange:
    """The range of microseconds that `text` stands for; a bare duration ends at `now`.

    The end of a range does not belong to it. Raises `TimespanError` with a message for the user.
    """
    if len(text) > _LONGEST:
        raise TimespanError("The timespan is too long to be one.")
    first, slash, second = text.strip().partition("/")
    try:
        if not slash:
            return from_datetime(_shift(to_datetime(now), first, -1)), now
        if first[:1] in "Pp":
            end = _datetime(second)
            return from_datetime(_shift(end, first, -1)), from_datetime(end) - 1
        start = _datetime(first)
        end = _shift(start, second, +1) if second[:1] in "Pp" else _datetime(second)
    except OverflowError:
        raise TimespanError(f"The timespan '{text}' reaches beyond the years 1 to 9999.") from None
    if end < start:
        raise TimespanError(f"The timespan '{text}' ends before it starts.")
    return from_datetime(start), from_datetime(end) - 1


def intersect(one: TimeRange, other: TimeRange) -> TimeRange:
    """The range that both hold."""
    starts = [bound for bound in (one[0], other[0]) if bound is not None]
    ends = [bound for bound in (one[1], other[1]) if bound is not None]
    return max(starts, default=None), min(ends, default=None)


def _shift(moment: datetime, duration: str, sign: int) -> datetime:
    match = _DURATION.fullmatch(duration)
    if match is None or not any(match.groups()):
        raise TimespanError(
            f"'{duration}' is no ISO 8601 duration: P1D is a day, PT12H 12 hours, PT30M 30 minutes."
        )
    parts = {name: float(value) for name, value in match.groupdict(default="0").items()}
    months = moment.month - 1 + sign * int(parts["years"] * 12 + parts["months"])
    year, month = moment.year + months // 12, months % 12 + 1
    if not 1 <= year <= 9999:
        raise OverflowError
    shifted = moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))
    return shifted + sign * timedelta(
        weeks=parts["weeks"],
        days=parts["days"],
        hours=parts["hours"],
        minutes=parts["minutes"],
        seconds=parts["seconds"],
    )


def _datetime(text: str) -> datetime:
    trimmed = _FRACTION.sub(lambda match: "." + match[1][:6], text.strip())
    try:
        moment = datetime.fromisoformat(trimmed)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise TimespanError(
            f"'{text}' is not an ISO 8601 date and time, such as 2024-05-01T00:00:00Z."
        ) from None
