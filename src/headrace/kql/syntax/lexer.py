"""Text to tokens. Typed literals such as `datetime(2024-01-01)` are one token, as in the language."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from headrace.errors import Problem, Span

MAX_TEXT = 1_000_000
"""Characters of the longest text that is taken."""

NAME, NUMBER, TIMESPAN, STRING, TYPED, OP, END = "name", "number", "timespan", "string", "typed", "op", "end"

_UNITS = (
    r"microseconds?|micros?|milliseconds?|millis?|nanoseconds?|nanos?|seconds?|secs?|minutes?|mins?"
    r"|hours?|hrs?|hr|days?|ticks?|tick|ms|d|h|m|s"
)
_TOKEN = re.compile(
    r"(?P<space>(?:[\s\u180e\u200b\ufeff]+|//[^\n]*)+)"
    r"|(?P<string>[hH]?(?:@\"(?:[^\"]|\"\")*\"|@'(?:[^']|'')*'"
    r"|\"(?:[^\"\\\r\n]|\\.)*\"|'(?:[^'\\\r\n]|\\.)*'|```.*?```|~~~.*?~~~))"
    r"|(?P<typed>(?:datetime|date|timespan|time|guid|uuid|uniqueid|real|double|float|decimal"
    r"|long|int64|int32|int|boolean|bool)\s{0,32}\(\s{0,32}(?:\"[^\"\n]{0,128}\"|'[^'\n]{0,128}'|[^()\"'\n]{1,128}?)\s{0,32}\))"
    r"|(?P<name>[^\W\d][\w]*|\$\w+)"
    rf"|(?P<timespan>\d+(?:\.\d+)?(?:{_UNITS})(?!\w))"
    r"|(?P<number>0[xX][0-9a-fA-F]+(?!\w)|\d+(?:\.\d+|\.(?![.\w])|\.(?=[eE][+-]?\d))?(?:[eE][+-]?\d+)?(?!\w))"
    r"|(?P<digits>\d\w*)"
    r"|(?P<op>=>|==|=~|!=|!~|<>|<=|>=|\.\.|[=<>+\-*/%()\[\]{},;:|.!~?@#&^])",
    re.DOTALL,
)
_LITERAL_PARTS = re.compile(r"(\w+)\s*\(\s*(.*?)\s*\)\Z", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class Token(NamedTuple):
    """A token: `text` is its source text; `space` tells whether white space stands before it."""

    kind: str
    text: str
    start: int
    end: int
    space: bool


class SourceText:
    """A text with its line starts, so that offsets become spans only where a problem is reported."""

    __slots__ = ("_lines", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines: list[int] | None = None

    def span(self, start: int, end: int) -> Span:
        """The span from `start` up to `end`."""
        if self._lines is None:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, start)
        return Span(start, max(end - start, 1), line, start - self._lines[line - 1] + 1)


def tokenize(source: SourceText) -> tuple[list[Token], list[Problem]]:
    """The tokens of a text, ended by an `end` token, and a problem for each character that fits none."""
    text = source.text
    if len(text) > MAX_TEXT:
        message = f"The text has {len(text)} characters; at most {MAX_TEXT} are taken."
        return [Token(END, "", 0, 0, False)], [Problem("KQL0003", message, span=source.span(0, 1))]
    tokens: list[Token] = []
    problems: list[Problem] = []
    position, size, space = 0, len(text), False
    match_at = _TOKEN.match
    while position < size:
        match = match_at(text, position)
        if match is None:
            character = text[position]
            unterminated = character in "\"'`"
            message = "This string has no closing quote." if unterminated else f"Unexpected {character!r}."
            problems.append(Problem("KQL0001", message, span=source.span(position, position + 1)))
            if len(problems) >= 20:
                break
            newline = text.find("\n", position)
            position = (newline if newline >= 0 else size) if unterminated else position + 1
            continue
        kind = match.lastgroup
        position = match.end()
        if kind == "space":
            space = True
            continue
        if kind == "digits":
            kind = NAME
        elif kind == STRING and "\\" in match.group():
            problems.extend(_wrong_escapes(source, match.group(), match.start()))
        tokens.append(Token(kind or OP, match.group(), match.start(), position, space))
        space = False
    tokens.append(Token(END, "", size, size, space))
    return tokens, problems


def _wrong_escapes(source: SourceText, text: str, start: int) -> Iterator[Problem]:
    """Backslashes of a string token that begin nothing; Kusto refuses them, and a pattern would silently change."""
    if text.lstrip("hH")[0] not in "\"'":
        return
    for match in _ESCAPE.finditer(text):
        escape = match.group(1)
        if len(escape) == 1 and escape not in _ESCAPES and escape not in "\\\"'01234567":
            yield Problem(
                "KQL0001",
                f"`{match.group()}` is no escape of a string.",
                span=source.span(start + match.start(), start + match.end()),
                hint=f'Write `\\{match.group()}`, or the string as `@"..."`, where backslashes are plain.',
            )


def string_value(text: str) -> str:
    """The value of a string token."""
    if text[0] in "hH":
        text = text[1:]
    if text[0] == "@":
        quote = text[1]
        return text[2:-1].replace(quote * 2, quote)
    if text[:3] in ("```", "~~~"):
        return text[3:-3]
    body = text[1:-1]
    return _ESCAPE.sub(_unescape, body) if "\\" in body else body


def _unescape(match: re.Match[str]) -> str:
    escape = match.group(1)
    if escape[0] in "uUx" and len(escape) > 1:
        code = int(escape[1:], 16)
        return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"
    if escape[0] in "01234567":
        return chr(int(escape, 8))
    return _ESCAPES.get(escape, escape)


def typed_parts(text: str) -> tuple[str, str]:
    """The type name and the content of a typed literal's token."""
    match = _LITERAL_PARTS.match(text)
    if match is None:  # pragma: no cover - the token pattern has the same shape
        return text, ""
    return match.group(1), match.group(2)
