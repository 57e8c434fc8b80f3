"""Tokens with their comments, and what stands between two of them: the formatter's view of a text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from headrace.kql.editor.words import CLAUSE_WORDS, OPERATORS
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import END, NAME, OP, Token
from headrace.kql.syntax.walk import walk

_HYPHENATED = {name for name in OPERATORS if "-" in name} | {
    "granny-asc",
    "granny-desc",
    "project-smart",
    "project-by-names",
}
_TIGHT_WORDS = frozenset(["typeof", "dynamic", "datatable", "query_parameters", "pack_all"])
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment before a token; `own_line`: nothing stands before it on its line."""

    text: str
    own_line: bool


@dataclass(slots=True)
class Word:
    """A token as it will be written: its comments and whether white space parts it from the one before."""

    text: str
    kind: str
    comments: tuple[Comment, ...] = ()
    space: bool = True
    blank: bool = False
    """Whether an empty line stands before it, or before its comments."""


@dataclass(slots=True)
class _Marks:
    """Token indices with a meaning that their text does not tell."""

    binary: set[int] = field(default_factory=set)
    tight_equals: set[int] = field(default_factory=set)
    tight_colons: set[int] = field(default_factory=set)
    wide_colons: set[int] = field(default_factory=set)
    tight_open: set[int] = field(default_factory=set)
    glued: set[int] = field(default_factory=set)
    stars: set[int] = field(default_factory=set)
    after_setting: set[int] = field(default_factory=set)


def words(text: str, tokens: Sequence[Token], script: n.Script) -> list[Word]:
    """The tokens of a text without syntax problems; the last is the end, which may hold comments."""
    marks = _marked(tokens, script)
    made: list[Word] = []
    end = 0
    for index, token in enumerate(tokens):
        comments, blank = _comments(text[end : token.start], not made)
        previous = tokens[index - 1] if index else None
        space = previous is not None and _space(tokens, index, marks)
        made.append(Word(token.text, token.kind, comments, space, blank))
        end = token.end
    return made


def _comments(gap: str, first: bool) -> tuple[tuple[Comment, ...], bool]:
    lines = gap.split("\n")
    found: list[Comment] = []
    for place, line in enumerate(lines):
        start = line.find("//")
        if start >= 0:
            found.append(Comment(line[start:].rstrip(), place > 0 or first))
    blank = any(not line.strip() for line in lines[1:-1])
    return tuple(found), blank


def _marked(tokens: Sequence[Token], script: n.Script) -> _Marks:
    marks = _Marks()
    starts = [token.start for token in tokens]
    for node in walk(script):
        _mark(node, tokens, starts, marks)
    for index, token in enumerate(tokens):
        if token.kind == NAME:
            _mark_hyphens(tokens, index, marks)
    return marks


def _mark(node: n.Node, tokens: Sequence[Token], starts: list[int], marks: _Marks) -> None:
    """Mark what a node says of its own tokens; `starts` are where the tokens begin."""
    match node:
        case n.Binary():
            marked = marks.tight_colons if node.op == ":" else marks.binary
            _mark_next(tokens, bisect_left(starts, node.left.end), node.op, marked)
        case n.Call():
            _mark_next(tokens, bisect_left(starts, node.name_end), "(", marks.tight_open)
            named = [argument for argument in node.arguments if argument.name is not None]
            marks.tight_equals.update(bisect_left(starts, argument.start) + 1 for argument in named)
        case n.Index():
            _mark_next(tokens, bisect_left(starts, node.operand.end), "[", marks.tight_open)
        case t.Setting():
            equals = (place for place in _within(node, starts) if tokens[place].text == "=")
            marks.tight_equals.update(islice(equals, 1))
            marks.after_setting.add(bisect_left(starts, node.end))
        case t.PatternPart():
            for place in _within(node, starts):
                if tokens[place].text == ":":
                    marks.tight_colons.add(place)
                if tokens[place].text == "*" and tokens[place].kind == OP:
                    marks.stars.add(place)
        case n.Wildcard():
            places = _within(node, starts)
            marks.stars.update(place for place in places if tokens[place].text == "*")
            marks.glued.update(place for place in places if tokens[place].start > node.start)
        case t.Evaluate() if node.columns is not None:
            _mark_next(tokens, bisect_left(starts, node.call.end), ":", marks.wide_colons)
        case t.RenderOperator():
            _mark_options(node.properties, tokens, starts, marks)
        case t.ParseKv() | t.Reduce():
            _mark_options(node.options, tokens, starts, marks)


def _within(node: n.Node, starts: list[int]) -> range:
    """The places of the tokens that begin within a node."""
    return range(bisect_left(starts, node.start), bisect_left(starts, node.end))


def _mark_next(tokens: Sequence[Token], place: int, text: str, marked: set[int]) -> None:
    found = _next(tokens, place, text)
    if found is not None:
        marked.add(found)


def _mark_options(
    options: Mapping[str, n.Expression], tokens: Sequence[Token], starts: list[int], marks: _Marks
) -> None:
    """The equals signs before options' values stand close."""
    for value in options.values():
        place = bisect_left(starts, value.start) - 1
        while place > 0 and tokens[place].text in _OPEN:
            place -= 1
        if tokens[place].text == "=":
            marks.tight_equals.add(place)


def _next(tokens: Sequence[Token], place: int, text: str) -> int | None:
    """The first token from `place` on that is `text`, past closing brackets."""
    for index in range(place, min(place + 100, len(tokens))):
        if tokens[index].text == text or (text == "==" and tokens[index].text == "="):
            return index
        if text == "!=" and tokens[index].text == "<>":
            return index
        if tokens[index].text not in _CLOSE:
            return None
    return None


def _mark_hyphens(tokens: Sequence[Token], index: int, marks: _Marks) -> None:
    text, place = tokens[index].text, index
    while (
        place + 2 < len(tokens)
        and tokens[place + 1].text == "-"
        and not tokens[place + 1].space
        and tokens[place + 2].kind == NAME
        and not tokens[place + 2].space
    ):
        text += "-" + tokens[place + 2].text
        place += 2
        if text in _HYPHENATED:
            marks.glued.update(range(index + 1, place + 1))


def _space(tokens: Sequence[Token], index: int, marks: _Marks) -> bool:
    """Whether white space stands before a token that follows another one on its line."""
    previous, token = tokens[index - 1], tokens[index]
    if index in marks.glued or index - 1 in marks.tight_equals or index in marks.tight_equals:
        return False
    if token.kind == END or previous.text in ("(", "[") or token.text in (")", "]", ",", ";"):
        return False
    if token.kind == NAME and previous.text == "!" and previous.kind == OP:
        return False
    if token.text == "~" and previous.text == "in":
        return token.space
    if token.kind == OP and token.text == ".":
        return False
    if previous.kind == OP and previous.text == ".":
        return False
    if token.kind == OP and token.text == ":":
        return index in marks.wide_colons
    if previous.kind == OP and previous.text == ":":
        return index - 1 not in marks.tight_colons
    if token.text in ("(", "["):
        return _space_before_open(previous, token, index, marks)
    if previous.text in ("-", "+") and previous.kind == OP:
        return index - 1 in marks.binary
    return True


def _space_before_open(previous: Token, token: Token, index: int, marks: _Marks) -> bool:
    if index in marks.tight_open:
        return False
    if index in marks.after_setting:
        return True
    if previous.kind == OP and previous.text in ("-", "+"):
        return index - 1 in marks.binary
    if token.text == "(" and previous.kind == NAME:
        if previous.text in _TIGHT_WORDS:
            return False
        return token.space or previous.text in CLAUSE_WORDS or previous.text in OPERATORS
    return True
