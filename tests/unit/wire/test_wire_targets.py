from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.wire.targets import path_segments, query_value


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        (b"", ()),
        (b"/", ()),
        (b"///", ()),
        (b"/a/b", ("a", "b")),
        (b"//a///b/", ("a", "b")),
        (b"/a%2Fb/c", ("a/b", "c")),
        (b"/%41%c3%a9", ("Aé",)),
        (b"/a+b", ("a+b",)),
        (b"/%ff%zz%", ("\ufffd%zz%",)),
        (b"/\xc3\xa9", ("é",)),
    ],
)
def test_path_segments(path: bytes, segments: tuple[str, ...]) -> None:
    assert path_segments(path) == segments


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_segments_survive_quoting(segments: list[str]) -> None:
    path = "".join("/" + quote(segment, safe="") for segment in segments).encode()
    assert path_segments(path) == tuple(segments)


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (b"", None),
        (b"name", ""),
        (b"name=", ""),
        (b"NAME=1", "1"),
        (b"n%61me=1&name=2", "1"),
        (b"other=1&&name=a%26b+c", "a&b c"),
        (b"xname=1", None),
        (b"name=a=b", "a=b"),
        (b"name=%ff", "\ufffd"),
    ],
)
def test_query_value(query: bytes, value: str | None) -> None:
    assert query_value(query, "name") == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text("ab&=+% é"), max_size=4))
def test_values_survive_encoding(pairs: dict[str, str]) -> None:
    given_pairs = {key: value for key, value in pairs.items() if key.lower() != "name"}
    query = urlencode({**given_pairs, "Name": "the & value"}).encode()
    assert query_value(query, "name") == "the & value"


@given(st.binary())
def test_any_bytes_can_be_asked(text: bytes) -> None:
    query_value(text, "name")
    path_segments(text)
