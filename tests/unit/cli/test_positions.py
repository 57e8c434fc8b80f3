"""Where in a JSON text stands what a message names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.positions import line_and_column, locate, within

TEXT = '{\n "a": {"b.c": [1, {"d": "x"}], "b": {"c": 2}, "e": []},\n "\\u0066": 3 }'


@pytest.mark.parametrize(
    ("target", "begins"),
    [
        ("", "{\n"),
        ("a", '{"b.c"'),
        ("a.b.c", "[1"),
        ("a.b.c[1].d", '"x"'),
        ("a.b", '{"c"'),
        ("a.e[0]", "[]"),
        ("a.b.c[7].d", "[1"),
        ("a.none.at[3]", '{"b.c"'),
        ("f", "3 }"),
    ],
)
def test_a_place_is_found_or_what_should_have_it(target: str, begins: str) -> None:
    assert TEXT[locate(TEXT, target) :].startswith(begins)


def test_offsets_have_lines_and_columns() -> None:
    assert line_and_column(TEXT, 0) == (1, 1)
    assert line_and_column(TEXT, locate(TEXT, "f")) == (3, 12)


@given(st.text(), st.booleans(), st.data())
def test_characters_of_a_string_are_found_whatever_is_escaped(
    text: str, ascii_only: bool, data: st.DataObject
) -> None:
    written = json.dumps(text, ensure_ascii=ascii_only)
    number = data.draw(st.integers(0, len(text)))
    at = within(written, 0, number)
    assert json.loads(f'"{written[1:at]}"') == text[:number]


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, st.sampled_from([None, 1]))
def test_every_place_of_a_document_is_found(document: Any, indent: int | None) -> None:
    text = json.dumps(document, indent=indent)
    for target, value in _places(document, ""):
        assert json.JSONDecoder().raw_decode(text, locate(text, target))[0] == value


def _places(value: Any, target: str) -> list[tuple[str, Any]]:
    found = [(target, value)]
    if isinstance(value, dict):
        for name, member in value.items():
            found += _places(member, f"{target}.{name}" if target else name)
    if isinstance(value, list):
        for place, member in enumerate(value):
            found += _places(member, f"{target}[{place}]")
    return found
