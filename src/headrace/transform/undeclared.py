"""Properties of payloads that their stream does not declare: they are not read, so they are told instead.

A payload of up to `MOST_WHOLE` bytes is looked at whole. Of a longer one the first row is, and the last ones: what they
have, those between mostly have too, and looking at all of them would take as long as reading them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from difflib import get_close_matches
from itertools import islice

import msgspec

from headrace.catalog.rulemodel import Stream
from headrace.errors import Problem

MOST_NAMES = 20
MOST_CHARACTERS = 128
"""Of one name."""
MOST_BYTES = 16 * 1024
"""A first row that is longer is not looked at."""
MOST_WHOLE = 4 * 1024
LAST_BYTES = 1024
_MOST_TRIES = 8

_SHOWN = 60
_BETWEEN_ROWS = re.compile(rb"\}\s*,\s*\{")
_ROWS = msgspec.json.Decoder(list[dict[str, msgspec.Raw] | None])
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MORE_FOLLOWS = re.compile(r"trailing characters \(byte (\d+)\)")
"""How the parser says that a value ended before the text did: the byte after it, blanks left out, counted from 1."""


def undeclared(text: bytes, declared: Set[str]) -> tuple[str, ...]:
    """Names of rows of `text` (a JSON array of objects and nulls) that are not `declared`, in their order.

    At most `MOST_NAMES`, each cut at `MOST_CHARACTERS`; none of rows that cannot be read.
    """
    found: dict[str, None] = {}
    for names in _names(text):
        if not names <= declared:
            found.update(dict.fromkeys(name for name in names if name not in declared))
    return tuple(name[:MOST_CHARACTERS] for name in list(found)[:MOST_NAMES])


def _names(text: bytes) -> Iterator[Set[str]]:
    """The names of each row that is looked at."""
    if len(text) <= MOST_WHOLE:
        try:
            yield from _names_of(text)
            return
        except _UNREADABLE:
            # One row may be readable where they are not all.
            pass
    yield _first_row(text)
    if len(text) > MOST_WHOLE:
        yield from _last_rows(text)


def _names_of(text: bytes) -> list[Set[str]]:
    """The names of each row of an array. Raises what `_UNREADABLE` lists."""
    return [row.keys() for row in _ROWS.decode(text) if row is not None]


def _last_rows(text: bytes) -> list[Set[str]]:
    """The names of each of the last rows: as many as whole ones lie in the last bytes."""
    end = text[-LAST_BYTES:]
    for between in islice(_BETWEEN_ROWS.finditer(end), _MOST_TRIES):
        try:
            return _names_of(b"[" + end[between.end() - 1 :])
        except _UNREADABLE:
            # What looks like the end of a row lies within one: what follows it is then no array.
            continue
    return []


def note(stream: Stream, name: str, rows: str) -> Problem:
    """What it means that `rows` ("Row 1 has", "3 rows have") have a property that the stream does not declare."""
    declared = [column.name for column in stream.columns]
    same = [one for one in declared if one.lower() == name.lower()]
    near = same or get_close_matches(name, declared, 1, 0.7)
    hint = f"Did you mean '{near[0]}'?" if near else f"Declare it in {stream.name}, or do not send it."
    text = shown(name)
    message = f"{rows} '{text}', which {stream.name} does not declare: it is not read."
    return Problem("UndeclaredProperty", message, text, hint=hint)


def receipt_notes(stream: Stream, names: Iterable[str]) -> list[str]:
    """A sentence about each undeclared property of a call, and its cure."""
    notes = [note(stream, name, "A row has") for name in names]
    return [one.told for one in notes]


def shown(text: str) -> str:
    """A text of the sender's, short enough for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _first_row(text: bytes) -> Set[str]:
    """The names of the first object; none where it cannot be read."""
    first = text.find(b"{", 0, MOST_BYTES)
    if first < 0:
        return frozenset()
    limit = first + MOST_BYTES
    between = _BETWEEN_ROWS.search(text, first, limit)
    end = between.start() if between is not None else text.rfind(b"}", first, limit)
    try:
        return _ROW.decode(text[first : end + 1]).keys()
    except _UNREADABLE:
        # What looks like the end of the row lies within it. The parser finds the end, but takes twice the time.
        return _row_at_start(text[first:limit])


def _row_at_start(text: bytes) -> Set[str]:
    try:
        return _ROW.decode(text).keys()
    except _UNREADABLE as error:
        end = _MORE_FOLLOWS.search(str(error))
    if end is None:
        return frozenset()
    return _ROW.decode(text[: int(end[1]) - 1]).keys()
