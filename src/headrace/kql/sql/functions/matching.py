"""Lowerings of the operators that match text: whole, parts, terms and patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import re2
from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import DYNAMIC, STRING, converted, to_string
from headrace.kql.sql.functions.direct import by_python
from headrace.kql.sql.functions.operators import spread

# A term is a run of letters and digits; everything else, the underscore too, ends it.
_EDGE_BEFORE = r"(?:^|[^\pL\pN])"
_EDGE_AFTER = r"(?:[^\pL\pN]|$)"
_LONGEST_PATTERN = 256


def _text(argument: Typed) -> exp.Expression:
    return to_string(argument) if argument.type is DYNAMIC else argument.sql


def _known(argument: Typed) -> str | None:
    """The text of a constant string; that of a dynamic is JSON."""
    constant = argument.constant if argument.type is not DYNAMIC else None
    return constant.value if constant is not None and isinstance(constant.value, str) else None


def _fold(argument: Typed) -> exp.Expression:
    """The argument in lower case."""
    known = _known(argument)
    return b.text(known.lower()) if known is not None else b.call("lower", _text(argument))


def _caseless(content: str) -> bool:
    return content.lower() == content.upper()


def _either_case(known: str | None) -> str | None:
    """A pattern of the text in any case, where it is short and plain ASCII; None elsewhere.

    One automaton over the bytes costs less than a copy of the value in lower case that is searched then.
    """
    if known is None or len(known) > _LONGEST_PATTERN or not (known.isascii() and known.isprintable()):
        return None
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else quote(c) for c in known)


_ANCHORS = {"contains": ("", ""), "starts_with": ("^", ""), "ends_with": ("", "$")}


def _found(name: str, subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    """Whether the text holds the search where the engine's function of that name looks for it."""
    known = _known(search)
    if cs or (known is not None and _caseless(known)):
        return b.call(name, _text(subject), _text(search))
    pattern = _either_case(known)
    if pattern is not None:
        before, after = _ANCHORS[name]
        return _matches(_text(subject), before + pattern + after)
    return b.call(name, _fold(subject), _fold(search))


def _matches(text: exp.Expression, pattern: str) -> exp.Expression:
    return b.call("regexp_matches", text, b.text(pattern), b.text("s"))


def term(
    subject: Typed, search: Typed, *, cs: bool, before: bool = True, after: bool = True
) -> exp.Expression:
    """Whether the text holds the search with term borders on the asked sides.

    A border is asked for only next to a letter or digit of the search. The cheap search for the bare text
    comes first, the pattern only sees the rows that pass it.
    """
    known = _known(search)
    if known is None:
        return _term_at_run_time(subject, search, cs=cs, before=before, after=after)
    if known == "":
        return b.true()
    before = before and known[0].isalnum()
    after = after and known[-1].isalnum()
    found = _found("contains", subject, search, cs=cs)
    if not before and not after:
        return found
    folded = not (cs or _caseless(known))
    either = _either_case(known) if folded else None
    inner = either or quote(known.lower() if folded else known)
    pattern = (_EDGE_BEFORE if before else "") + inner + (_EDGE_AFTER if after else "")
    whole = _fold(subject) if folded and either is None else _text(subject)
    return b.when(found, _matches(b.again(whole), pattern), b.false())


def _term_at_run_time(
    subject: Typed, search: Typed, *, cs: bool, before: bool, after: bool
) -> exp.Expression:
    sides = ("1" if before else "0") + ("1" if after else "0")
    whole, part = (_text(subject), _text(search)) if cs else (_fold(subject), _fold(search))
    found = b.call("contains", whole, part)
    exact = b.equals(b.python("term", b.again(whole), b.again(part), sides), "true")
    return b.when(found, exact, b.false())


def quote(content: str) -> str:
    """The text as a pattern of RE2 that matches just it."""
    return str(re2.escape(content))


def _like(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    """`*` stands for any text."""
    known = _known(search)
    pattern: exp.Expression
    if known is None:
        pattern = b.call("replace", b.call("regexp_escape", search.sql), r"\*", ".*")
    else:
        pattern = b.text(quote(known).replace(r"\*", ".*"))
    return b.call("regexp_full_match", _text(subject), pattern, "s" if cs else "is")


def _register(name: str, opposite: str, matcher: Callable[..., exp.Expression], *, cs: bool) -> None:
    lowers(name, opposite=opposite)(lambda arguments: matcher(arguments[0], arguments[1], cs=cs))


for _name, _matcher in (
    ("has", term),
    ("hasprefix", partial(term, after=False)),
    ("hassuffix", partial(term, before=False)),
    ("contains", partial(_found, "contains")),
    ("startswith", partial(_found, "starts_with")),
    ("endswith", partial(_found, "ends_with")),
    ("like", _like),
):
    _register(f"__{_name}", f"__not_{_name}", _matcher, cs=False)
    _register(f"__{_name}_cs", f"__not_{_name}_cs", _matcher, cs=True)


@lowers("__equal_ci")
def equal_ci(arguments: Sequence[Typed]) -> exp.Expression:
    """Equal in any case of letters."""
    return b.equals(_fold(arguments[0]), _fold(arguments[1]))


@lowers("__not_equal_ci")
def not_equal_ci(arguments: Sequence[Typed]) -> exp.Expression:
    """Different in any case of letters."""
    return exp.NEQ(this=_fold(arguments[0]), expression=_fold(arguments[1]))


@lowers("__matches_regex")
def matches_regex(arguments: Sequence[Typed]) -> exp.Expression:
    """RE2, anywhere in the text."""
    return b.call("regexp_matches", _text(arguments[0]), arguments[1].sql)


def _terms(arguments: Sequence[Typed]) -> tuple[list[exp.Expression], list[exp.Expression]]:
    """A condition for each single term, and the arrays known only at run time."""
    subject = arguments[0]
    singles: list[exp.Expression] = []
    arrays: list[exp.Expression] = []
    for argument in arguments[1:]:
        if argument.type is DYNAMIC and argument.constant is None:
            arrays.append(argument.sql)
            continue
        found = (
            spread(argument.constant.value, STRING)
            if argument.type is DYNAMIC and argument.constant is not None
            else [Typed(converted(argument.sql, argument.type, STRING), STRING, argument.constant)]
        )
        # Each condition needs trees of its own.
        singles.extend(
            term(Typed(b.again(subject.sql), subject.type, subject.constant), item, cs=False)
            for item in found
        )
    return singles, arrays


@lowers("__has_any")
def has_any(arguments: Sequence[Typed]) -> exp.Expression:
    """One of the terms."""
    singles, arrays = _terms(arguments)
    for sql in arrays:
        singles.append(b.equals(b.python("has_any", _text(arguments[0]), sql), "true"))
    return b.either(*singles) if singles else b.false()


@lowers("__has_all")
def has_all(arguments: Sequence[Typed]) -> exp.Expression:
    """Every term."""
    singles, arrays = _terms(arguments)
    for sql in arrays:
        singles.append(b.equals(b.python("has_all", _text(arguments[0]), sql), "true"))
    return b.both(*singles) if singles else b.true()


by_python("has_any_index")
