"""Literal parse patterns that name quoted fields: one split at the quotes, then each piece by itself.

A text with exactly as many quotes as the pattern can fit it in one way only: quote by quote. So one cheap split
tells the fields apart, what stands between two quotes is a short pattern of its own, and nothing is looked for in
all that is left of the text. A text with more quotes is left to a regex; one with fewer fits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.layers import column_sql
from headrace.kql.sql.splitting import Cuts, Splitter, Steps, Take

QUOTE = '"'

MIN_QUOTES = 4
"""A pattern that names two quoted fields or more most likely names all that its texts have."""


def cut(steps: Steps, subject: str, takes: Sequence[Take]) -> Cuts:
    """How a text is cut by a pattern."""
    if _names_all_quotes(takes):
        return _by_quotes(steps, subject, takes)
    return Splitter(steps, subject, takes).cuts()


def _names_all_quotes(takes: Sequence[Take]) -> bool:
    """Whether texts that fit the pattern most likely have no quotes but those of the pattern."""
    quotes = sum(take.delimiter.count(QUOTE) for take in takes if take.delimiter is not None)
    if quotes < MIN_QUOTES or quotes % 2 or takes[-1].delimiter is None:
        return False
    return all(take.prefix is None and not _skips_all(take) for take in takes)


def _skips_all(take: Take) -> bool:
    """Whether it is a star that ends at a space or a quote: who skips so may well skip quoted fields."""
    star = take.column is None and not take.empty
    return star and take.delimiter is not None and take.delimiter.startswith((QUOTE, " "))


def _by_quotes(steps: Steps, subject: str, takes: Sequence[Take]) -> Cuts:
    patterns = list(_between_quotes(takes))
    pieces = steps.add("p", b.call("string_split", column_sql(subject), QUOTE))
    count = b.call("len", column_sql(pieces))
    cuts = Cuts(tests=[b.equals(count, len(patterns))])
    sure = len(patterns)
    for place, pattern in enumerate(patterns, 1):
        piece = b.call("list_extract", column_sql(pieces), place)
        if not pattern:
            cuts.tests.append(b.equals(piece, ""))
        elif len(pattern) == 1 and pattern[0].empty:
            cuts.tests.append(b.equals(piece, pattern[0].delimiter or ""))
        else:
            part = Splitter(steps, steps.add("r", piece), pattern).cuts()
            cuts.found |= part.found
            cuts.tests += part.tests
            sure = len(patterns) - 1 if part.unsure is not None else sure
    cuts.unsure = exp.GT(this=count.copy(), expression=b.number(sure))
    return cuts


def _between_quotes(takes: Sequence[Take]) -> Iterator[list[Take]]:
    """The patterns of what stands before, between and behind the quotes; nothing for an empty piece."""
    pattern: list[Take] = []
    for take in takes:
        assert take.delimiter is not None
        for place, text in enumerate(take.delimiter.split(QUOTE)):
            if place:
                yield pattern
                pattern = []
            if place == 0 and not (take.empty and not text):
                pattern.append(replace(take, delimiter=text or None))
            elif text:
                pattern.append(Take(None, text, empty=True))
    yield pattern
