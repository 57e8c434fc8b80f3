"""Bad rows are found within a bound, and nothing else is given up."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.transform.bisect import Bad, find_bad, without
from headrace.transform.bodies import members
from headrace.transform.run import Body, EngineError, RowsError


def fails_on_bad(bodies: Sequence[Body]) -> None:
    if any(json.loads(text) == "bad" for body in bodies for text in members(body)):
        raise RowsError("Bad")


@given(rows=st.lists(st.lists(st.booleans(), max_size=9), min_size=1, max_size=6))
def test_exactly_the_bad_rows_are_found(rows: list[list[bool]]) -> None:
    bodies = [
        Body(offset, 0, json.dumps(["bad" if bad else offset for bad in row]).encode())
        for offset, row in enumerate(rows)
    ]
    wanted = {(offset, place) for offset, row in enumerate(rows) for place, bad in enumerate(row) if bad}
    if not wanted:
        return
    found = find_bad(bodies, fails_on_bad, "Bad", probes=10_000)
    assert {(one.offset, one.row) for one in found} == wanted
    rest = without(bodies, found)
    fails_on_bad(rest)
    for body, row in zip(rest, rows, strict=True):
        kept = [None if bad else body.offset for bad in row]
        assert json.loads(body.text) == kept


def test_the_search_is_bounded() -> None:
    probes = 0

    def probe(bodies: Sequence[Body]) -> None:
        nonlocal probes
        probes += 1
        raise RowsError("Bad")

    bodies = [Body(offset, 0, json.dumps([0] * 1000).encode()) for offset in range(1000)]
    found = find_bad(bodies, probe, "Bad", probes=100)
    assert probes <= 100
    rest = without(bodies, found)
    assert all(text == b"null" for body in rest for text in members(body))


def test_a_body_that_is_no_array_is_given_up_whole() -> None:
    assert find_bad([Body(3, 0, b"[{]")], fails_on_bad, "Bad") == [Bad(3, None, "MalformedJson")]


def test_a_failing_engine_is_not_blamed_on_rows() -> None:
    def probe(bodies: Sequence[Body]) -> None:
        raise EngineError("IO", "disk")

    with pytest.raises(EngineError):
        find_bad([Body(0, 0, b"[1]"), Body(1, 0, b"[1]")], probe, "Bad")


def test_rows_too_large_for_the_memory_are_found() -> None:
    def probe(bodies: Sequence[Body]) -> None:
        if any(len(body.text) > 100 for body in bodies):
            raise EngineError("OutOfMemory", "memory")

    large = json.dumps(["x" * 200]).encode()
    found = find_bad([Body(0, 0, b"[1]"), Body(1, 0, large)], probe, "OutOfMemory")
    assert found == [Bad(1, 0, "OutOfMemory")]
