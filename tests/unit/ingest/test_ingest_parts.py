"""Bodies that are checked part by part are found to be what they are as a whole."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ingest import parts
from headrace.ingest.admission import admit
from headrace.ingest.parts import PART_BYTES, admit_by_parts
from headrace.settings import IngestSettings
from headrace.wire.problems import HttpError

SETTINGS = IngestSettings(max_depth=6, max_rows=500)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a\\"{}[], :é\u2028', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a"},{', max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text("ab},{", max_size=4), JSON, max_size=4), max_size=30)


def outcome(body: bytes, encoding: str = "", *, whole: bool = False) -> Any:
    """What is admitted, or the message of the refusal."""
    try:
        if whole:
            return admit(body, encoding, SETTINGS, "headrace")
        return admit_by_parts(body, encoding, SETTINGS, lambda _: None, lambda: None)
    except HttpError as error:
        return error.status, error.problem.code, error.problem.message


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", 40)
        yield


@given(RECORDS, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", ":")]), st.sampled_from([None, 2]))
def test_parts_say_the_same_as_the_whole(
    records: list[dict[str, Any]], separators: tuple[str, str], indent: int | None
) -> None:
    body = json.dumps(records, separators=separators, indent=indent, ensure_ascii=False).encode()
    assert outcome(body) == outcome(body, whole=True)
    packed = gzip.compress(body)
    assert outcome(packed, "gzip") == outcome(packed, "gzip", whole=True)


@given(
    RECORDS,
    st.integers(0, 10_000),
    st.sampled_from([b"", b"]", b"}", b",", b'"', b"{", b"\xff", b"7", b"\\"]),
)
def test_what_is_wrong_is_the_same(records: list[dict[str, Any]], place: int, change: bytes) -> None:
    good = json.dumps(records, ensure_ascii=False).encode()
    place %= len(good)
    for body in (
        good[:place] + change,
        good[:place] + change + good[place:],
        good[:place] + change + good[place + 1 :],
    ):
        assert outcome(body) == outcome(body, whole=True)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", ""),
        (b" \n[{}]", ""),
        (b'\xef\xbb\xbf[{"a": 1}]', ""),
        (b'{"a": 1}', ""),
        (b"[" + b"{}," * 600 + b"{}]", ""),
        (b'[{"a": ' + b"[" * 7 + b"]" * 7 + b"}]", ""),
        (b"no gzip", "gzip"),
        (gzip.compress(b"[{}") + gzip.compress(b",{}]"), "gzip"),
        (gzip.compress(b" " * (SETTINGS.max_inflated_bytes + 1)), "gzip"),
    ],
)
def test_what_is_unusual_is_the_same(body: bytes, encoding: str) -> None:
    assert outcome(body, encoding) == outcome(body, encoding, whole=True)


def test_others_come_to_turn_between_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", PART_BYTES)
    words = random.Random(7)
    records = [{"n": n, "in": [{"a": "},{"}, {"b": words.random()}], "text": "x" * 900} for n in range(2000)]
    body = b" \n" + json.dumps(records).encode()
    shown: list[bytes] = []
    pauses: list[int] = []
    settings = IngestSettings(max_inflated_bytes=len(body))
    admitted = admit_by_parts(body, "", settings, shown.append, lambda: pauses.append(len(shown)))
    assert admitted.rows == 2000
    assert [record for part in shown for record in json.loads(part)] == records
    assert max(map(len, shown)) <= PART_BYTES + 1
    assert len(pauses) >= len(shown) >= len(body) // PART_BYTES


@pytest.mark.parametrize("place", [0.001, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("change", [b"", b"}", b"7", b"nan", b'"\\x"', b"\xff", b"\n'"])
def test_a_fault_of_a_long_body_is_told_with_its_place(
    monkeypatch: pytest.MonkeyPatch, place: float, change: bytes
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", PART_BYTES)
    rows = [b'{"n": %d, "in": [{"a": "},{"}], "text": "\xc3\xa9%b"}' % (n, b"x" * 900) for n in range(160)]
    good = b"[" + b",\n".join(rows) + b"]"
    begin = good.index(b"{", max(0, int(len(good) * place) - 2000))
    bad = good[:begin] + change + good[begin:] if change else good[:begin]
    assert outcome(bad) == outcome(bad, whole=True)
    assert outcome(bad)[1] == "MalformedJson"
