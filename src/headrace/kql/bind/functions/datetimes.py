"""Date and time functions."""

from __future__ import annotations

from functools import partial

from headrace.kql.bind.functions.checks import FORMATS, SPAN_FORMATS, format_of, one_of
from headrace.kql.bind.functions.declare import (
    DATETIME,
    DOCUMENTED,
    DYNAMIC,
    INT,
    LONG,
    STRING,
    TIMESPAN,
    scalar,
    way,
)
from headrace.kql.bind.functions.registry import Function, Naming

_DAY_PARTS = (
    "year",
    "quarter",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "nanosecond",
)
_listed = partial(scalar, family="datetime", transform=DOCUMENTED)
_extended = partial(scalar, family="datetime")
_moment = partial(scalar, family="datetime", transform=DOCUMENTED, context=True)


def _ends(unit: str, doc: str) -> tuple[Function, Function]:
    return (
        _listed(
            f"startof{unit}",
            f"The start of the {doc}, shifted by a number of {unit}s.",
            "date: datetime, offset?: long",
            DATETIME,
            naming=Naming.FIRST if unit == "day" else Naming.COLUMN,
        ),
        _listed(
            f"endof{unit}",
            f"The last tick of the {doc}, shifted by a number of {unit}s.",
            "date: datetime, offset?: long",
            DATETIME,
            naming=Naming.COLUMN,
        ),
    )


FUNCTIONS = (
    _moment(
        "now",
        "The statement's moment, moved by an offset; in a transform the time of processing.",
        "offset?: timespan",
        DATETIME,
    ),
    _moment("ago", "The statement's moment less a timespan.", "timespan: timespan", DATETIME),
    *_ends("day", "day"),
    *_ends("week", "week (from Sunday)"),
    *_ends("month", "month"),
    *_ends("year", "year"),
    _listed("dayofweek", "The days since Sunday, as a timespan.", "date: datetime", TIMESPAN),
    _listed("dayofmonth", "The day of the month, from 1.", "date: datetime", INT),
    _listed("dayofyear", "The day of the year, from 1.", "date: datetime", INT),
    _listed("hourofday", "The hour of the day, 0 to 23.", "date: datetime", INT),
    _listed("weekofyear", "The ISO 8601 week of the year.", "date: datetime", INT, aliases=("week_of_year",)),
    _listed("getmonth", "The month, 1 to 12.", "date: datetime", INT),
    _extended("monthofyear", "The month, 1 to 12.", "date: datetime", INT),
    _listed("getyear", "The year.", "date: datetime", INT),
    _listed(
        "datetime_part",
        "One part of a datetime, named in text.",
        "part: string!, date: datetime",
        INT,
        aliases=("datepart",),
        check=one_of(0, "part", (*_DAY_PARTS, "week_of_year", "dayofyear")),
    ),
    _listed(
        "datetime_add",
        "The datetime moved by a number of parts.",
        "part: string!, amount: long, date: datetime",
        DATETIME,
        check=one_of(0, "part", (*_DAY_PARTS, "week")),
    ),
    _listed(
        "datetime_diff",
        "How many borders of a part lie between two datetimes.",
        "part: string!, later: datetime, earlier: datetime",
        LONG,
        check=one_of(0, "part", (*_DAY_PARTS, "week")),
    ),
    _listed(
        "make_datetime",
        "A datetime of its parts, null if there is no such day or time; or of a text.",
        "year: long, month: long, day: long, hour?: long, minute?: long, second?: real",
        DATETIME,
        way("value: any", DATETIME),
    ),
    _listed(
        "make_timespan",
        "A timespan of its parts; or of a text.",
        "hours: long, minutes: long, seconds?: real",
        TIMESPAN,
        way("days: long, hours: long, minutes: long, seconds: real", TIMESPAN),
        way("value: any", TIMESPAN),
    ),
    _extended(
        "format_datetime",
        "The datetime as text in a format.",
        "date: datetime, format: string",
        STRING,
        naming=Naming.FIRST,
        check=format_of(1, FORMATS),
    ),
    _extended(
        "format_timespan",
        "The timespan as text in a format.",
        "timespan: timespan, format: string",
        STRING,
        naming=Naming.FIRST,
        check=format_of(1, SPAN_FORMATS),
    ),
    _extended("unixtime_seconds_todatetime", "The datetime of Unix seconds.", "value: number", DATETIME),
    _extended(
        "unixtime_milliseconds_todatetime", "The datetime of Unix milliseconds.", "value: number", DATETIME
    ),
    _extended(
        "unixtime_microseconds_todatetime", "The datetime of Unix microseconds.", "value: number", DATETIME
    ),
    _extended(
        "unixtime_nanoseconds_todatetime", "The datetime of Unix nanoseconds.", "value: number", DATETIME
    ),
    _extended(
        "datetime_local_to_utc",
        "The UTC moment of a local time.",
        "date: datetime, timezone: string",
        DATETIME,
    ),
    _extended(
        "datetime_utc_to_local",
        "The local time of a UTC moment.",
        "date: datetime, timezone: string",
        DATETIME,
    ),
    _extended("datetime_list_timezones", "The names of all time zones.", "", DYNAMIC),
)
