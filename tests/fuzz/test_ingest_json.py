"""Whatever admission takes, the pipeline's JSON engine parses, row for row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.ingest.admission import admit
from headrace.settings import IngestSettings
from headrace.wire.problems import HttpError

SETTINGS = IngestSettings()
STRUCTURE = json.dumps(
    [
        {
            "a": "VARCHAR",
            "b": "JSON",
            "c": "DOUBLE",
            "d": "BIGINT",
            "e": "BOOLEAN",
            "f": "TIMESTAMP",
            "": "JSON",
        }
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["", "\x00", "\ufeff", "2026-01-01", '"', "\\", "[{", "}]", "\U0010ffff"]),
)
NAMES = st.one_of(st.sampled_from([*"abcdef", ""]), st.text(st.characters(exclude_categories=["Cs"])))
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4))
)
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=4)

TOKENS = st.sampled_from(
    [
        *(
            b'[ ] { } , : " \\ \\u \\ud800 \\udc00 \\u0000 \\n - + . e E 0 1 9 00 1.5 1e5 -0 0x1 1e400'.split()
        ),
        *(b"true false null NaN nan Infinity -Infinity inf True tru // /* */ # ' a".split()),
        *(
            b'"a" "b":1 "c":[{}] {} [] {"a":1} "\\ud83d\\ude00" "\\ud800" \xff \xc3\xa9 \xc3 \xed\xa0\x80'.split()
        ),
        b" ",
        b"\n",
        b"\t",
        b"\x0b",
        b"\x00",
        b"\x1f",
        b"\x7f",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"9" * 400,
        b"[" * 70,
        b"]" * 70,
    ]
)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def rows_of(engine: duckdb.DuckDBPyConnection, text: bytes) -> int:
    """How many rows the engine makes of a JSON text, every value of them read; raises what it raises."""
    sql = (
        "select count(*), count(r), sum(length(r.a)), sum(length(r.b::varchar)), sum(r.c), max(r.f) from "
        "(select unnest(x) as r from (select json_transform(?::varchar, ?) as x))"
    )
    found = engine.execute(sql, [text.decode(), STRUCTURE]).fetchone()
    assert found is not None
    assert found[0] == found[1]
    count: int = found[0]
    return count


def agrees(engine: duckdb.DuckDBPyConnection, body: bytes, encoding: str = "") -> bool:
    """Whether the body is admitted; fails when it is and the engine does not make the same rows of it."""
    try:
        admitted = admit(body, encoding, SETTINGS, "headrace")
    except HttpError as error:
        assert error.status in (400, 413)
        return False
    text = gzip.decompress(admitted.body) if admitted.encoding else admitted.body
    assert len(text) == admitted.length
    assert rows_of(engine, text) == admitted.rows
    return True


@given(rows=ROWS, ascii_only=st.booleans(), indent=st.sampled_from([None, 0, 2]))
def test_real_json_is_taken(
    engine: duckdb.DuckDBPyConnection, rows: list[dict[str, object]], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(rows, ensure_ascii=ascii_only, indent=indent).encode()
    assert agrees(engine, body)
    assert agrees(engine, gzip.compress(body), "gzip")
    assert agrees(engine, b"\xef\xbb\xbf" + body)


@settings(max_examples=1500, deadline=None)
@given(
    parts=st.lists(TOKENS, max_size=14),
    wrap=st.sampled_from([(b"", b""), (b"[{", b"}]"), (b'[{"a":', b"}]"), (b'[{"a":"', b'"}]')]),
)
@example(parts=[b'"b":1', b",", b'"b":1'], wrap=(b"[{", b"}]"))
def test_what_is_nearly_json(
    engine: duckdb.DuckDBPyConnection, parts: list[bytes], wrap: tuple[bytes, bytes]
) -> None:
    agrees(engine, wrap[0] + b"".join(parts) + wrap[1])


@settings(max_examples=800, deadline=None)
@given(rows=ROWS, data=st.data())
def test_damaged_json(
    engine: duckdb.DuckDBPyConnection, rows: list[dict[str, object]], data: st.DataObject
) -> None:
    body = bytearray(json.dumps(rows, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        change = data.draw(st.one_of(st.binary(max_size=3), TOKENS))
        body[place : place + data.draw(st.integers(0, 2))] = change
    agrees(engine, bytes(body))


@given(st.binary(max_size=300))
def test_any_bytes(engine: duckdb.DuckDBPyConnection, body: bytes) -> None:
    agrees(engine, body)
    agrees(engine, body, "gzip")
    agrees(engine, b"[" + body + b"]")
    agrees(engine, b'[{"a":"' + body + b'"}]')


@given(st.integers(2, 40), st.data())
def test_depth_is_that_of_the_parsed_value(limit: int, data: st.DataObject) -> None:
    value: object = data.draw(VALUES)
    for _ in range(data.draw(st.integers(0, 40))):
        value = data.draw(st.sampled_from([[value], {"a": value}, [1, value, "]"], {"b": "}{", "c": value}]))
    body = json.dumps([{"x": value}]).encode()
    bounded = SETTINGS.model_copy(update={"max_depth": limit})
    fits = depth([{"x": value}]) <= limit
    try:
        admit(body, "", bounded, "headrace")
    except HttpError as error:
        assert not fits
        assert "levels deep" in error.problem.message
    else:
        assert fits


def depth(value: object) -> int:
    """How deep arrays and objects nest."""
    if isinstance(value, dict):
        return 1 + max((depth(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(inner) for inner in value), default=0)
    return 0
