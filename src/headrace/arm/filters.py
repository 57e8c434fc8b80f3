"""`$filter` of lists: comparisons with texts, joined by `and`. Times and words may stand without quotes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from headrace.wire.problems import http_error

_MOST = 2000
_VALUE = r"'(?P<{0}>(?:[^']|'')*)'"
_TERM = re.compile(
    r"\s*(?:(?P<field>[A-Za-z]\w*)\s+(?P<op>eq|ne|ge|gt|le|lt)\s+(?:" + _VALUE.format("value") +
    r"|(?P<bare>\d[\w.:+-]*))"
    r"|substringof\(\s*" + _VALUE.format("part") + r"\s*,\s*(?P<within>[A-Za-z]\w*)\s*\)(?:\s+eq\s+true)?"
    r"|startswith\(\s*(?P<starts>[A-Za-z]\w*)\s*,\s*" + _VALUE.format("start") + r"\s*\))\s*(?P<more>\band\b)?",
    re.IGNORECASE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison: `field` is lower-case, `op` one of eq, ne, ge, gt, le, lt, contains, starts."""

    field: str
    op: str
    value: str

    def holds(self, actual: str) -> bool:
        """Whether a text, compared without letter case, is as the term says."""
        found, wanted = actual.lower(), self.value.lower()
        return {
            "eq": found == wanted,
            "ne": found != wanted,
            "ge": found >= wanted,
            "gt": found > wanted,
            "le": found <= wanted,
            "lt": found < wanted,
            "contains": wanted in found,
            "starts": found.startswith(wanted),
        }[self.op]


def parse_filter(text: str | None, fields: Collection[str]) -> tuple[Term, ...]:
    """The terms of a filter, none without one. `fields` are the lower-case names that it may use.

    Raises `HttpError` 400 `InvalidFilterInQueryString` for anything else.
    """
    if text is None or not text.strip():
        return ()
    terms: list[Term] = []
    place, more = 0, True
    while more and place < len(text) <= _MOST:
        match = _TERM.match(text, place)
        if match is None:
            break
        term = _term(match)
        if term.field not in fields:
            break
        terms.append(term)
        place, more = match.end(), match["more"] is not None
    if place < len(text) or more:
        raise http_error(
            400,
            "InvalidFilterInQueryString",
            f"The filter is not supported from character {place + 1} on: join comparisons like "
            f"{next(iter(sorted(fields)))} eq 'text' by 'and'. Fields: {', '.join(sorted(fields))}.",
            target="$filter",
        )
    return tuple(terms)


def _term(match: re.Match[str]) -> Term:
    if match["within"]:
        return Term(match["within"].lower(), "contains", match["part"].replace("''", "'"))
    if match["starts"]:
        return Term(match["starts"].lower(), "starts", match["start"].replace("''", "'"))
    value = match["bare"] or match["value"].replace("''", "'")
    return Term(match["field"].lower(), match["op"].lower(), value)
