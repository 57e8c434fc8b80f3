"""Where a cursor stands in a text: which pipeline, operator, clause and call, and what is being typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from headrace.kql.editor.scope import MARKER
from headrace.kql.editor.words import CLAUSE_WORDS, OPERATORS
from headrace.kql.syntax.lexer import (
    END,
    NAME,
    NUMBER,
    OP,
    STRING,
    TIMESPAN,
    TYPED,
    SourceText,
    Token,
    tokenize,
)

_PARTNERS = {"(": ")", "[": "]", "{": "}"}
_OPERANDS = frozenset([NUMBER, STRING, TIMESPAN, TYPED])
_BRANCHING = frozenset(["mv-apply", "mvapply", "partition", "fork", "facet"])
_TABLE_WORDS = frozenset(["join", "lookup", "union", "toscalar", "materialize", "view"])
_STARTERS = frozenset(name for name, word in OPERATORS.items() if word.source)


class Place(Enum):
    """What may be typed at a cursor."""

    NOTHING = auto()
    STATEMENT = auto()
    SOURCE = auto()
    OPERATOR = auto()
    EXPRESSION = auto()
    SETTING = auto()
    MEMBER = auto()


@dataclass(frozen=True, slots=True)
class Context:
    """A cursor's surroundings. `start` and `end` are what a completion replaces; `prefix` is typed already.

    `marked` is the text up to the operator at hand, closed and with the marker for its input rows (see
    `scope`); `calls` are the names of the calls around the cursor within the operator, outermost first.
    """

    place: Place
    start: int
    end: int
    prefix: str = ""
    operator: str | None = None
    clause: str | None = None
    calls: tuple[str, ...] = ()
    after_operand: bool = False
    setting: str = ""
    previous: Token | None = None
    owner: str = ""
    """What stands before the dot of a member."""
    fresh: bool = False
    """Whether nothing but settings stands after the operator's name."""
    marked: str = ""
    right: str = ""
    """The text that gives the right rows of a `join` or `lookup`, marked likewise."""


@dataclass(slots=True)
class _Frame:
    open: int
    start: int
    bar: int | None = None


@dataclass(slots=True)
class _Surroundings:
    """What is before the cursor; `start`, `end` and `prefix` as in `Context`, `calls` those met so far."""

    text: str
    tokens: list[Token]
    frames: list[_Frame]
    start: int
    end: int
    prefix: str
    calls: list[str] = field(default_factory=list)


def context_at(text: str, offset: int) -> Context:
    """The surroundings of a cursor."""
    offset = max(0, min(offset, len(text)))
    tokens, problems = tokenize(SourceText(text))
    nothing = Context(Place.NOTHING, offset, offset)
    if any(_in_open_string(problem.span.start, text, offset) for problem in problems if problem.span):
        return nothing
    start, end = offset, offset
    before: list[Token] = []
    for token in tokens:
        if token.kind == END or token.start >= offset:
            break
        if token.kind == NAME and token.end >= offset:
            start, end = token.start, token.end
            break
        if token.end > offset or (token.end == offset and token.kind in (NUMBER, TIMESPAN)):
            return nothing
        before.append(token)
    gap = text[before[-1].end if before else 0 : start]
    if "//" in gap and "\n" not in gap[gap.rfind("//") :]:
        return nothing
    return _context(_Surroundings(text, before, _frames(before), start, end, text[start:offset]))


def _in_open_string(position: int, text: str, offset: int) -> bool:
    return position < offset and text[position] in "\"'`" and "\n" not in text[position:offset]


def _frames(tokens: Sequence[Token]) -> list[_Frame]:
    frames = [_Frame(-1, 0)]
    for index, token in enumerate(tokens):
        if token.kind != OP:
            continue
        if token.text in _PARTNERS:
            frames.append(_Frame(index, index + 1))
        elif token.text in (")", "]", "}"):
            if len(frames) > 1:
                frames.pop()
        elif token.text == "|":
            frames[-1].bar = index
        elif token.text == ";":
            frames[-1].start, frames[-1].bar = index + 1, None
    return frames


def _context(here: _Surroundings) -> Context:
    tokens = here.tokens
    for depth in range(len(here.frames) - 1, -1, -1):
        frame = here.frames[depth]
        if frame.bar is not None:
            return _in_operator(here, depth, frame.bar + 1)
        if frame.open >= 0 and tokens[frame.open].text == "(" and _branches(here, depth):
            return _in_operator(here, depth, frame.start)
        if frame.open < 0 or tokens[frame.open].text == "{":
            return _in_statement(here, depth)
        opener = tokens[frame.open - 1] if frame.open else None
        name = opener.text if opener is not None and opener.kind == NAME else ""
        if frame.start == len(tokens) and (name in _TABLE_WORDS or _hosts_query(here, depth)):
            marked = _before_statement(here)
            return _place(here, Place.SOURCE, marked=marked, previous=tokens[-1])
        if tokens[frame.open].text == "(" and name and name not in CLAUSE_WORDS:
            here.calls.insert(0, name)
    return _place(here, Place.NOTHING)  # pragma: no cover - the outermost frame always answers


def _place(here: _Surroundings, place: Place, *, marked: str = "", previous: Token | None = None) -> Context:
    """A cursor that stands in no operator."""
    return Context(place, here.start, here.end, here.prefix, marked=marked, previous=previous)


def _branches(here: _Surroundings, depth: int) -> bool:
    """Whether the parenthesis begins a sub-pipeline that goes on with the rows at hand."""
    outer, place = here.frames[depth - 1], here.frames[depth].open
    first = outer.bar + 1 if outer.bar is not None else outer.start
    name, _ = _operator_name(here.tokens, first)
    if name not in _BRANCHING:
        return False
    before = here.tokens[place - 1].text
    if name in ("mv-apply", "mvapply"):
        return before == "on"
    if name == "facet":
        return before == "with"
    return name == "fork" or (name == "partition" and place - first >= 3)


def _hosts_query(here: _Surroundings, depth: int) -> bool:
    """Whether the parenthesis is a `join`'s, `lookup`'s or `union`'s own."""
    outer = here.frames[depth - 1]
    first = outer.bar + 1 if outer.bar is not None else outer.start
    name, after = _operator_name(here.tokens, first)
    return name in ("join", "lookup", "union") and _clause(here.tokens, after, name) is None


def _operator_name(tokens: Sequence[Token], first: int) -> tuple[str, int]:
    """The operator's name from the token `first` on, and the index after it."""
    if first >= len(tokens) or tokens[first].kind != NAME:
        return "", first
    name, place = tokens[first].text, first + 1
    while (
        place + 1 < len(tokens)
        and tokens[place].text == "-"
        and not tokens[place].space
        and tokens[place + 1].kind == NAME
        and not tokens[place + 1].space
    ):
        name += "-" + tokens[place + 1].text
        place += 2
    return name, place


def _in_operator(here: _Surroundings, depth: int, first: int) -> Context:
    tokens = here.tokens
    marked = _marked(here, depth, first)
    begin = tokens[first].start if first < len(tokens) else here.start
    typed = here.text[begin : here.start] + here.prefix
    if first >= len(tokens) or (re.fullmatch(r"\w+(-\w*)+", typed) and not here.calls):
        return Context(Place.OPERATOR, begin, here.end, typed, marked=marked)
    name, after = _operator_name(tokens, first)
    return _within(here, name, after, marked)


def _within(here: _Surroundings, name: str, after: int, marked: str) -> Context:
    tokens = here.tokens
    word = OPERATORS.get(name)
    clause = _clause(tokens, after, name)
    previous = tokens[-1]
    place, setting = Place.EXPRESSION, ""
    if previous.text == "=" and word is not None and len(tokens) > 1 and tokens[-2].text in word.settings:
        place, setting = Place.SETTING, tokens[-2].text
    elif previous.kind == OP and previous.text == ".":
        place = Place.MEMBER
    right = ""
    if name in ("join", "lookup") and clause == "on":
        right = _right_rows(here, after)
    return Context(
        place,
        here.start,
        here.end,
        here.prefix,
        operator=name,
        clause=clause,
        calls=tuple(here.calls),
        after_operand=_is_operand(previous) and after < len(tokens),
        setting=setting,
        previous=previous,
        owner=tokens[-2].text if place is Place.MEMBER and len(tokens) > 1 else "",
        fresh=_only_settings(tokens, after),
        marked=marked,
        right=right,
    )


def _in_statement(here: _Surroundings, depth: int) -> Context:
    tokens, frame = here.tokens, here.frames[depth]
    marked = _before_statement(here, depth)
    inside = tokens[frame.start :]
    if not inside:
        return _place(here, Place.STATEMENT, marked=marked)
    name, after = _operator_name(tokens, frame.start)
    if inside[0].text == "let":
        equals = next((i for i, token in enumerate(inside) if token.text == "="), None)
        if equals is None:
            return _place(here, Place.NOTHING)
        if equals == len(inside) - 1:
            return _place(here, Place.SOURCE, marked=marked, previous=tokens[-1])
        after = frame.start + equals + 1
    elif name not in _STARTERS:
        if _is_operand(tokens[-1]) and not here.calls:
            return _place(here, Place.NOTHING)
        name, after = "", frame.start
    return _within(here, name, after, marked)


def _marked(here: _Surroundings, depth: int, first: int) -> str:
    """The text up to an operator with the marker in its place, and every bracket closed."""
    previous = here.tokens[first - 1]
    bar = previous.text == "|"
    head = here.text[: previous.start if bar else previous.end]
    return head + (" | as " if bar else " as ") + MARKER + _closers(here, depth)


def _closers(here: _Surroundings, depth: int) -> str:
    opened = (here.tokens[frame.open].text for frame in here.frames[depth:0:-1] if frame.open >= 0)
    return "".join(" " + _PARTNERS[text] for text in opened)


def _before_statement(here: _Surroundings, depth: int = 0) -> str:
    """The statements before the one at hand; in a function's body with the marker at their end."""
    frame = here.frames[depth]
    head = here.text[: here.tokens[frame.start - 1].end] if frame.start else ""
    if depth == 0:
        return head
    return head + f" print __none = 1 | as {MARKER}" + _closers(here, depth)


def _clause(tokens: Sequence[Token], after: int, name: str) -> str | None:
    """The last clause word of the operator outside brackets."""
    word = OPERATORS.get(name)
    clauses = {clause.split()[0] for clause in word.clauses} if word is not None else set()
    level, found = 0, None
    for token in tokens[after:]:
        if token.kind == OP and token.text in _PARTNERS:
            level += 1
        elif token.kind == OP and token.text in (")", "]", "}"):
            level -= 1
        elif level == 0 and token.kind == NAME and token.text in clauses:
            found = token.text
    return found


def _only_settings(tokens: Sequence[Token], after: int) -> bool:
    rest = tokens[after:]
    return all(token.kind == NAME or token.text in ("=", ".") for token in rest) and (
        not rest or (len(rest) >= 3 and rest[-2].text == "=")
    )


def _is_operand(token: Token) -> bool:
    if token.kind in _OPERANDS:
        return True
    if token.kind == NAME:
        return token.text not in CLAUSE_WORDS
    return token.text in (")", "]")


def _right_rows(here: _Surroundings, after: int) -> str:
    tokens, place = here.tokens, after
    while place + 2 < len(tokens) and tokens[place + 1].text in ("=", "."):
        place += 2 if tokens[place + 1].text == "." else 3
    if place >= len(tokens):
        return ""
    head = _before_statement(here) + " "
    if tokens[place].text != "(":
        return head + tokens[place].text + f" | as {MARKER}"
    level = 0
    for index in range(place, len(tokens)):
        if tokens[index].text in ("(", "[", "{"):
            level += 1
        elif tokens[index].text in (")", "]", "}"):
            level -= 1
            if level == 0:
                return head + here.text[tokens[place].end : tokens[index].start] + f" | as {MARKER}"
    return ""
