"""Lowerings of date and time functions. A datetime is ticks of 100 ns since 1970-01-01 UTC."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Context, Typed, lowers, lowers_in_context
from headrace.kql.sql.functions.convert import (
    DATETIME,
    REAL,
    TICKS_A_DAY,
    TICKS_A_SECOND,
    TIMESPAN,
    converted,
)
from headrace.kql.sql.functions.direct import by_python
from headrace.kql.sql.functions.strings import constant_text

_TICKS = {
    "week": 7 * TICKS_A_DAY,
    "day": TICKS_A_DAY,
    "hour": 36_000_000_000,
    "minute": 600_000_000,
    "second": TICKS_A_SECOND,
    "millisecond": 10_000,
    "microsecond": 10,
}
_MONTHS = {"year": 12, "quarter": 3, "month": 1}


def stamp(ticks: exp.Expression) -> exp.Expression:
    """Ticks as the engine's timestamp, cut down to microseconds."""
    return b.call("kql_stamp", ticks)


def ticks_of(timestamp: exp.Expression) -> exp.Expression:
    """An engine's date or timestamp as ticks."""
    return b.multiply(b.call("epoch_us", timestamp), 10)


def _days(ticks: exp.Expression) -> exp.Expression:
    """Ticks cut down to the start of the day."""
    return b.floor_multiple(ticks, b.long(TICKS_A_DAY))


@lowers_in_context("now")
def now(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """One moment for the whole statement."""
    if not arguments:
        return context.now()
    return b.attempt(b.add(context.now(), arguments[0].sql))


@lowers_in_context("ago")
def ago(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """One moment for the whole statement."""
    return b.attempt(b.subtract(context.now(), arguments[0].sql))


def _months_later(date: exp.Expression, months: exp.Expression) -> exp.Expression:
    """An engine's timestamp moved by months; the day is kept where the month has it."""
    return b.attempt(b.add(date, b.call("to_months", b.cast(months, "INT"))))


def _start(unit: str, ticks: exp.Expression, offset: exp.Expression | None) -> exp.Expression:
    if unit == "day":
        start = _days(ticks)
        return start if offset is None else b.add(start, b.multiply(offset, b.long(TICKS_A_DAY)))
    if unit == "week":
        # 1970-01-01 was a Thursday: weeks from Sunday begin 4 days before it.
        shifted = b.add(ticks, b.long(4 * TICKS_A_DAY))
        start = b.subtract(
            b.floor_multiple(b.wrap(shifted), b.long(7 * TICKS_A_DAY)), b.long(4 * TICKS_A_DAY)
        )
        return start if offset is None else b.add(start, b.multiply(offset, b.long(7 * TICKS_A_DAY)))
    truncated = b.cast(b.call("date_trunc", unit, stamp(ticks)), "TIMESTAMP")
    if offset is None:
        return ticks_of(truncated)
    months = b.multiply(offset, b.number(_MONTHS[unit]))
    return ticks_of(_months_later(truncated, months))


def _register_ends(unit: str) -> None:
    def start(arguments: Sequence[Typed]) -> exp.Expression:
        offset = arguments[1].sql if len(arguments) == 2 else None
        made = _start(unit, arguments[0].sql, offset)
        return b.call("kql_ticks_in_range", b.attempt(made)) if offset is not None else made

    def end(arguments: Sequence[Typed]) -> exp.Expression:
        offset = b.add(arguments[1].sql, 1) if len(arguments) == 2 else b.number(1)
        made = b.attempt(b.subtract(_start(unit, arguments[0].sql, b.wrap(offset)), 1))
        return b.call("kql_ticks_in_range", made)

    lowers(f"startof{unit}")(start)
    lowers(f"endof{unit}")(end)


for _unit in ("day", "week", "month", "year"):
    _register_ends(_unit)


@lowers("dayofweek")
def dayofweek(arguments: Sequence[Typed]) -> exp.Expression:
    """Whole days since Sunday, as a timespan."""
    return b.multiply(b.cast(b.call("dayofweek", stamp(arguments[0].sql)), "BIGINT"), b.long(TICKS_A_DAY))


def _part(name: str, engine: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        return b.cast(b.call(engine, stamp(arguments[0].sql)), "INT")

    lowers(name)(lowering)


for _name, _engine in (
    ("dayofmonth", "day"),
    ("dayofyear", "dayofyear"),
    ("hourofday", "hour"),
    ("weekofyear", "weekofyear"),
    ("getmonth", "month"),
    ("monthofyear", "month"),
    ("getyear", "year"),
):
    _part(_name, _engine)

_PARTS = {
    "year": "year",
    "quarter": "quarter",
    "month": "month",
    "week_of_year": "weekofyear",
    "weekofyear": "weekofyear",
    "week": "weekofyear",
    "day": "day",
    "dayofyear": "dayofyear",
    "hour": "hour",
    "minute": "minute",
    "second": "second",
}
_FRACTIONS = {"millisecond": (10_000, 1), "microsecond": (10, 1), "nanosecond": (1, 100)}


@lowers("datetime_part")
def datetime_part(arguments: Sequence[Typed]) -> exp.Expression:
    """One part, as an int; an unknown part is null."""
    part = (constant_text(arguments[0]) or "").lower()
    ticks = arguments[1].sql
    if part in _PARTS:
        return b.cast(b.call(_PARTS[part], stamp(ticks)), "INT")
    if part in _FRACTIONS:
        divisor, factor = _FRACTIONS[part]
        within = b.subtract(ticks, b.floor_multiple(b.again(ticks), b.long(TICKS_A_SECOND)))
        return b.cast(b.multiply(b.whole(within, divisor), factor), "INT")
    return b.null("INT")


@lowers("datetime_add")
def datetime_add(arguments: Sequence[Typed]) -> exp.Expression:
    """Months keep the day where the month has it; the time of day stays to the tick."""
    part = (constant_text(arguments[0]) or "").lower()
    amount, date = arguments[1].sql, arguments[2].sql
    if part in _TICKS:
        made = b.add(date, b.multiply(amount, b.long(_TICKS[part])))
    elif part == "nanosecond":
        made = b.add(date, b.whole(amount, 100))
    elif part in _MONTHS:
        day = _days(date)
        moved = _months_later(stamp(day), b.multiply(amount, b.number(_MONTHS[part])))
        made = b.add(ticks_of(moved), b.subtract(b.again(date), b.again(day)))
    else:
        return b.null("BIGINT")
    return b.call("kql_ticks_in_range", b.attempt(made))


@lowers("datetime_diff")
def datetime_diff(arguments: Sequence[Typed]) -> exp.Expression:
    """Borders crossed: both moments are cut down to the part, then subtracted."""
    part = (constant_text(arguments[0]) or "").lower()
    later, earlier = arguments[1].sql, arguments[2].sql
    if part == "nanosecond":
        return b.attempt(b.multiply(b.subtract(later, earlier), b.long(100)))
    if part == "week":
        weeks = [_start("week", side, None) for side in (later, earlier)]
        return b.whole(b.subtract(*weeks), b.long(_TICKS["week"]))
    if part in _TICKS:
        size = b.long(_TICKS[part])
        cut = [b.floor_multiple(side, size.copy()) for side in (later, earlier)]
        return b.whole(b.subtract(*cut), size)
    if part in _MONTHS:
        return b.call("date_diff", part, stamp(earlier), stamp(later))
    return b.null("BIGINT")


@lowers("make_datetime")
def make_datetime(arguments: Sequence[Typed]) -> exp.Expression:
    """Null where there is no such day or time."""
    if len(arguments) == 1:
        return converted(arguments[0].sql, arguments[0].type, DATETIME)
    parts = [argument.sql for argument in arguments]
    hour, minute = (parts[index] if len(parts) > index else b.number(0) for index in (3, 4))
    second = parts[5] if len(parts) > 5 else b.real(0.0)
    start = b.attempt(b.call("make_timestamp", *parts[:3], hour, minute, b.real(0.0)))
    ticks = b.cast(b.call("round", b.multiply(second, b.real(1e7))), "BIGINT")
    made = b.attempt(b.add(ticks_of(start), ticks))
    if len(parts) <= 5:
        return made
    inside = b.both(
        b.at_least(b.again(second), 0), exp.LT(this=b.wrap(b.again(second)), expression=b.number(60))
    )
    return b.when(inside, made)


@lowers("make_timespan")
def make_timespan(arguments: Sequence[Typed]) -> exp.Expression:
    """Hours, minutes, seconds, with days before them if there are four."""
    if len(arguments) == 1:
        return converted(arguments[0].sql, arguments[0].type, TIMESPAN)
    parts = [argument.sql for argument in arguments]
    days = parts.pop(0) if len(parts) == 4 else b.number(0)
    seconds = parts[2] if len(parts) == 3 else b.real(0.0)
    ticks = b.add(
        b.add(b.multiply(days, b.long(TICKS_A_DAY)), b.multiply(parts[0], b.long(_TICKS["hour"]))),
        b.multiply(parts[1], b.long(_TICKS["minute"])),
    )
    fraction = b.cast(b.call("round", b.multiply(seconds, b.real(1e7))), "BIGINT")
    in_range = b.both(
        *(
            b.both(b.at_least(b.again(part), 0), b.less(b.again(part), end))
            for part, end in ((parts[0], 24), (parts[1], 60), (seconds, 60))
        )
    )
    return b.when(in_range, b.attempt(b.add(ticks, fraction)))


by_python("format_datetime", "format_timespan", "datetime_local_to_utc", "datetime_utc_to_local")


def _unix(unit: str, ticks: int, divisor: int = 1) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        argument = arguments[0]
        if argument.type is REAL:
            scaled = b.multiply(argument.sql, b.real(ticks / divisor))
            made: exp.Expression = b.try_cast(b.call("round", scaled), "BIGINT")
        else:
            long = b.try_cast(argument.sql, "BIGINT")
            made = b.attempt(b.multiply(long, b.long(ticks))) if divisor == 1 else b.whole(long, divisor)
        return b.call("kql_ticks_in_range", made)

    lowers(f"unixtime_{unit}_todatetime")(lowering)


_unix("seconds", TICKS_A_SECOND)
_unix("milliseconds", 10_000)
_unix("microseconds", 10)
_unix("nanoseconds", 1, 100)


@lowers("datetime_list_timezones")
def list_timezones(arguments: Sequence[Typed]) -> exp.Expression:
    """Names of the IANA database."""
    return b.python("list_timezones", "")
