"""ISO 8601 time spans of the query API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.query.timespan import TimespanError, intersect, parse_timespan

NOW = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
HOUR = 3_600_000_000
DAY = 24 * HOUR


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("P1D", NOW - DAY, NOW),
        ("PT3600.0S", NOW - HOUR, NOW),
        ("pt1h30m", NOW - HOUR * 3 // 2, NOW),
        ("P1W", NOW - 7 * DAY, NOW),
        ("P10M", micros("2023-01-14T22:13:20"), NOW),
        ("PT10M", NOW - HOUR // 6, NOW),
        ("2023-01-01/2023-01-02", micros("2023-01-01"), micros("2023-01-02") - 1),
        (
            "2023-01-01T00:00:00.1234567Z/PT1S",
            micros("2023-01-01") + 123_456,
            micros("2023-01-01") + 1_123_455,
        ),
        ("P1D/2023-01-02T00:00:00+01:00", micros("2022-12-31T23:00:00"), micros("2023-01-01T23:00:00") - 1),
        ("2024-01-31/P1M", micros("2024-01-31"), micros("2024-02-29") - 1),
    ],
)
def test_documented_forms(text: str, start: int, end: int) -> None:
    assert parse_timespan(text, NOW) == (start, end)


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "1D", "P1X", "2023-13-01/2023-01-02", "2023-01-02/2023-01-01", "a/b", "P9999Y", "P1D/"],
)
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(TimespanError):
        parse_timespan(text, NOW)


@given(st.text(max_size=120))
def test_any_text_is_a_span_or_refused(text: str) -> None:
    try:
        start, end = parse_timespan(text, NOW)
    except TimespanError:
        return
    assert start is not None and end is not None and start <= end + 1


@given(st.timedeltas(timedelta(0), timedelta(days=100_000)))
def test_the_sdks_durations(duration: timedelta) -> None:
    text = f"P{duration.days}DT{duration.seconds}.{duration.microseconds:06d}S"
    start, end = parse_timespan(text, NOW)
    assert end == NOW and start is not None
    assert abs(NOW - start - duration // timedelta(microseconds=1)) <= 1


def test_both_spans_hold() -> None:
    assert intersect((1, 5), (3, None)) == (3, 5)
    assert intersect((None, None), (None, 4)) == (None, 4)
