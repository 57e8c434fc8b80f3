"""JSON as people write templates: with comments, raw line breaks in texts, bare keys and trailing commas.

The Azure CLI splices a template's text into its request as it is, and writes one key of its own without quotes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from headrace.arm.templates.errors import TemplateError

MAX_DEPTH = 64
_SKIP = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
# Possessive: what has matched is never tried again, and nothing is remembered of each character.
_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BARE = re.compile(r"[A-Za-z_$][\w$-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_CONTROL = re.compile(r"[\x00-\x1f]")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


def parse_json(content: bytes) -> Any:
    """A value from strict or tolerant JSON; of a key given twice the last one counts.

    Raises `TemplateError` `InvalidRequestContent` with line and column.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise TemplateError("The request content is not UTF-8.", code="InvalidRequestContent") from None
    reader = _Reader(text)
    value = reader.value(0)
    reader.end()
    return value


class _Reader:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def value(self, depth: int) -> Any:
        """The value that begins here."""
        if depth > MAX_DEPTH:
            raise self._fault(f"it is nested more than {MAX_DEPTH} deep")
        found = self._peek()
        if found == "{":
            return self._object(depth)
        if found == "[":
            return self._array(depth)
        if found == '"':
            return self._string()
        word = _BARE.match(self._text, self._place)
        if word is not None and word[0] in _WORDS:
            self._place = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(self._text, self._place)
        if number is None:
            raise self._fault("a value was expected")
        found_number = _number(number[0])
        if found_number is None:
            raise self._fault("a number is larger than any that is needed")
        self._place = number.end()
        return found_number

    def end(self) -> None:
        """Nothing but comments may follow."""
        if self._peek():
            raise self._fault("the end was expected")

    def _object(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self._place += 1
        while self._peek() != "}":
            key = self._key()
            self._take(":")
            result[key] = self.value(depth + 1)
            self._separator("}")
        self._place += 1
        return result

    def _array(self, depth: int) -> list[Any]:
        result: list[Any] = []
        self._place += 1
        while self._peek() != "]":
            result.append(self.value(depth + 1))
            self._separator("]")
        self._place += 1
        return result

    def _key(self) -> str:
        if self._peek() == '"':
            return self._string()
        bare = _BARE.match(self._text, self._place)
        if bare is None:
            raise self._fault("a key was expected")
        self._place = bare.end()
        return bare[0]

    def _string(self) -> str:
        match = _TEXT.match(self._text, self._place)
        if match is None:
            raise self._fault("a text has no end")
        # What JSON wants escaped may stand as it is: line breaks above all.
        strict = _CONTROL.sub(lambda control: f"\\u{ord(control[0]):04x}", match[0])
        try:
            value = msgspec.json.decode(strict, type=str)
            msgspec.json.encode(value)
        except (msgspec.MsgspecError, UnicodeError):
            raise self._fault("a text has a wrong escape") from None
        self._place = match.end()
        return value

    def _separator(self, end: str) -> None:
        if self._peek() == ",":
            self._place += 1
        elif self._peek() != end:
            raise self._fault(f"',' or '{end}' was expected")

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._fault(f"'{wanted}' was expected")
        self._place += 1

    def _peek(self) -> str:
        match = _SKIP.match(self._text, self._place)
        assert match is not None
        self._place = match.end()
        return self._text[self._place : self._place + 1]

    def _fault(self, what: str) -> TemplateError:
        line = self._text.count("\n", 0, self._place) + 1
        column = self._place - self._text.rfind("\n", 0, self._place)
        return TemplateError(
            f"The request content was invalid and could not be deserialized: at line {line}, column {column} "
            f"{what}.",
            code="InvalidRequestContent",
        )


def _number(text: str) -> int | float | None:
    """A 64-bit integer or a float; None for what fits neither."""
    if len(text) > 400:
        return None
    if text.lstrip("-").isdigit():
        whole = int(text)
        return whole if -(1 << 63) <= whole < 1 << 63 else None
    real = float(text)
    return real if math.isfinite(real) else None
