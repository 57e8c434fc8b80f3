"""Lowerings of the operators that match text: whole, parts, terms and patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import re2
from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Context, Typed, lowers
from headrace.kql.sql.functions.convert import DYNAMIC, STRING, converted, to_string
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


def _contains(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    known = _known(search)
    if cs or (known is not None and _caseless(known)):
        return b.call("contains", _text(subject), _text(search))
    pattern = _either_case(known)
    if pattern is not None:
        return _matches(_text(subject), pattern)
    return b.call("contains", _fold(subject), _fold(search))


def _matches(text: exp.Expression, pattern: str) -> exp.Expression:
    return b.call("regexp_matches", text, b.text(pattern), b.text("s"))


def _starts(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    return _affix("starts_with", subject, search, cs=cs)


def _ends(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    return _affix("ends_with", subject, search, cs=cs)


def _affix(name: str, subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    known = _known(search)
    if cs or (known is not None and _caseless(known)):
        return b.call(name, _text(subject), _text(search))
    pattern = _either_case(known)
    if pattern is not None:
        return _matches(_text(subject), f"^{pattern}" if name == "starts_with" else f"{pattern}$")
    return b.call(name, _fold(subject), _fold(search))


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
    found = _contains(subject, search, cs=cs)
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


def _register(name: str, matcher: Callable[..., exp.Expression]) -> None:
    for suffix, cs in (("", False), ("_cs", True)):

        def plain(context: Context, arguments: Sequence[Typed], cs: bool = cs) -> exp.Expression:
            return matcher(arguments[0], arguments[1], cs=cs)

        def opposite(context: Context, arguments: Sequence[Typed], cs: bool = cs) -> exp.Expression:
            return b.negation(matcher(arguments[0], arguments[1], cs=cs))

        lowers(f"__{name}{suffix}")(plain)
        lowers(f"__not_{name}{suffix}")(opposite)


def _has(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    return term(subject, search, cs=cs)


def _hasprefix(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    return term(subject, search, cs=cs, after=False)


def _hassuffix(subject: Typed, search: Typed, *, cs: bool) -> exp.Expression:
    return term(subject, search, cs=cs, before=False)


for _name, _matcher in (
    ("has", _has),
    ("hasprefix", _hasprefix),
    ("hassuffix", _hassuffix),
    ("contains", _contains),
    ("startswith", _starts),
    ("endswith", _ends),
):
    _register(_name, _matcher)


@lowers("__equal_ci")
def equal_ci(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """Equal in any case of letters."""
    return b.equals(_fold(arguments[0]), _fold(arguments[1]))


@lowers("__not_equal_ci")
def not_equal_ci(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """Different in any case of letters."""
    return exp.NEQ(this=_fold(arguments[0]), expression=_fold(arguments[1]))


@lowers("__matches_regex")
def matches_regex(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
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
def has_any(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """One of the terms."""
    singles, arrays = _terms(arguments)
    for sql in arrays:
        singles.append(b.equals(b.python("has_any", _text(arguments[0]), sql), "true"))
    return b.either(*singles) if singles else b.false()


@lowers("__has_all")
def has_all(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """Every term."""
    singles, arrays = _terms(arguments)
    for sql in arrays:
        singles.append(b.equals(b.python("has_all", _text(arguments[0]), sql), "true"))
    return b.both(*singles) if singles else b.true()


def _like(arguments: Sequence[Typed], *, cs: bool) -> exp.Expression:
    """`*` stands for any text."""
    known = _known(arguments[1])
    pattern: exp.Expression
    if known is None:
        pattern = b.call("replace", b.call("regexp_escape", arguments[1].sql), r"\*", ".*")
    else:
        pattern = b.text(quote(known).replace(r"\*", ".*"))
    options = "s" if cs else "is"
    return b.call("regexp_full_match", _text(arguments[0]), pattern, options)


for _like_name, _like_cs in (("like", False), ("like_cs", True)):

    def _plain_like(context: Context, arguments: Sequence[Typed], cs: bool = _like_cs) -> exp.Expression:
        return _like(arguments, cs=cs)

    def _not_like(context: Context, arguments: Sequence[Typed], cs: bool = _like_cs) -> exp.Expression:
        return b.negation(_like(arguments, cs=cs))

    lowers(f"__{_like_name}")(_plain_like)
    lowers(f"__not_{_like_name}")(_not_like)


@lowers("has_any_index")
def has_any_index(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """The place of the first of the terms that the text holds."""
    return b.cast(b.python("has_any_index", arguments[0].sql, arguments[1].sql), "BIGINT")
