"""The formatter: its layout on small texts, and its laws over the public corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.kql.editor import format_text
from headrace.kql.model import KqlError
from headrace.kql.syntax.parser import parse
from headrace.kql.syntax.walk import shape

SHARED = Path(__file__).resolve().parents[5] / "shared" / "kql"

CASES = [
    ("T|where a>1", "T\n| where a > 1\n"),
    ("T", "T\n"),
    ("", ""),
    ("  \n ", ""),
    ("// only a comment", "// only a comment\n"),
    ("let x=1;let y =2 ;\nT|take x", "let x = 1;\nlet y = 2;\nT\n| take x\n"),
    ("let x = 1;\n\n\n\nT", "let x = 1;\n\nT\n"),
    ("let q=T|where a==1|take 5;q", "let q =\n    T\n    | where a == 1\n    | take 5;\nq\n"),
    ("T | project-away a*,b", "T\n| project-away a*, b\n"),
    ("T|extend a= -1,b=-a,c=a - -1", "T\n| extend a = -1, b = -a, c = a - -1\n"),
    ("T|extend a=b-c", "T\n| extend a = b - c\n"),
    ("T|where a !in~ ( 'x' , 'y' )", "T\n| where a !in~ ('x', 'y')\n"),
    ("T|where a between(1..5)", "T\n| where a between (1 .. 5)\n"),
    ("T | extend x = p . q [ 0 ] [ 'z' ]", "T\n| extend x = p.q[0]['z']\n"),
    ("T | summarize count ( ) , arg_max( t , * )by a", "T\n| summarize count(), arg_max(t, *) by a\n"),
    ("T|join kind = inner(U|where a>1)on a", "T\n| join kind=inner (U | where a > 1) on a\n"),
    (
        "T|join kind=inner(U|where a>1|take 5)on a",
        "T\n| join kind=inner (\n    U\n    | where a > 1\n    | take 5\n) on a\n",
    ),
    ("T | parse m with * 'a=' a:long *", "T\n| parse m with * 'a=' a:long *\n"),
    (
        "T | render timechart with ( title = 'x' , kind=stacked )",
        "T\n| render timechart with (title='x', kind=stacked)\n",
    ),
    ("datatable(a:long,b:string)[1,'x',2,'y']", "datatable(a: long, b: string) [1, 'x', 2, 'y']\n"),
    ("let f=(a:long,b:string='x'){a};f(1)", "let f = (a: long, b: string = 'x') { a };\nf(1)\n"),
    (
        "let f=(){let b=1;T|where a==b};f()",
        "let f = () {\n    let b = 1;\n    T\n    | where a == b\n};\nf()\n",
    ),
    (
        "// head\nT // the table\n// then\n|take 5 // some",
        "// head\nT // the table\n// then\n| take 5 // some\n",
    ),
    ("T|where a in (1, // one\n2)", "T\n| where a in (\n    1, // one\n    2\n)\n"),
    ("T | extend s=dynamic({'a':[1,-2]})", "T\n| extend s = dynamic({ 'a': [1, -2] })\n"),
    ("T | where t > datetime( 2024-01-01 )", "T\n| where t > datetime( 2024-01-01 )\n"),
    ("union A*,B", "union A*, B\n"),
    (
        "T | top-nested 2 of a by count(),top-nested 1 of b by max(c)",
        "T\n| top-nested 2 of a by count(), top-nested 1 of b by max(c)\n",
    ),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_layout(text: str, expected: str) -> None:
    assert format_text(text) == expected
    assert format_text(expected) == expected


def test_long_lists_take_a_line_for_each_item() -> None:
    text = (
        "T | summarize "
        + ", ".join(f"Total{i} = sum(Value{i})" for i in range(6))
        + " by Computer, bin(t, 1h)"
    )
    assert format_text(text).splitlines() == [
        "T",
        "| summarize",
        *(f"    Total{i} = sum(Value{i})," for i in range(5)),
        "    Total5 = sum(Value5)",
        "    by Computer, bin(t, 1h)",
    ]


def test_long_conditions_break_before_and() -> None:
    text = "T | where " + " and ".join(f"SomeColumn{i} == 'value {i}'" for i in range(5))
    assert format_text(text).splitlines() == [
        "T",
        "| where SomeColumn0 == 'value 0'",
        *(f"    and SomeColumn{i} == 'value {i}'" for i in range(1, 5)),
    ]


def test_rows_of_a_datatable_take_a_line_each() -> None:
    text = (
        "datatable(name: string, n: long) [" + ", ".join(f"'a longer value {i}', {i}" for i in range(6)) + "]"
    )
    assert format_text(text).splitlines()[1:3] == ["    'a longer value 0', 0,", "    'a longer value 1', 1,"]


@pytest.mark.parametrize("text", ["T | where (", "T | | take 5", "'open", "T | take 5)", ".show tables"])
def test_a_text_with_syntax_errors_is_refused(text: str) -> None:
    with pytest.raises(KqlError):
        format_text(text)


def test_strings_and_comments_stay_to_the_letter() -> None:
    strings = ["'a  |  b'", '"x // y"', "@'c:\\dir'", "```one\n  two```", "h'secret'", "'it\\'s'"]
    text = "print " + " , ".join(strings) + "   //  a   comment  "
    formatted = format_text(text)
    for string in strings:
        assert string in formatted
    assert "//  a   comment\n" in formatted


def _corpus() -> list[str]:
    found: list[str] = []
    for name in ("conformance.jsonl", "realworld_queries.jsonl"):
        path = SHARED / name
        if path.exists():
            found.extend(json.loads(line)["query"] for line in path.read_text("utf-8").splitlines())
    return found


def test_the_corpus_keeps_its_meaning_and_settles_at_once() -> None:
    queries = _corpus()
    if not queries:
        pytest.skip("the shared corpus is not here")
    done = 0
    for text in queries:
        try:
            formatted = format_text(text)
        except KqlError:
            continue
        assert shape(parse(formatted)[0]) == shape(parse(text)[0]), text
        assert format_text(formatted) == formatted, text
        assert _comments(formatted) == _comments(text), text
        done += 1
    assert done > 0.97 * len(queries)


def _comments(text: str) -> int:
    """How often a comment's mark occurs; in literals too, which stay as they are."""
    return text.count("//")
