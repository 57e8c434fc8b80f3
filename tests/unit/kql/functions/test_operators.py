from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kql.functions.calling import Caller, Dynamic, Given, Null, Ticks, calling, ticks

from headrace.kql.types import KustoType

T = KustoType
NIL = Null(T.LONG)
DAY = datetime(2020, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("left", "name", "right", "result"),
    [
        (7, "/", 2, 3),
        (-7, "/", 2, -3),
        (7, "/", 0, None),
        (7.0, "/", 2, 3.5),
        (1.0, "/", 0.0, math.inf),
        (-14, "%", 12, 10),
        (14, "%", -12, 2),
        (-10, "%", -3, 2),
        (5, "%", 0, None),
        (-10.5, "%", 3, 1.5),
        (2**63 - 1, "+", 1, None),
        (-(2**63), "-", 1, None),
        (2**62, "*", 2, None),
        (-(2**63), "/", -1, None),
        (DAY, "-", timedelta(days=1), ticks(DAY) - 864_000_000_000),
        (DAY, "-", datetime(2020, 2, 1, tzinfo=UTC), ticks(timedelta(days=29))),
        (timedelta(hours=1), "/", timedelta(minutes=30), 2.0),
        (timedelta(minutes=90), "/", 2, ticks(timedelta(minutes=45))),
        (2, "*", timedelta(hours=1), ticks(timedelta(hours=2))),
        (Ticks(3), "*", 0.5, 2),
        (Dynamic("2"), "+", 1, 3),
        (Dynamic("2"), "+", Dynamic("0.5"), "2.5"),
        (Dynamic('"x"'), "+", Dynamic("1"), None),
        (1, "==", 1.0, True),
        (NIL, "==", 1, False),
        (NIL, "==", NIL, None),
        (NIL, "!=", 1, True),
        (NIL, "!=", NIL, None),
        (NIL, "<", 1, None),
        ("", "==", "", True),
        ("a", "==", "A", False),
        ("a", "=~", "A", True),
        ("É", "=~", "é", True),
        (Dynamic('"x"'), "==", "x", True),
        (Dynamic("5"), ">", 4, True),
        ("b", "!~", "B", False),
        (DAY, "<", datetime(2020, 3, 2, tzinfo=UTC), True),
    ],
)
def test_arithmetic_and_comparison(
    call: Caller, left: Given, name: str, right: Given, result: object
) -> None:
    assert call(name, left, right) == result


@pytest.mark.parametrize(
    ("text", "name", "search", "result"),
    [
        ("North America", "has", "amer", False),
        ("North America", "has", "america", True),
        ("North_America", "has", "america", True),
        ("abc123 def", "has", "abc", False),
        ("a.b.c", "has", "a.b", True),
        ("x/etc/passwd", "has", "/etc", True),
        ("größe", "has", "gr", False),
        ("größe 5", "has", "größe", True),
        ("North America", "has_cs", "america", False),
        ("abcabc abc", "has", "abc", True),
        ("anything", "has", "", True),
        ("one two", "!has", "two", False),
        ("foo barista", "hasprefix", "bar", True),
        ("foobar ista", "hasprefix", "bar", False),
        ("foobar ista", "hassuffix", "BAR", True),
        ("foobar ista", "hassuffix_cs", "BAR", False),
        ("FabriKam", "contains", "BRik", True),
        ("FabriKam", "contains_cs", "BRik", False),
        ("100%", "contains", "0%", True),
        ("a_b", "contains", "axb", False),
        ("Fabrikam", "startswith", "fab", True),
        ("Fabrikam", "startswith_cs", "fab", False),
        ("Fabrikam", "endswith", "KAM", True),
        ("Fabrikam", "!endswith", "KAM", False),
        ("abc123", "matches regex", r"\d+", True),
        ("abc", "matches regex", "^b", False),
        ("abcdef", "like", "AB*f", True),
        ("abcdef", "likecs", "AB*f", False),
        ("a.c", "like", "a.c", True),
        ("abc", "like", "a.c", False),
        (Dynamic('"Hello there"'), "has", "hello", True),
    ],
)
def test_text(call: Caller, text: Given, name: str, search: str, result: bool) -> None:
    assert call(name, text, search) is result


ALPHABET = "aB1_- é."


@settings(max_examples=150, deadline=None)
@given(st.text(ALPHABET, max_size=8), st.text(ALPHABET, max_size=4))
def test_terms_by_their_definition(text: str, search: str) -> None:
    """The search occurs where neither end cuts a run of letters and digits."""
    lowered, wanted = text.lower(), search.lower()
    found = not wanted
    for place in range(len(lowered) - len(wanted) + 1):
        if wanted and lowered.startswith(wanted, place):
            end = place + len(wanted)
            left = place == 0 or not (wanted[0].isalnum() and lowered[place - 1].isalnum())
            right = end == len(lowered) or not (wanted[-1].isalnum() and lowered[end].isalnum())
            found = found or (left and right)
    with calling() as call:
        assert call("has", text, search) is found


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("in", ("abc", "ABC", "x"), False),
        ("in~", ("abc", "ABC", "x"), True),
        ("!in~", ("abc", "ABC"), False),
        ("in", (2, 1, 2), True),
        ("in", (NIL, 1, 2), False),
        ("!in", (NIL, 1, 2), True),
        ("in", ("b", Dynamic('["a","b"]')), True),
        ("in", (3, Dynamic("[1,2]"), 3), True),
        ("in", (3, Dynamic("[]")), False),
        ("in", (Dynamic('"b"'), "a", "b"), True),
        ("in", (1, 1.0), True),
        ("between", (5, 5, 6), True),
        ("between", (7, 5, 6), False),
        ("!between", (7, 5, 6), True),
        ("between", (DAY, DAY, timedelta(days=1)), True),
        ("has_any", ("one two three", "x", "TWO"), True),
        ("has_any", ("one two three", Dynamic('["x","three"]')), True),
        ("has_any", ("one two three", Dynamic("[]")), False),
        ("has_all", ("one two three", "one", "three"), True),
        ("has_all", ("one two three", Dynamic('["one","four"]')), False),
        ("and", (True, Null(T.BOOL)), None),
        ("and", (False, Null(T.BOOL)), False),
        ("or", (True, Null(T.BOOL)), True),
        ("not", (Null(T.BOOL),), None),
    ],
)
def test_lists_and_logic(call: Caller, name: str, given: tuple[Given, ...], result: bool | None) -> None:
    assert call(name, *given) is result


@pytest.mark.parametrize(
    ("value", "key", "result"),
    [
        ('{"a":{"b":1}}', "a", '{"b":1}'),
        ('{"a b":1}', "a b", "1"),
        ('{"a.b":1}', "a.b", "1"),
        ('{"a/~b":1}', "a/~b", "1"),
        ('{"it\'s \\"q\\"":1}', 'it\'s "q"', "1"),
        ('{"":1}', "", "1"),
        ('{"*":1,"x":2}', "*", "1"),
        ('{"A":1}', "a", None),
        ('{"a":null}', "a", None),
        ('"text"', "a", None),
        ("[10,20,30]", 1, "20"),
        ("[10,20,30]", -1, "30"),
        ("[10]", 5, None),
        ("[10]", -5, None),
        ('{"a":"x"}', "a", '"x"'),
    ],
)
def test_members(call: Caller, value: str, key: str | int, result: str | None) -> None:
    assert call("__index", Dynamic(value), key) == result


def test_negation(call: Caller) -> None:
    assert call("__negate", 5) == -5
    assert call("__negate", 1.5) == -1.5
    assert call("__negate", timedelta(hours=1)) == -ticks(timedelta(hours=1))
    assert call("__negate", -(2**63)) is None
