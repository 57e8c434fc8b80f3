"""Rows that must come out, compared with those that did: what differs, so that a person sees it at a glance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from headrace.clock import from_iso

Row = Mapping[str, Any]

_ALIGNED = 500
"""With more rows on a side they are compared by their places alone: aligning them would take too long."""
_CONTEXT = 2
_MOST_LINES = 60
_MOST_CHARACTERS = 200
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")


def difference(expected: Sequence[Row], rows: Sequence[Row]) -> str | None:
    """What differs between the rows that were expected and `rows`, in order; None where nothing does.

    Only the columns that an expected row names are compared; times are compared as moments. Each row is a line: `=` is
    as expected, `-` is missing, `+` should not be there, and `~` is followed by the columns that differ.
    """
    pairs = list(_paired(expected, rows))
    if all(kind == "=" for kind, _ in pairs):
        return None
    head = f"{_counted(len(expected))} expected, {len(rows)} came out."
    return "\n".join([head, *_lines(pairs)])


def same(value: Any, expected: Any) -> bool:
    """Whether a value is the expected one. Times are compared as moments, numbers as numbers."""
    if isinstance(value, str) and isinstance(expected, str):
        return value == expected or _moment(value) == _moment(expected) is not None
    if isinstance(value, dict) and isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[name], expected[name]) for name in value)
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    # To Python True is 1.
    return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)


def _moment(text: str) -> int | None:
    if _TIME.match(text) is None:
        return None
    try:
        return from_iso(text)
    except ValueError:
        return None


def _paired(expected: Sequence[Row], rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The rows of both sides in order, each with its mark; below a changed one what differs, without a mark."""
    wanted_from, found_from = 0, 0
    for wanted, found in [*_aligned(expected, rows), (len(expected), len(rows))]:
        yield from (("-", _text(dict(row))) for row in expected[wanted_from:wanted])
        yield from (("+", _text(dict(row))) for row in rows[found_from:found])
        if wanted < len(expected):
            changes = list(_changes(expected[wanted], rows[found]))
            yield "~" if changes else "=", _text(dict(rows[found]))
            yield from (("", change) for change in changes)
        wanted_from, found_from = wanted + 1, found + 1


def _aligned(expected: Sequence[Row], rows: Sequence[Row]) -> list[tuple[int, int]]:
    """The places of rows that are like each other, in the same order on both sides, so that they are most alike."""
    if max(len(expected), len(rows)) > _ALIGNED:
        return [(place, place) for place in range(min(len(expected), len(rows)))]
    alike = [[_likeness(one, row) for row in rows] for one in expected]
    # best[i][j] is how much alike the rows from i and j on are at most.
    best = [[0.0] * (len(rows) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(rows))):
            best[i][j] = max(best[i + 1][j + 1] + alike[i][j], best[i + 1][j], best[i][j + 1])
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(expected) and j < len(rows):
        if alike[i][j] and best[i][j] == best[i + 1][j + 1] + alike[i][j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _likeness(expected: Row, row: Row) -> float:
    """How much of an expected row is there: a whole one counts more than any number of parts."""
    good = sum(name in row and same(row[name], value) for name, value in expected.items())
    if good == len(expected):
        return 2.0
    # One value that is another one is a change rather than a row that is missing beside one too many.
    return max(good, 0.2 * (len(expected) == 1)) / (2 * len(expected))


def _changes(expected: Row, row: Row) -> Iterator[str]:
    for name, value in expected.items():
        if name not in row:
            yield _no_column(name, row)
        elif not same(row[name], value):
            yield f"{name} is {_text(row[name])}, expected {_text(value)}"


def _no_column(name: str, row: Row) -> str:
    near = get_close_matches(name.lower(), [column.lower() for column in row], 1, 0.7)
    meant = next((column for column in row if near and column.lower() == near[0]), None)
    return f"there is no column {name}" + (f". Did you mean {meant}?" if meant is not None else "")


def _lines(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The lines near something that differs, at most 60."""
    near = [
        any(kind != "=" for kind, _ in pairs[max(0, place - _CONTEXT) : place + _CONTEXT + 1])
        for place in range(len(pairs))
    ]
    left_out = shown = 0
    for (kind, text), wanted in zip(pairs, near, strict=True):
        if not wanted:
            left_out += 1
            continue
        if left_out:
            yield f"  ... {left_out} as expected"
            left_out = 0
        if shown == _MOST_LINES:
            yield "  ..."
            return
        shown += 1
        yield f"  {kind} {text}" if kind else f"      {text}"


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _counted(rows: int) -> str:
    return f"{rows} row{'s' * (rows != 1)}"
