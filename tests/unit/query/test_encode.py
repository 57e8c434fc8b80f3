"""The wire's encodings of each Kusto type, against a plain reading of the rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headrace.kql.types import LEAST_DATETIME, MOST_DATETIME, KustoType
from headrace.query.encode import encode_rows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOWEST = -62_135_596_800 * 10**7
HIGHEST = 253_402_300_799 * 10**7 + 9_999_999


def encoded(kusto: KustoType, array: pa.Array) -> list[Any]:
    batch = pa.record_batch([array], names=["c0"])
    return [row[0] for row in json.loads(b"[" + encode_rows(batch, [kusto]) + b"]")]


@given(st.lists(st.one_of(st.none(), st.integers(LOWEST, HIGHEST)), min_size=1))
def test_datetime(ticks: list[int | None]) -> None:
    for tick, text in zip(ticks, encoded(KustoType.DATETIME, pa.array(ticks, pa.int64())), strict=True):
        if tick is None:
            assert text is None
            continue
        moment = EPOCH + timedelta(microseconds=tick // 10)
        fraction = f"{moment.microsecond:06d}{tick % 10}".rstrip("0")
        seconds = moment.strftime("%H:%M:%S")
        day = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"
        assert text == f"{day}T{seconds}" + (f".{fraction}" if fraction else "") + "Z"


def test_datetimes_beyond_the_years_1_to_9999_are_null() -> None:
    ticks = [LEAST_DATETIME - 1, LEAST_DATETIME, MOST_DATETIME, MOST_DATETIME + 1]
    assert encoded(KustoType.DATETIME, pa.array(ticks, pa.int64())) == [
        None,
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.9999999Z",
        None,
    ]


@given(st.lists(st.one_of(st.none(), st.integers(-(10**18), 10**18)), min_size=1))
def test_timespan(ticks: list[int | None]) -> None:
    for tick, text in zip(ticks, encoded(KustoType.TIMESPAN, pa.array(ticks, pa.int64())), strict=True):
        if tick is None:
            assert text is None
            continue
        sign = "-" if tick < 0 else ""
        seconds, fraction = divmod(abs(tick), 10**7)
        days, seconds = divmod(seconds, 86_400)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        assert text == sign + (f"{days}." if days else "") + clock + (f".{fraction:07d}" if fraction else "")


@given(st.lists(st.one_of(st.none(), st.floats()), min_size=1))
def test_real(values: list[float | None]) -> None:
    for value, seen in zip(values, encoded(KustoType.REAL, pa.array(values, pa.float64())), strict=True):
        if value is None or value != value or value in (float("inf"), float("-inf")):
            names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
            assert seen == (None if value is None else names[str(value)])
        else:
            assert seen == value


@given(st.lists(st.one_of(st.none(), st.text()), min_size=1))
def test_string_is_never_null(values: list[str | None]) -> None:
    assert encoded(KustoType.STRING, pa.array(values, pa.string())) == [value or "" for value in values]


@given(st.lists(st.one_of(st.none(), st.decimals(-(10**12), 10**12, places=6, allow_nan=False)), min_size=1))
def test_decimal_is_text_of_the_same_value(values: list[Decimal | None]) -> None:
    seen = encoded(KustoType.DECIMAL, pa.array(values, pa.decimal128(38, 10)))
    assert [None if text is None else Decimal(text) for text in seen] == values
    assert not any("." in text and text.endswith("0") for text in seen if text)


def test_dynamic_is_json_text_and_a_string_is_bare() -> None:
    values = ['{"a":1}', "[1,2]", '"x\\"y"', "1.50", None]
    assert encoded(KustoType.DYNAMIC, pa.array(values)) == ['{"a":1}', "[1,2]", 'x"y', "1.50", None]


def test_long_keeps_every_digit() -> None:
    values = [2**63 - 1, -(2**63), None]
    assert encoded(KustoType.LONG, pa.array(values, pa.int64())) == values
