"""What JSON values become in each declared type, over DuckDB itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType
from headrace.transform.coerce import CARRIED, SourceColumn, cut_text, source_select
from headrace.transform.run import BATCH_SCHEMA

K = KustoType


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        prepare(connection)
        yield connection


def select(engine: duckdb.DuckDBPyConnection, body: str, *columns: SourceColumn) -> list[tuple[Any, ...]]:
    """The rows of one body: the columns, then the carried ones."""
    received = datetime(2026, 1, 1)
    engine.register("b", pa.table([[7], [received], ["j/r/0"], [3], ["/r"], [body]], schema=BATCH_SCHEMA))
    return engine.execute(source_select("b", columns).sql("duckdb")).fetchall()


def read(engine: duckdb.DuckDBPyConnection, kusto: KustoType, values: Sequence[str]) -> list[Any]:
    """JSON texts read into a column of that type."""
    body = "[" + ",".join(f'{{"x":{value}}}' for value in values) + "]"
    return [row[0] for row in select(engine, body, SourceColumn("x", kusto, "c0"))]


WHOLE = {
    "1": 1, "-5": -5, "1.7": 1, "-1.7": -1, '"12"': 12, '"1.7"': 1, "true": 1, "false": 0, "1e3": 1000,
    '"0x1e"': 30, '"1_0"': None, '"abc"': None, '""': None, "null": None, "{}": None, "[1]": None,
    "99999999999999999999": None,
}  # fmt: skip


def test_long(engine: duckdb.DuckDBPyConnection) -> None:
    cases = WHOLE | {"9223372036854775807": 2**63 - 1, "3000000000": 3_000_000_000}
    assert read(engine, K.LONG, list(cases)) == list(cases.values())


def test_int(engine: duckdb.DuckDBPyConnection) -> None:
    cases = WHOLE | {"2147483647": 2**31 - 1, "3000000000": None, "1e10": None}
    assert read(engine, K.INT, list(cases)) == list(cases.values())


def test_bool(engine: duckdb.DuckDBPyConnection) -> None:
    cases = {
        "true": True, "false": False, '"true"': True, '"FALSE"': False, "1": True, "0": False, '"1"': True,
        "2.5": True, '"yes"': None, '"t"': None, '""': None, "null": None, "{}": None,
    }  # fmt: skip
    assert read(engine, K.BOOL, list(cases)) == list(cases.values())


def test_real(engine: duckdb.DuckDBPyConnection) -> None:
    cases = {
        "1": 1.0,
        "1.5": 1.5,
        '"1.5"': 1.5,
        "-2e-3": -0.002,
        '"x"': None,
        '""': None,
        "null": None,
        "{}": None,
    }
    assert read(engine, K.REAL, list(cases)) == list(cases.values())
    assert math.isnan(read(engine, K.REAL, ['"nan"'])[0])


def test_string(engine: duckdb.DuckDBPyConnection) -> None:
    cases = {
        '"a"': "a", '""': "", "null": "", "12": "12", "true": "true", '{"b":[1, 2]}': '{"b":[1,2]}',
        "[]": "[]", '"\\u00e9\\n\\"\\u0000"': 'é\n"\0', '"😀"': "😀", '"\\ud83d\\ude00"': "😀",
    }  # fmt: skip
    assert read(engine, K.STRING, list(cases)) == list(cases.values())


def test_dynamic(engine: duckdb.DuckDBPyConnection) -> None:
    cases = {
        '"a"': '"a"', '""': '""', "null": None, "12": "12", '{"b" : [1, null], "a": {}}': '{"b":[1,null],"a":{}}',
        "123456789012345678901234567890": "123456789012345678901234567890", "true": "true",
    }  # fmt: skip
    assert read(engine, K.DYNAMIC, list(cases)) == list(cases.values())


def test_guid(engine: duckdb.DuckDBPyConnection) -> None:
    guid = "74be27de-1e4e-49d9-b579-fe0b331d3642"
    cases = {
        f'"{guid}"': guid,
        f'"{{{guid.upper()}}}"': guid,
        '"x"': None,
        '""': None,
        "1": None,
        "null": None,
    }
    assert read(engine, K.GUID, list(cases)) == list(cases.values())


def at(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type]


DATETIMES = {
    "2021-12-08T23:51:14.1104269Z": at(2021, 12, 8, 23, 51, 14, 110426),
    "2014-11-08T15:55:55.999999999Z": at(2014, 11, 8, 15, 55, 55, 999999),
    "2023-11-14 15:10:02": at(2023, 11, 14, 15, 10, 2),
    "2023-11-14 15:10:02.5": at(2023, 11, 14, 15, 10, 2, 500000),
    "2014-05-25T08:20": at(2014, 5, 25, 8, 20),
    "2014-05-25T08:20Z": at(2014, 5, 25, 8, 20),
    "2014-05-25T08:20+02:00": at(2014, 5, 25, 6, 20),
    "2014-11-08": at(2014, 11, 8),
    "2014/11/08": at(2014, 11, 8),
    "2014-1-8": at(2014, 1, 8),
    "2014-11-08 15:55:55.123456Z": at(2014, 11, 8, 15, 55, 55, 123456),
    "2021-12-08T23:51:14.1104269+02:00": at(2021, 12, 8, 21, 51, 14, 110426),
    "2021-12-08T23:51:14.110+0200": at(2021, 12, 8, 21, 51, 14, 110000),
    "2021-12-08T23:51:14-02": at(2021, 12, 9, 1, 51, 14),
    "2021-12-08T23:51:14.1104269": at(2021, 12, 8, 23, 51, 14, 110426),
    "2021-12-08 23:51:14-14:00": at(2021, 12, 9, 13, 51, 14),
    "2026-11-23T10:00:00.123456+00:00": at(2026, 11, 23, 10, 0, 0, 123456),
    "2014-11-08T15:55:55z": at(2014, 11, 8, 15, 55, 55),
    "  2014-11-08 15:55:55 ": at(2014, 11, 8, 15, 55, 55),
    "2014-11-08 15:55:55 GMT": at(2014, 11, 8, 15, 55, 55),
    "2014-11-08 15:55 GMT": at(2014, 11, 8, 15, 55),
    "Sat, 8 Nov 14 15:05:02 GMT": at(2014, 11, 8, 15, 5, 2),
    "Sat, 08 Nov 2014 15:05:02": at(2014, 11, 8, 15, 5, 2),
    "8 Nov 14 15:05": at(2014, 11, 8, 15, 5),
    "Saturday, 08-Nov-14 15:05:02 GMT": at(2014, 11, 8, 15, 5, 2),
    "08-Nov-14 15:05": at(2014, 11, 8, 15, 5),
    "0001-01-01T00:00:00Z": at(1, 1, 1),
    "9999-12-31T23:59:59.9999999Z": at(9999, 12, 31, 23, 59, 59, 999999),
} | dict.fromkeys(
    [
        "", " ", "x", "infinity", "-infinity", "epoch", "now", "12:30", "1700000000", "20141108", "2014-11",
        "0000-01-01", "-0044-01-01", "2014-11-08 (BC)", "99999-01-01", "10000-01-01Z", "2014-13-08T15:55:55Z",
        "2014-02-30", "2014-11-08T25:00:00Z", "2014-11-08T10:00:00 Europe/Paris",
        "2014-11-08T25:00:00+02:00", "2014-11-08T15:55:60.5", "0" * 100_000,
    ]
)  # fmt: skip


def test_datetime(engine: duckdb.DuckDBPyConnection) -> None:
    found = read(engine, K.DATETIME, [json.dumps(text) for text in DATETIMES])
    assert dict(zip(DATETIMES, found, strict=True)) == DATETIMES
    assert read(engine, K.DATETIME, ["1", "null", "{}", "true", "1.5"]) == [None] * 5


@given(
    moment=st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9998, 12, 31)),
    minutes=st.integers(-14 * 60, 14 * 60),
    separator=st.sampled_from("T "),
)
def test_any_iso_moment(
    engine: duckdb.DuckDBPyConnection, moment: datetime, minutes: int, separator: str
) -> None:
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    plain = moment.isoformat(separator)
    (zoned, utc, bare) = read(engine, K.DATETIME, [f'"{plain}{zone}"', f'"{plain}Z"', f'"{plain}"'])
    assert utc == bare == moment
    assert zoned == moment - timedelta(minutes=minutes)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), values=st.data())
def test_any_property_names(
    engine: duckdb.DuckDBPyConnection, names: list[str], values: st.DataObject
) -> None:
    row = {name: values.draw(st.integers(-(2**31), 2**31)) for name in names}
    columns = [SourceColumn(name, K.LONG, f"c{place}") for place, name in enumerate(names)]
    (found,) = select(engine, json.dumps([row]), *columns)
    assert dict(zip(names, found, strict=False)) == row


def test_names_differ_by_case(engine: duckdb.DuckDBPyConnection) -> None:
    columns = [SourceColumn(name, K.LONG, f"c{place}") for place, name in enumerate(("ab", "AB", "aB"))]
    assert select(engine, '[{"AB": 1, "ab": 2}, {"aB": 3, "Ab": 4}]', *columns) == [
        (2, 1, None, 7, datetime(2026, 1, 1), "j/r/0", 3, "/r", 0),
        (None, None, 3, 7, datetime(2026, 1, 1), "j/r/0", 3, "/r", 1),
    ]


def test_of_a_repeated_property_the_first_counts(engine: duckdb.DuckDBPyConnection) -> None:
    (row,) = select(engine, '[{"x": 1, "x": 2}]', SourceColumn("x", K.LONG, "c0"))
    assert row[0] == 1


def test_null_members_give_no_row_and_keep_the_places(engine: duckdb.DuckDBPyConnection) -> None:
    found = select(engine, '[null, {"x": 1}, null, {}]', SourceColumn("x", K.LONG, "c0"))
    assert [(row[0], row[6]) for row in found] == [(1, 1), (None, 3)]


def test_no_columns_still_give_rows(engine: duckdb.DuckDBPyConnection) -> None:
    assert CARRIED == ("h_offset", "h_received", "h_source", "h_version", "h_resource", "h_row")
    assert select(engine, "[{}, {}]") == [
        (7, datetime(2026, 1, 1), "j/r/0", 3, "/r", 0),
        (7, datetime(2026, 1, 1), "j/r/0", 3, "/r", 1),
    ]
    assert select(engine, "[]") == []


def test_types_that_a_stream_cannot_have() -> None:
    with pytest.raises(ValueError, match="timespan"):
        source_select("b", [SourceColumn("x", K.TIMESPAN, "c0")])


@given(text=st.text(st.sampled_from("aé€😀"), max_size=12), limit=st.integers(4, 20))
def test_text_is_cut_between_characters(engine: duckdb.DuckDBPyConnection, text: str, limit: int) -> None:
    row = exp.select(exp.alias_(exp.Literal.string(text), "c")).subquery("t")
    (found,) = engine.execute(exp.select(cut_text("c", limit)).from_(row).sql("duckdb")).fetchone() or ("",)
    assert text.startswith(found)
    size = len(found.encode())
    assert size <= limit
    assert found == text or size + len(text[len(found)].encode()) > limit
