"""Where in a JSON text something stands that a message names, like `properties.dataFlows[0].transformKql`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")
_INDEX = re.compile(r"\[(\d+)\]")
_ESCAPE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.")


def locate(text: str, target: str) -> int:
    """The offset in `text`, which is JSON, of the value that `target` names, else of what should have had it.

    Names may hold dots and brackets: of those that fit, the longest counts.
    """
    at, rest = _after_blanks(text, 0), target
    while rest:
        found = _member(text, at, rest) if text[at] == "{" else _item(text, at, rest)
        if found is None:
            break
        at, rest = found
    return at


def within(text: str, at: int, characters: int) -> int:
    """The offset in `text` of a character of the JSON string that begins at `at`, counted in what it stands for."""
    at += 1
    for _ in range(characters):
        escape = _ESCAPE.match(text, at)
        at = escape.end() if escape is not None else at + 1
    return at


def line_and_column(text: str, at: int) -> tuple[int, int]:
    """An offset as line and column, both counted from 1."""
    start = text.rfind("\n", 0, at) + 1
    return text.count("\n", 0, at) + 1, at - start + 1


def _member(text: str, at: int, rest: str) -> tuple[int, str] | None:
    """The member of an object that `rest` begins with, and what is left of `rest`."""
    best: tuple[int, str] | None = None
    length = 0
    for name, value in _members(text, at):
        follows = rest[len(name) : len(name) + 1]
        if len(name) >= length and rest.startswith(name) and follows in ("", ".", "["):
            left = rest[len(name) :]
            best, length = (value, left.removeprefix(".")), len(name)
    return best


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    at = _after_blanks(text, at + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        # Behind the name stands a colon, with or without blanks around it.
        at = _after_blanks(text, _after_blanks(text, at) + 1)
        yield name, at
        at = _after_value(text, at)


def _item(text: str, at: int, rest: str) -> tuple[int, str] | None:
    index = _INDEX.match(rest)
    if text[at] != "[" or index is None:
        return None
    at = _after_blanks(text, at + 1)
    for _ in range(int(index[1])):
        if text[at] == "]":
            return None
        at = _after_value(text, at)
    return None if text[at] == "]" else (at, rest[index.end() :].removeprefix("."))


def _after_value(text: str, at: int) -> int:
    """Where the next member begins, or the end of what holds them is."""
    at = _after_blanks(text, _DECODER.raw_decode(text, at)[1])
    return _after_blanks(text, at + 1) if text[at] == "," else at


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found is not None else at
