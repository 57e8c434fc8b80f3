from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kql.functions.calling import Caller, Dynamic, Given, Guid, Int, Moment, Null, Ticks, ticks

from headrace.kql.sql.udf.dates import (
    moment_text,
    read_datetime,
    read_timespan,
    timespan_text,
)
from headrace.kql.types import KustoType

T = KustoType


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("tolong", "12", 12),
        ("tolong", " 7 ", 7),
        ("tolong", "1.7", None),
        ("tolong", "1e3", None),
        ("tolong", "1_000", None),
        ("tolong", "0x1F", 31),
        ("tolong", "", None),
        ("tolong", "99999999999999999999", None),
        ("tolong", 1.9, 1),
        ("tolong", -1.9, -1),
        ("tolong", 1e300, None),
        ("tolong", True, 1),
        ("tolong", Dynamic('"12"'), 12),
        ("tolong", Dynamic("1.7"), 1),
        ("tolong", Dynamic("{}"), None),
        ("tolong", Ticks(5), 5),
        ("toint", "3000000000", None),
        ("toint", 2.5, 2),
        ("todouble", "1.5", 1.5),
        ("todouble", "1e3", 1000.0),
        ("todouble", "x", None),
        ("toreal", 3, 3.0),
        ("todouble", Dynamic('"2.5"'), 2.5),
        ("tobool", "TRUE", True),
        ("tobool", "false", False),
        ("tobool", "2", True),
        ("tobool", "0", False),
        ("tobool", "yes", None),
        ("tobool", 0, False),
        ("tobool", Dynamic("true"), True),
        ("toguid", "0123456789ABCDEF0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"),
        ("toguid", "{01234567-89ab-cdef-0123-456789abcdef}", "01234567-89ab-cdef-0123-456789abcdef"),
        ("toguid", "no guid", None),
        ("tostring", Null(T.LONG), ""),
        ("tostring", 1.5, "1.5"),
        ("tostring", 2.0, "2.0"),
        ("tostring", 1e20, "1E+20"),
        ("tostring", math.inf, "Infinity"),
        ("tostring", True, "true"),
        ("tostring", Guid("01234567-89ab-cdef-0123-456789abcdef"), "01234567-89ab-cdef-0123-456789abcdef"),
        ("tostring", datetime(2020, 1, 2, 3, 4, 5, 600, tzinfo=UTC), "2020-01-02T03:04:05.0006000Z"),
        ("tostring", Moment(1), "1970-01-01T00:00:00.0000001Z"),
        ("tostring", Moment(-1), "1969-12-31T23:59:59.9999999Z"),
        ("tostring", timedelta(days=1, hours=2), "1.02:00:00"),
        ("tostring", timedelta(hours=-1), "-01:00:00"),
        ("tostring", Ticks(1_000_000), "00:00:00.1000000"),
        ("tostring", Dynamic('"a\\"b"'), 'a"b'),
        ("tostring", Dynamic('{"b":1,"a":[1,2]}'), '{"b":1,"a":[1,2]}'),
        ("parse_json", '{ "a" : 1 }', '{"a":1}'),
        ("parse_json", "plain", '"plain"'),
        ("parse_json", "", None),
        ("parse_json", "null", None),
        ("parse_json", "nan", '"nan"'),
        ("parse_json", Dynamic('"[1]"'), "[1]"),
        ("gettype", 1, "long"),
        ("gettype", Dynamic("[]"), "array"),
        ("gettype", Dynamic("{}"), "dictionary"),
        ("gettype", Null(T.LONG), "null"),
        ("isnull", "", False),
        ("isnull", Null(T.REAL), True),
        ("isempty", "", True),
        ("isempty", Null(T.LONG), True),
        ("isnotempty", " ", True),
        ("isempty", Dynamic('""'), True),
    ],
)
def test_conversion(call: Caller, name: str, given: Given, result: object) -> None:
    assert call(name, given) == result


MORNING = ticks(datetime(2014, 11, 8, 15, 5, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("2014-11-08T15:05:02Z", MORNING),
        ("2014-11-08 15:05:02", MORNING),
        ("2014-11-08T15:05:02.1234567Z", MORNING + 1_234_567),
        ("2014-11-08T15:05:02.123456789Z", MORNING + 1_234_567),
        ("2014-11-08T17:05:02+02:00", MORNING),
        ("2014-11-08T17:05:02+0200", MORNING),
        ("2014-11-08 15:05:02 GMT", MORNING),
        ("2014-11-08 15:05", MORNING - 20_000_000),
        ("2014-11-08T15:05Z", MORNING - 20_000_000),
        ("2014-11-08", ticks(datetime(2014, 11, 8, tzinfo=UTC))),
        ("2014-11", ticks(datetime(2014, 11, 1, tzinfo=UTC))),
        ("Sat, 8 Nov 14 15:05:02 GMT", MORNING),
        ("Sat, 8 Nov 14 15:05:02", MORNING),
        ("8 Nov 14 15:05:02", MORNING),
        ("Saturday, 08-Nov-14 15:05:02 GMT", MORNING),
        ("11/8/2014 3:05:02 PM", MORNING),
        ("12-02-2022", ticks(datetime(2022, 12, 2, tzinfo=UTC))),
        ("2014-13-08", None),
        ("2014-02-30", None),
        ("2014-11-08T25:00:00", None),
        ("soon", None),
        ("", None),
        ("2014-11-08x", None),
    ],
)
def test_datetimes_of_every_documented_format(call: Caller, text: str, result: int | None) -> None:
    assert call("todatetime", text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1.02:03:04.5", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("00:10", timedelta(minutes=10)),
        ("-01:00:00", timedelta(hours=-1)),
        ("2", timedelta(days=2)),
        ("90m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("3d", timedelta(days=3)),
        ("100ms", timedelta(milliseconds=100)),
    ],
)
def test_timespans_of_every_format(call: Caller, text: str, result: timedelta) -> None:
    assert call("totimespan", text) == ticks(result)
    assert call("totimespan", "nonsense") is None


@given(st.text(max_size=60))
def test_reading_times_never_fails(text: str) -> None:
    for read in (read_datetime, read_timespan):
        found = read(text)
        assert found is None or -(2**63) <= found < 2**63


@given(st.integers(-621_355_968_000_000_000, 2_534_023_007_999_999_999))
def test_the_text_of_a_datetime_reads_back(value: int) -> None:
    assert read_datetime(moment_text(value)) == value


@given(st.integers(-(10**18), 10**18))
def test_the_text_of_a_timespan_reads_back(value: int) -> None:
    assert read_timespan(timespan_text(value)) == value


def test_engine_and_python_read_the_same(call: Caller) -> None:
    for text in (
        "2020-02-29T23:59:59.9999999Z",
        "1600-01-01",
        "9999-12-31T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ):
        assert call("todatetime", text) == read_datetime(text)


def test_an_int_is_not_a_long(call: Caller) -> None:
    assert call("gettype", Int(1)) == "int"
