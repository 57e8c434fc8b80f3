"""Hover and signature help at a cursor, written `^` in the texts."""

from __future__ import annotations

import pytest

from headrace.kql.editor import SignatureHelp, Target, hover, signature_help
from headrace.kql.model import Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn

LOGS = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Message", KustoType.STRING),
        SchemaColumn("Props", KustoType.DYNAMIC),
    )
)
QUERY = Target.query(Tables({"Logs": LOGS}))
TRANSFORM = Target.transform(LOGS)


def title(text: str, target: Target = QUERY) -> str | None:
    found = hover(text.replace("^", ""), text.index("^"), target)
    return found.title if found is not None else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Logs | where ^Message has 'x'", "Message: string"),
        ("Logs | extend n = strlen(Message) | where ^n > 1", "n: long"),
        ("Logs | project-away Mess^age", "Message: string"),
        ("Logs | extend a = Props.na^me", "name: dynamic"),
        ("^Logs | take 5", "Logs"),
        ("let limit_ = 5; Logs | where strlen(Message) > lim^it_", "limit_: long"),
        ("let f = (x: long) { x }; print f^(1)", "f(x: long)"),
        ("let T = Logs | where Mess^age == ''; print 1", "Message: string"),
        ("Logs | ^where true", "where condition"),
        ("Logs | project-^away Message", "project-away Pattern, ..."),
        ("^print 1", "print Name = expression, ..."),
        ("^let x = 1; print x", "let"),
        ("Logs | where Message h^as 'x'", "has"),
        ("Logs | where Message =^~ 'x'", "=~"),
        ("print str^len('a')", "strlen(text: string) -> long"),
        ("Logs | evaluate bag_un^pack(Props)", "bag_unpack()"),
        ("Logs | where Nobody^ == 1", None),
        ("Logs | where Message == 'tex^t'", None),
        ("Logs  ^ | take 5", None),
        ("^", None),
    ],
)
def test_what_stands_under_the_cursor(text: str, expected: str | None) -> None:
    assert title(text) == expected


def test_a_hover_covers_the_word() -> None:
    found = hover("Logs | where Message == ''", 15, QUERY)
    assert found is not None
    assert (found.start, found.end) == (13, 20)


def test_a_table_lists_its_columns() -> None:
    found = hover("Logs", 1, QUERY)
    assert found is not None
    assert found.text.splitlines()[0] == "- `TimeGenerated`: datetime"


def test_a_function_has_its_doc_and_what_the_surface_says() -> None:
    plain = hover("print strlen('a')", 8, QUERY)
    assert plain is not None
    assert plain.text
    refused = hover("source | extend n = count()", 21, TRANSFORM)
    assert refused is not None
    assert "row by row" in refused.text


def help_at(text: str, target: Target = QUERY) -> SignatureHelp | None:
    return signature_help(text.replace("^", ""), text.index("^"), target)


@pytest.mark.parametrize(
    ("text", "name", "parameter"),
    [
        ("print strlen(^", "strlen", 0),
        ("print strlen(^)", "strlen", 0),
        ("print substring('abc', ^", "substring", 1),
        ("print substring('a, b', 1, ^)", "substring", 2),
        ("print substring('abc', 1, 2, ^)", "substring", None),
        ("print iff(true, strlen(^), 2)", "strlen", 0),
        ("print iff(true, strlen('a'), ^2)", "iff", 2),
        ("print strcat('a', 'b', 'c', ^", "strcat", 0),
        ("print iff((1 + ^", "iff", 0),
        ("print iff(dynamic([1, 2]) has '1', ^", "iff", 1),
        ("Logs | summarize arg_max(TimeGenerated, ^", "arg_max", 1),
        ("let f = (x: long, y: string) { x }; print f(1, ^", "f", 1),
        ("let f = (x: long) { x }; print f(1, ^", "f", None),
    ],
)
def test_the_call_and_the_parameter_at_hand(text: str, name: str, parameter: int | None) -> None:
    found = help_at(text)
    assert found is not None
    assert (found.name, found.parameter) == (name, parameter)


@pytest.mark.parametrize(
    "text", ["print ^", "print strlen('a') ^", "Logs | where (^", "print nobody(^", "Logs | join (^"]
)
def test_no_help_outside_of_calls(text: str) -> None:
    assert help_at(text) is None


def test_a_transform_gives_no_help_on_what_it_refuses() -> None:
    assert help_at("source | extend n = sum(^", TRANSFORM) is None


def test_the_overload_that_still_fits_is_active() -> None:
    one = help_at("print bin(^")
    assert one is not None
    for line in one.signatures:
        for start, end in line.parameters:
            assert ":" in line.label[start:end]
    assert 0 <= one.active < len(one.signatures)
