"""Properties of payloads that their stream does not declare: they are not read, so they are told instead.

Only the first row of a payload is looked at, and of its text no more than `MOST_BYTES`: what one row has, the others of
the same call mostly have too, and looking at all of them would take as long as reading them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from difflib import get_close_matches

import msgspec

from headrace.catalog.rulemodel import Stream
from headrace.errors import Problem

MOST_NAMES = 20
MOST_CHARACTERS = 128
"""Of one name."""
MOST_BYTES = 16 * 1024
"""A first row that is longer is not looked at."""

_SHOWN = 60
_BETWEEN_ROWS = re.compile(rb"\}\s*,\s*\{")
_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MORE_FOLLOWS = re.compile(r"trailing characters \(byte (\d+)\)")
"""How the parser says that a value ended before the text did: the byte after it, blanks left out, counted from 1."""


def undeclared(text: bytes, declared: Set[str]) -> tuple[str, ...]:
    """Names of the first row of `text` (a JSON array of objects and nulls) that are not `declared`, in their order.

    At most `MOST_NAMES`, each cut at `MOST_CHARACTERS`; none of a row that cannot be read.
    """
    names = _first_row(text)
    if names <= declared:
        return ()
    found = [name for name in names if name not in declared][:MOST_NAMES]
    return tuple(name[:MOST_CHARACTERS] for name in found)


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
    notes = [note(stream, name, "The first row has") for name in names]
    return [f"{one.message} {one.hint}" for one in notes]


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
