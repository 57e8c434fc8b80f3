"""Lexer and parser: tokens, literals, precedence, recovery, bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import SourceText, tokenize
from headrace.kql.syntax.literals import parse_datetime, parse_guid, parse_timespan
from headrace.kql.syntax.parser import OPERATORS, parse
from headrace.kql.types import KustoType

DAY = 864_000_000_000


def _value(text: str) -> n.Expression:
    script, _, problems = parse(f"print x = {text}")
    assert problems == []
    statement = script.statements[0]
    assert isinstance(statement, n.ExpressionStatement)
    assert isinstance(statement.value, n.Pipeline)
    source = statement.value.source
    assert isinstance(source, t.Print)
    return source.items[0].value


def _literal(text: str) -> tuple[KustoType, object]:
    value = _value(text)
    assert isinstance(value, n.Literal)
    return value.type, value.value


@pytest.mark.parametrize(
    ("text", "type", "value"),
    [
        ("12", KustoType.LONG, 12),
        ("-0x10", KustoType.LONG, -16),
        ("1e3", KustoType.REAL, 1000.0),
        ("int(7)", KustoType.INT, 7),
        ("long(null)", KustoType.LONG, None),
        ("real(-inf)", KustoType.REAL, float("-inf")),
        ("bool(true)", KustoType.BOOL, True),
        ("1.5h", KustoType.TIMESPAN, 54_000_000_000),
        ("time(1.02:03:04.5)", KustoType.TIMESPAN, 937_845_000_000),
        ("datetime(1970-01-02)", KustoType.DATETIME, DAY),
        ("datetime(1970-01-01T01:00:00+01:00)", KustoType.DATETIME, 0),
        (
            "guid(74BE27DE-1E4E-49D9-B579-FE0B331D3642)",
            KustoType.GUID,
            "74be27de-1e4e-49d9-b579-fe0b331d3642",
        ),
        (r"'a\tb\'\\'", KustoType.STRING, "a\tb'\\"),
        ('@"a\\""b"', KustoType.STRING, 'a\\"b'),
        ("h'secret'", KustoType.STRING, "secret"),
        ("```a\n'b'```", KustoType.STRING, "a\n'b'"),
        ("'a' \"b\"", KustoType.STRING, "ab"),
        (
            "dynamic({'a': [1.50, true, null], \"b\": 1d})",
            KustoType.DYNAMIC,
            '{"a":[1.50,true,null],"b":"1.00:00:00"}',
        ),
        ("dynamic(null)", KustoType.DYNAMIC, None),
    ],
)
def test_literals(text: str, type: KustoType, value: object) -> None:
    assert _literal(text) == (type, value)


def _shape(node: n.Expression) -> str:
    if isinstance(node, n.Binary):
        return f"({_shape(node.left)} {node.op} {_shape(node.right)})"
    if isinstance(node, n.Logical):
        return "(" + f" {node.op} ".join(_shape(operand) for operand in node.operands) + ")"
    if isinstance(node, n.Name):
        return node.name
    if isinstance(node, n.Literal):
        return str(node.value)
    if isinstance(node, n.Member):
        return f"{_shape(node.operand)}.{node.name}"
    if isinstance(node, n.Index):
        return f"{_shape(node.operand)}[{_shape(node.index)}]"
    if isinstance(node, n.Unary):
        return f"({node.op}{_shape(node.operand)})"
    if isinstance(node, n.Membership):
        return f"({_shape(node.operand)} {node.op} {len(node.items)})"
    return type(node).__name__


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a or b and c", "(a or (b and c))"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a - 1 > 2 == true", "(((a - 1) > 2) == True)"),
        ("a has 'x' and b !contains 'y'", "((a has x) and (b !contains y))"),
        ("-a.b[0].c", "(-a.b[0].c)"),
        ("a !in~ ('x', 'y')", "(a !in~ 2)"),
        ("a matches regex 'x' or b =~ 'c'", "((a matches regex x) or (b =~ c))"),
        ("['a b'] < b", "(a b < b)"),
        ("a-b", "(a - b)"),
    ],
)
def test_precedence(text: str, shape: str) -> None:
    assert _shape(_value(text)) == shape


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("2024-02-30", None),
        ("2024-01-01T25:00", None),
        ("10000-01-01", None),
        ("12/31/1969", -DAY),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 10_000_000),
        ("1970-01-01 12:00 AM", 0),
        ("19700102", DAY),
        ("1970", 0),
        ("not a date", None),
    ],
)
def test_datetimes(text: str, ticks: int | None) -> None:
    assert parse_datetime(text) == ticks


def test_other_values() -> None:
    assert parse_timespan("2 d") == 2 * DAY
    assert parse_timespan("-00:00:01") == -10_000_000
    assert parse_timespan("x") is None
    assert parse_guid("not one") is None


def test_several_problems_of_one_text_are_reported_with_their_places() -> None:
    _, _, problems = parse("T | wher a\n| extend b = \n| where c ==\n| take 1")
    assert [(p.span.line, p.span.column) for p in problems if p.span] == [(1, 5), (3, 1), (4, 1)]
    assert problems[0].hint == "Did you mean `where`?"


def test_spans_count_lines_and_characters() -> None:
    source = SourceText("a\nbb ccc")
    span = source.span(5, 8)
    assert (span.start, span.length, span.line, span.column) == (5, 3, 2, 4)


HOSTILE = [
    "print " + "(" * 20_000,
    "print " + "not(" * 20_000,
    "print " + "-" * 50_000 + "1",
    "print " + "1+" * 50_000 + "1",
    "print dynamic(" + "[" * 20_000,
    "let f = () {" * 5_000,
    "T" + " | join (T" * 5_000,
    "T " + "| take 1 " * 5_000,
    "T | project d" + ".a" * 50_000,
    ";" * 100_000,
    "|" * 50_000,
    "int(" + " " * 100_000 + "x",
    '"' * 50_001,
    "let a = 1;" * 5_000,
    "\ud800",
    "print 'unterminated",
    "x" * 2_000_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_end_in_problems(text: str) -> None:
    script, _, problems = parse(text)
    assert problems or not script.statements
    assert len(problems) <= 50


_WORDS = [
    *OPERATORS,
    "T",
    "a",
    "and",
    "or",
    "in",
    "has",
    "not",
    "by",
    "on",
    "with",
    "to",
    "from",
    "step",
    "of",
    "kind",
]
_WORDS += [
    "let",
    "print",
    "range",
    "datatable",
    "dynamic",
    "typeof",
    "declare",
    "default",
    "true",
    "long",
    "$left",
]
_SIGNS = [*"|=!()[]{},;:.*-+", "..", "==", "=~", "=>", "//", "\n", "1", "2.5", "1h", "'x'", '"y"', "@'z'"]
_PIECES = st.sampled_from(_WORDS + _SIGNS)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=40).map(" ".join))
def test_any_sequence_of_words_parses_or_has_problems(text: str) -> None:
    script, source, problems = parse(text)
    for problem in problems:
        assert problem.span is not None
        assert 0 <= problem.span.start <= len(source.text)
    assert isinstance(script, n.Script)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_becomes_tokens_that_cover_it_in_order(text: str) -> None:
    tokens, _ = tokenize(SourceText(text))
    assert all(first.end <= second.start for first, second in pairwise(tokens))
    assert all(text[token.start : token.end] == token.text for token in tokens)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("T | where a == 1\nT | where b == 2", "end the one before it with `;`"),
        ("T | where a == 1\nlet x = 1; T", "end the one before it with `;`"),
        ("T where a == 1", "Is the `|` before `where` missing?"),
        ("T project-away a", "Is the `|` before `project-away` missing?"),
        ("T | where a startwith b", "Did you mean `startswith`?"),
        ("T | where a {TimeRange}", "put its value there"),
        ("T # all", "A comment begins with `//`"),
        ("T | where a == 1)", "never opened"),
    ],
)
def test_a_text_that_goes_on_says_what_may_be_missing(text: str, cure: str) -> None:
    problems = parse(text)[2]
    assert problems[0].code == "KQL0002"
    assert cure in (problems[0].hint or "")
