"""Output forms: JSON, CSV and NDJSON give back every value; tables never break a word that may be copied."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from headrace.cli.output import OutputForm, fail, print_record, print_rows, print_table
from headrace.cli.query import marked_line, show_places
from headrace.errors import Problem, Span

VALUES = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs", "Cc"]))


def printed(columns: list[str], rows: list[Any], form: OutputForm) -> str:
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        print_rows(columns, rows, form)
        return out.getvalue()


@given(st.lists(st.tuples(VALUES, VALUES), max_size=5))
def test_rows_come_back_from_each_form(rows: list[tuple[Any, Any]]) -> None:
    records = [{"a": a, "b": b} for a, b in rows]
    assert json.loads(printed(["a", "b"], rows, OutputForm.JSON)) == records
    lines = printed(["a", "b"], rows, OutputForm.NDJSON).split("\n")[:-1]
    assert [json.loads(line) for line in lines] == records
    text = {None: "", True: "true", False: "false"}
    expected = [[text[v] if v is None or isinstance(v, bool) else str(v) for v in row] for row in rows]
    assert list(csv.reader(io.StringIO(printed(["a", "b"], rows, OutputForm.CSV)))) == [["a", "b"], *expected]


def table(columns: list[str], rows: list[Any], width: int) -> list[str]:
    out = io.StringIO()
    print_table(columns, rows, Console(file=out, width=width, highlight=False))
    return [line.rstrip() for line in out.getvalue().splitlines()]


ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_a_table_that_fits_stands_side_by_side() -> None:
    lines = table(["id", "n"], [[ID, 1], [ID, 22]], 100)
    assert [line.split() for line in lines] == [["id", "n"], [ID, "1"], [ID, "22"]]
    assert lines[1].endswith(" 1") and len(lines[1]) == len(lines[2])


def test_a_sentence_is_wrapped_so_that_an_id_stays_whole() -> None:
    lines = table(["id", "text"], [[ID, "some words " * 6]], 60)
    assert sum(ID in line for line in lines) == 1
    assert all(len(line) <= 60 for line in lines) and len(lines) > 2


def test_a_narrow_terminal_gets_a_record_a_row() -> None:
    lines = table(["first", "second"], [[ID, ID], [ID, "x"]], 60)
    assert lines[0].startswith("-- 1 -") and lines[3].startswith("-- 2 -")
    assert [line.split() for line in lines[1:3]] == [["first", ID], ["second", ID]]


@given(
    st.lists(st.lists(st.text("ab [/]é日", max_size=30), min_size=3, max_size=3), max_size=4),
    st.integers(20, 120),
)
def test_any_rows_are_printed_within_the_width(rows: list[list[str]], width: int) -> None:
    lines = table(["x", "y", "z"], rows, width)
    assert all(cell_len(line) <= width for line in lines)
    seen = "".join("".join(line.split()) for line in lines)
    for row in rows:
        for text in row:
            for word in text.split():
                assert word in seen or cell_len(word) > width // 2


def test_no_rows_still_have_their_columns() -> None:
    assert table(["Time", "Level"], [], 80) == ["Time  Level"]
    many = [f"Column{number}" for number in range(30)]
    assert " ".join(table(many, [], 80)).split() == many


def test_another_program_gets_no_padding() -> None:
    out = io.StringIO()
    print_table(["a", "b"], [["x", "y"], ["x", "a long text"]], Console(file=out, width=100, highlight=False))
    assert out.getvalue() == "a  b\nx  y\nx  a long text\n"


def test_data_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;title\x07\x9b2J\r\x7f"
    for width in (100, 20):
        text = "".join(table([hostile, "b"], [[hostile, "x" * 15]], width))
        assert not set(text) & set("\x1b\x07\x9b\r\x7f") and "title" in text
    fail(Problem("A", hostile, hint=hostile))
    assert not set(capsys.readouterr().err) & set("\x1b\x07\x9b\r\x7f")


def test_a_record_is_one_object_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_record({"a": 1, "b": None}, OutputForm.JSON)
    assert json.loads(capsys.readouterr().out) == {"a": 1, "b": None}
    print_record({"clientId": ID, "b": "x"}, OutputForm.TABLE)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["clientId", ID], ["b", "x"]]


def test_a_problem_is_a_line_and_each_cause_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    cause = Problem("C", "The [cause].", target="properties.x")
    fail(Problem("A", "It is wrong.", span=Span(0, 1, 2, 3), hint="Do [this].", details=(cause,)))
    assert capsys.readouterr().err.splitlines() == [
        "error: It is wrong. (line 2, column 3) Do [this].",
        "  - properties.x: The [cause].",
    ]


@given(st.text("ab\t日e\u0301", min_size=1, max_size=60), st.data())
def test_the_mark_stands_under_its_text(line: str, data: st.DataObject) -> None:
    column = data.draw(st.integers(1, len(line)))
    length = data.draw(st.integers(1, len(line) - column + 1))
    text, mark = marked_line(line, column, length, 300)
    start = cell_len(line[: column - 1].expandtabs(4))
    assert mark == " " * start + "^" * max(
        1, cell_len(line[column - 1 : column - 1 + length].replace("\t", " "))
    )
    assert cell_len(text) >= start


def test_a_long_line_is_cut_around_its_mark() -> None:
    line = "a" * 500 + "WRONG" + "b" * 500
    text, mark = marked_line(line, 501, 5, 80)
    assert cell_len(text) <= 80 and text.startswith("...")
    start = len(mark) - len(mark.lstrip())
    assert text[start : start + 5] == "WRONG" and mark.strip() == "^^^^^"


class Answer:
    """What `show_places` needs of an HTTP answer."""

    def __init__(self, document: Any) -> None:
        self._document = document

    def json(self) -> Any:
        if isinstance(self._document, ValueError):
            raise self._document
        return self._document


@pytest.mark.parametrize(
    "document",
    [ValueError("no JSON"), [], {"error": None}, {"error": {}}, {"error": "x"}, {"error": {"details": []}}],
)
def test_errors_without_places_are_left_to_others(document: Any) -> None:
    assert show_places(Answer(document), "print 1") == []  # type: ignore[arg-type]
