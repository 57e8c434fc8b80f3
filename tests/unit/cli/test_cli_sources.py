"""Rows out of files: what goes in comes out again, in order, in chunks; what is broken is said with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cli import sources
from headrace.cli.sources import CHUNK_BYTES, Source, SourceFormat, chunks, guess_format
from headrace.errors import ProblemError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=20)


def read(content: bytes, form: SourceFormat, skip: int = 0) -> list[Any]:
    found: list[Any] = []
    for chunk in chunks(io.BytesIO(content), form, skip):
        members = json.loads(chunk.body)
        assert chunk.first == skip + len(found)
        assert len(members) == chunk.rows > 0
        found += members
    return found


def problem(content: bytes, form: SourceFormat) -> str:
    with pytest.raises(ProblemError) as raised:
        read(content, form)
    return raised.value.problems[0].message


@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_ndjson_comes_out_as_it_went_in(rows: list[Any], ascii_only: bool, end: str) -> None:
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    assert read(text.encode(), SourceFormat.NDJSON) == rows
    assert read(b"\xef\xbb\xbf" + text.encode(), SourceFormat.NDJSON) == rows


@given(ROWS, st.integers(0, 3))
def test_an_array_comes_out_as_it_went_in(rows: list[Any], indent: int) -> None:
    assert read(json.dumps(rows, indent=indent or None).encode(), SourceFormat.JSON) == rows


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=20)


@given(st.lists(CELLS.filter(bool), min_size=1, max_size=4, unique=True), st.data())
def test_csv_comes_out_as_text_without_its_empty_cells(names: list[str], data: st.DataObject) -> None:
    lists = st.lists(CELLS, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(lists, max_size=10))
    text = io.StringIO(newline="")
    csv.writer(text).writerows([names, *rows])
    expected = [{name: cell for name, cell in zip(names, row, strict=True) if cell} for row in rows]
    assert read(text.getvalue().encode(), SourceFormat.CSV) == expected


@settings(max_examples=25)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(0, 70))
def test_chunks_are_bounded_and_any_place_can_be_gone_on_from(sizes: list[int], skip: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK_BYTES", 1000)
        rows = [{"n": number, "x": "x" * size} for number, size in enumerate(sizes)]
        content = "\n".join(json.dumps(row) for row in rows).encode()
        assert read(content, SourceFormat.NDJSON, skip) == rows[skip:]
        bodies = [chunk.body for chunk in chunks(io.BytesIO(content), SourceFormat.NDJSON, 0)]
        assert all(len(body) <= 1000 for body in bodies)
        # No two neighbours would have fitted into one.
        firsts = [len(json.dumps(json.loads(body)[0]).encode()) for body in bodies]
        assert all(len(body) + after + 1 > 1000 for body, after in zip(bodies, firsts[1:], strict=False))


def test_a_row_over_the_bound_goes_alone() -> None:
    big = {"x": "x" * (CHUNK_BYTES + 10)}
    content = "\n".join(json.dumps(row) for row in ({"a": 1}, big, {"b": 2})).encode()
    assert [chunk.rows for chunk in chunks(io.BytesIO(content), SourceFormat.NDJSON, 0)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("content", "form", "words"),
    [
        (b'{"a":1}\n[1]\n', SourceFormat.NDJSON, "line 2 is not a JSON object"),
        (b'{"a":1}\n\n{"a":\n', SourceFormat.NDJSON, "line 3 is not a JSON object"),
        (b"[" * 100_000, SourceFormat.NDJSON, "line 1 is not a JSON object"),
        (b'[{"a":1}, 2]', SourceFormat.JSON, "member 2 is not a JSON object"),
        (b'{"a":1}', SourceFormat.JSON, "not a JSON array"),
        (b"a,b\n1,2,3\n", SourceFormat.CSV, "Line 2 has 3 cells, the first line names 2"),
        (b'a,b\n"1"x,2\n', SourceFormat.CSV, "Line 2 is not CSV"),
        (b"a,b\n\xff,2\n", SourceFormat.CSV, "not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(content: bytes, form: SourceFormat, words: str) -> None:
    assert words in problem(content, form)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.json", SourceFormat.JSON),
        ("a.CSV", SourceFormat.CSV),
        ("a.csv.gz", SourceFormat.CSV),
        ("a.jsonl", SourceFormat.NDJSON),
        ("a.json.ndjson.gz", SourceFormat.NDJSON),
        ("json", SourceFormat.NDJSON),
        ("-", SourceFormat.NDJSON),
    ],
)
def test_the_name_tells_the_format(name: str, form: SourceFormat) -> None:
    assert guess_format(Path(name)) is form


@given(ROWS)
@settings(max_examples=20)
def test_gzip_is_seen_by_its_content(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("gzip") / "rows"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    with Source(path) as source:
        found = [row for chunk in source.chunks(SourceFormat.NDJSON, 0) for row in json.loads(chunk.body)]
    assert found == rows


@pytest.mark.parametrize("cut", [5, 20, 60])
def test_broken_gzip_is_one_clear_problem(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(b'{"a":"%s"}\n' % bytes(range(35, 90)))[:cut])
    with pytest.raises(ProblemError) as raised, Source(path) as source:
        list(source.chunks(SourceFormat.NDJSON, 0))
    assert raised.value.problems[0].code == "BrokenGzip"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ProblemError) as raised:
            Source(path)
        assert raised.value.problems[0].code == "FileUnreadable"
