"""`parse` with literal delimiters means what its regex means, whichever way a text is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from headrace.kql.api import Scan, compile_transform, sql_text
from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType, Schema, SchemaColumn

_SOURCE = Schema((SchemaColumn("s", KustoType.STRING),))
Part = str | None
"""A delimiter, "" for a column, None for a star."""


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        prepare(connection)
        connection.execute("CREATE TABLE texts (s VARCHAR)")
        yield connection


def _scan(scan: Scan) -> exp.Query:
    columns = [exp.alias_(exp.column("s"), column.sql_name) for column in scan.columns]
    return exp.select(*(columns or [exp.Literal.number(1)])).from_("texts")


def _run(
    engine: duckdb.DuckDBPyConnection, text: str, texts: Sequence[str]
) -> tuple[list[tuple[object, ...]], str]:
    sql = sql_text(compile_transform(text, _SOURCE).statements[0].to_sql(_scan))
    engine.execute("DELETE FROM texts")
    engine.execute("INSERT INTO texts SELECT unnest($1::VARCHAR[])", [list(texts)])
    return engine.execute(sql).fetchall(), sql


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _clauses(parts: Sequence[Part]) -> tuple[str, list[str]]:
    """The pattern as KQL and its columns."""
    words: list[str] = []
    names: list[str] = []
    for part in parts:
        if part is None:
            words.append("*")
        elif part == "":
            names.append(f"c{len(names)}")
            words.append(names[-1])
        else:
            words.append(_quoted(part))
    return " ".join(words), names


def _meaning(parts: Sequence[Part]) -> re.Pattern[str]:
    pieces = []
    for place, part in enumerate(parts):
        if part is None:
            pieces.append(".*?" if place < len(parts) - 1 else ".*")
        else:
            pieces.append(re.escape(part) if part else "(.*?)")
    return re.compile("".join(pieces), re.DOTALL)


_LETTERS = 'a ["]=ü→;'
_DELIMITER = st.sampled_from(
    [" ", " ", " [", '] "', '" ', "=", ";", "aa", " a", "ü", "→ ", "==", ";a=", "\n"]
)
_QUOTING = st.sampled_from([" ", " ", " [", '] "', '" ', ' "', '"', '" "', '""', '";ü"', '"=', "="])


@st.composite
def _patterns(draw: st.DrawFn) -> list[Part]:
    delimiter = draw(st.sampled_from([_DELIMITER, _QUOTING]))
    parts: list[Part] = []
    for _ in range(draw(st.integers(1, 7))):
        parts += [draw(st.sampled_from(["", "", "", None])), draw(delimiter)]
    if draw(st.booleans()):
        parts.pop(0)
    if draw(st.integers(0, 3)):
        parts.append(draw(st.sampled_from(["", "", None])))
    return parts


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[Part], list[str]]:
    """A pattern and texts most of which are made of its delimiters."""
    parts = draw(_patterns())
    piece = st.text(alphabet=_LETTERS, max_size=4)
    texts = draw(st.lists(st.text(alphabet=_LETTERS, max_size=24), max_size=3))
    for _ in range(draw(st.integers(1, 5))):
        texts.append("".join(part or draw(piece) for part in parts) + draw(piece))
    return parts, texts


@given(case=_cases())
@settings(deadline=None, max_examples=250)
def test_the_outcome_is_that_of_the_lazy_regex(
    engine: duckdb.DuckDBPyConnection, case: tuple[list[Part], list[str]]
) -> None:
    parts, texts = case
    pattern, names = _clauses(parts)
    meaning = _meaning(parts)
    rows, sql = _run(
        engine, f"source | parse s with {pattern} | project s, {', '.join(names)}".rstrip(", "), texts
    )
    for text, row in zip(texts, rows, strict=True):
        found = meaning.fullmatch(text)
        groups = found.groups() if found else ("",) * len(names)
        assert row == (text, *groups), sql


@given(case=_cases())
@settings(deadline=None, max_examples=60)
def test_a_row_is_kept_where_the_pattern_fits(
    engine: duckdb.DuckDBPyConnection, case: tuple[list[Part], list[str]]
) -> None:
    parts, texts = case
    rows, sql = _run(engine, f"source | parse-where s with {_clauses(parts)[0]} | project s", texts)
    assert rows == [(text,) for text in texts if _meaning(parts).fullmatch(text)], sql


_NUMBERS = st.sampled_from(["5", "-12", " 7", "x", "", "1.5", "99999999999"])


@given(
    numbers=st.lists(
        st.tuples(_NUMBERS, _NUMBERS, st.sampled_from(["u", "ü", "", " "])), min_size=1, max_size=6
    )
)
@settings(deadline=None, max_examples=60)
def test_a_value_that_does_not_fit_its_type_empties_the_row_or_itself(
    engine: duckdb.DuckDBPyConnection, numbers: list[tuple[str, str, str]]
) -> None:
    texts = [f"{name} {first} [{second}] rest" for first, second, name in numbers]
    pattern = 'name " " a: int " [" b: long "] " rest | project name, a, b, rest'
    strict, _ = _run(engine, f"source | parse s with {pattern}", texts)
    relaxed, _ = _run(engine, f"source | parse kind=relaxed s with {pattern}", texts)
    for text, whole, loose in zip(texts, strict, relaxed, strict=True):
        found = re.fullmatch(r"(.*?) (.*?) \[(.*?)\] (.*)", text, re.DOTALL)
        assert found is not None
        name, first, second, rest = found.groups()
        values = _whole(first, 31), _whole(second, 63)
        assert loose == (name, *values, rest)
        assert whole == ((name, *values, rest) if None not in values else ("", None, None, ""))


def _whole(text: str, bits: int) -> int | None:
    number = int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else None
    return number if number is not None and -(1 << bits) <= number < 1 << bits else None


def test_a_frame_around_a_run_is_split_first_and_the_regex_takes_what_that_misses(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    text = 'source | parse s with a " " b " " c " [" d "]" * | project a, b, c, d'
    rows, sql = _run(engine, text, ["1 2 3 [4] 5", "1 [x 2 3 [4]", "1 2 3 4 [5 [6] 7]", "1 2 [3]", ""])
    assert "STRING_SPLIT" in sql
    assert "REGEXP_EXTRACT" in sql
    assert rows == [
        ("1", "2", "3", "4"),
        ("1", "[x", "2 3", "4"),
        ("1", "2", "3 4", "5 [6"),
        ("", "", "", ""),
        ("", "", "", ""),
    ]


def test_a_typed_column_before_a_star_takes_what_looks_like_its_type(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    text = 'source | parse s with * "n=" n: long * ";m=" m: long * | project n, m'
    rows, _ = _run(engine, text, ["x n=12abc;m=7 rest", "n=5;m=6", "n=ü;m=1"])
    assert rows == [(12, 7), (5, 6), (None, None)]


def test_quoted_fields_are_told_apart_by_one_split_and_stray_quotes_are_left_to_the_regex(
    engine: duckdb.DuckDBPyConnection,
) -> None:
    text = (
        'source | parse s with ip " - " * "] \\"" request "\\" " status " " size " \\"" agent "\\""'
        " | project ip, request, status, size, agent"
    )
    line = '1.2.3.4 - anna [noon] "GET /ü" 200 17 "curl"'
    rows, sql = _run(
        engine,
        text,
        [line, line.replace("/ü", '/"ü"'), line.replace("17", "17 18"), line[:-1], line.replace("] ", "]")],
    )
    assert sql.count("'\"')") == 1
    assert rows == [
        ("1.2.3.4", "GET /ü", "200", "17", "curl"),
        ("1.2.3.4", 'GET /"ü"', "200", "17", "curl"),
        ("1.2.3.4", "GET /ü", "200", "17 18", "curl"),
        ("",) * 5,
        ("",) * 5,
    ]


@given(
    parts=st.lists(
        st.sampled_from(['"="', '" "', "*", "", ": string", ": long", ": bool"]), min_size=1, max_size=6
    ),
    texts=st.lists(st.text(alphabet="a1 =", max_size=8), min_size=1, max_size=5),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_a_column_is_the_same_whichever_others_are_asked_for(
    engine: duckdb.DuckDBPyConnection, parts: list[str], texts: list[str], data: st.DataObject
) -> None:
    words = [part if part and part[0] in '"*' else f"c{place}{part}" for place, part in enumerate(parts)]
    names = [word.partition(":")[0] for word in words if word[0] == "c"]
    kind = data.draw(st.sampled_from(["simple", "relaxed"]))
    parse = f"source | parse kind={kind} s with {' '.join(words)} | project s"
    every, _ = _run(engine, ", ".join([parse, *names]), texts)
    places = data.draw(st.lists(st.integers(0, len(names) - 1), unique=True)) if names else []
    some, sql = _run(engine, ", ".join([parse, *(names[place] for place in places)]), texts)
    assert some == [(row[0], *(row[place + 1] for place in places)) for row in every], sql


def test_a_text_before_a_star_is_empty_and_need_not_be_asked_for(engine: duckdb.DuckDBPyConnection) -> None:
    rows, _ = _run(engine, 'source | parse s with a "=" b: string * | project a', ["k=v w", "none"])
    assert rows == [("k",), ("",)]
