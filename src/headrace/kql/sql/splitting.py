"""Literal parse patterns: a text is cut at its delimiters by splits, which look at bytes and copy nothing.

A run of equal delimiters takes one split. The next delimiter is looked for in the piece behind the run; where
the piece ends before it, in all that is left of the text. A delimiter of several letters behind a run of one
letter, as `" ["` behind `" "`, goes first: it leaves few pieces, and the run is then split out of the first of
them. A text in which it stands before the run is done is left to a regex, with the same outcome.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.layers import column_sql
from headrace.kql.types import KustoType

_T = KustoType
_VALUE_PREFIX = {
    _T.LONG: r"^\s*[-+]?\d+",
    _T.INT: r"^\s*[-+]?\d+",
    _T.REAL: r"^\s*[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?",
    _T.DECIMAL: r"^\s*[-+]?\d+(?:\.\d+)?",
    _T.BOOL: r"^(?i:true|false|0|1)",
    _T.GUID: r"^[0-9a-fA-F-]{36}",
    _T.TIMESPAN: r"^[-\d.:]+",
    _T.DATETIME: r"^[-\d./:TZ+ ]+",
}
"""What a column of a type takes where a star follows it."""


@dataclass(frozen=True, slots=True)
class Take:
    """What stands before a delimiter, or before the end (`delimiter` None), and whose it is.

    `empty`: nothing may stand there. `prefix`: the pattern of what is taken where a star, not a delimiter, follows.
    """

    column: Column | None
    delimiter: str | None
    empty: bool = False
    prefix: str | None = None


@dataclass(slots=True)
class Cuts:
    """What the cuts of a text found."""

    tests: list[exp.Expression] = field(default_factory=list)
    """What holds of a text that the pattern fits."""
    found: dict[Column, str] = field(default_factory=dict)
    """The names of the columns' values."""
    unsure: exp.Expression | None = None
    """Where it holds, a text may fit that does not pass the tests."""


@dataclass(slots=True)
class Steps:
    """Named expressions, each in the lowest select that can hold it; `layers[i]` reads those before it."""

    fresh: Callable[[str], str]
    layers: list[list[tuple[str, exp.Expression]]] = field(default_factory=list)
    _heights: dict[str, int] = field(default_factory=dict)

    def add(self, prefix: str, value: exp.Expression) -> str:
        """Name a value; returns the name."""
        height = max((self._heights.get(name, 0) for name in _names_in(value)), default=0)
        while len(self.layers) <= height:
            self.layers.append([])
        name = self.fresh(prefix)
        self.layers[height].append((name, value))
        self._heights[name] = height + 1
        return name


class Splitter:
    """Cuts one text by one pattern."""

    def __init__(self, steps: Steps, subject: str, takes: Sequence[Take]) -> None:
        self._found: dict[Column, str] = {}
        self._tests: list[exp.Expression] = []
        # The pieces of the first split; and whether some texts that fit are not taken to fit.
        self._first: str | None = None
        self._guessed = False
        self._steps = steps
        # All that is left of the text begins `_offset` bytes (and a column's worth of them) into `_text`. Written out
        # where it is asked for, as `_whole` is: that is where a row took a rare way, and no other row computes it.
        self._text = subject
        self._offset: exp.Expression | None = None
        # The piece at hand, and whether the text ends with it; without one all of `_text` is at hand.
        self._pieces: str | None = None
        self._place = 1
        self._whole: exp.Expression | None = None
        # The last step: its pieces, which of them are passed, and the delimiters between. Named when it is asked for.
        self._passed: tuple[str, int, str] | None = None
        self._guesses = all(take.prefix is None for take in takes)
        self._run(takes)

    def cuts(self) -> Cuts:
        """What was found. A text that the first split leaves whole fits no pattern."""
        unsure = _longer(self._first, 1) if self._guessed and self._first is not None else None
        return Cuts(self._tests, self._found, unsure)

    def _run(self, takes: Sequence[Take]) -> None:
        place = 0
        while place < len(takes):
            take = takes[place]
            if take.prefix is not None:
                self._take_prefix(take)
                place += 1
                continue
            if take.delimiter is None or place == len(takes) - 1:
                self._take_end(take)
                break
            count = _run_length(takes, place)
            run = takes[place : place + count]
            behind = takes[place + count] if place + count < len(takes) - 1 else None
            if self._guesses and behind is not None and _goes_first(take, behind):
                self._take_framed(run, behind)
                place += count + 1
            else:
                self._take_run(run)
                place += count

    def _take_run(self, run: Sequence[Take]) -> None:
        """What stands before each delimiter of a run."""
        delimiter = run[0].delimiter
        assert delimiter is not None
        pieces = self._split(delimiter, len(run))
        for i, take in enumerate(run):
            self._give(take, _piece(pieces, i + 1))
        self._go_on(pieces, len(run), delimiter)

    def _take_framed(self, run: Sequence[Take], behind: Take) -> None:
        """What stands before each delimiter of a run, and between it and the delimiter behind the run."""
        inner, outer = run[0].delimiter, behind.delimiter
        assert inner is not None and outer is not None
        pieces = self._split(outer, 1)
        parts = self._add("p", b.call("string_split", _piece(pieces, 1), inner))
        self._tests.append(_longer(parts, len(run)))
        self._guessed = True
        for i, take in enumerate(run):
            self._give(take, _piece(parts, i + 1))
        if behind.column is not None:
            sizes = _size(parts, len(run), inner)
            exact = b.equals(b.call("len", column_sql(parts)), len(run) + 1)
            rest = b.call("kql_rest", _piece(pieces, 1), sizes)
            last = _piece(parts, len(run) + 1)
            self._give(behind, b.choose([(exact, last), (_longer(parts, len(run)), rest)]))
        self._go_on(pieces, 1, outer)

    def _split(self, delimiter: str, count: int) -> str:
        """The pieces of what is left, of which the first `count` end with the delimiter if so many do."""
        if self._pieces is None:
            pieces = self._add("p", b.call("string_split", column_sql(self._text), delimiter))
            self._first = self._first or pieces
        else:
            self._settle()
            near = self._add("p", b.call("string_split", _piece(self._pieces, self._place), delimiter))
            enough = _longer(near, count)
            assert self._whole is not None
            far = b.call("string_split", self._rest(), delimiter)
            pieces = self._add("p", b.when(b.either(enough, self._whole.copy()), column_sql(near), far))
        self._tests.append(_longer(pieces, count))
        return pieces

    def _go_on(self, pieces: str, passed: int, delimiter: str) -> None:
        """Go on behind delimiters: with the piece after those passed."""
        self._settle()
        self._pieces, self._place = pieces, passed + 1
        self._passed = (pieces, passed, delimiter)

    def _settle(self) -> None:
        """Note how far the last step came, and whether its pieces end with the text."""
        if self._passed is None:
            return
        pieces, passed, delimiter = self._passed
        self._passed = None
        size = _size(pieces, passed, delimiter)
        whole: exp.Expression = exp.LTE(
            this=b.call("len", column_sql(pieces)), expression=b.number(passed + 1)
        )
        if self._offset is not None and self._whole is not None:
            # Named, so that long patterns do not grow by the square of their steps.
            size = b.add(column_sql(self._add("o", self._offset)), size)
            whole = b.both(column_sql(self._add("w", self._whole)), whole)
        self._offset, self._whole = size, whole

    def _rest(self) -> exp.Expression:
        """All that is left of the text."""
        if self._offset is None:
            return column_sql(self._text)
        return b.call("kql_rest", column_sql(self._text), self._offset.copy())

    def _left(self) -> exp.Expression:
        """As `_rest`, without a copy where the piece at hand is all."""
        if self._pieces is None:
            return self._rest()
        self._settle()
        assert self._whole is not None
        return b.when(self._whole.copy(), _piece(self._pieces, self._place), self._rest())

    def _take_end(self, take: Take) -> None:
        """What stands before the end of the text, or before a delimiter that ends it."""
        if take.delimiter is None:
            if take.column is not None:
                self._give(take, self._left())
            return
        run = self._whole_run(take.delimiter)
        ended = self._add("w", run) if run is not None else None
        piece = _piece(self._pieces, self._place) if self._pieces is not None else None
        rest = self._left()
        left = self._add("r", b.when(b.negation(column_sql(ended)), rest) if ended is not None else rest)
        if take.empty:
            self._tests.append(b.equals(column_sql(left), take.delimiter))
            return
        ends = b.call("ends_with", column_sql(left), take.delimiter)
        front = b.call("kql_front", column_sql(left), len(take.delimiter.encode()))
        found = [(ends.copy(), front)]
        if ended is not None and piece is not None:
            ends = b.either(column_sql(ended), ends)
            found.insert(0, (column_sql(ended), piece))
        self._tests.append(ends)
        if take.column is not None:
            self._give(take, b.choose(found))

    def _whole_run(self, delimiter: str) -> exp.Expression | None:
        """Whether the text was cut at just this delimiter and has one more, at its end: then nothing is left."""
        if self._passed is None or self._offset is not None or self._passed[2] != delimiter:
            return None
        pieces, passed, _ = self._passed
        exact = b.equals(b.call("len", column_sql(pieces)), passed + 2)
        return b.both(exact, b.equals(_piece(pieces, passed + 2), ""))

    def _take_prefix(self, take: Take) -> None:
        """As much as looks like a value of the column's type, or nothing for a text."""
        assert take.prefix is not None
        if not take.prefix:
            self._give(take, b.text(""))
            return
        left = self._add("r", self._left())
        name = self._add("v", b.call("regexp_extract", column_sql(left), b.text(take.prefix)))
        if take.column is not None:
            self._found[take.column] = name
        size = b.call("strlen", column_sql(name))
        self._text = self._add("r", b.call("kql_rest", column_sql(left), size))
        self._pieces = self._offset = self._whole = None

    def _give(self, take: Take, value: exp.Expression) -> None:
        if take.empty:
            self._tests.append(b.equals(value, ""))
        if take.column is not None:
            self._found[take.column] = self._add("v", value)

    def _add(self, prefix: str, value: exp.Expression) -> str:
        return self._steps.add(prefix, value)


def takes_of(parts: Sequence[p.Pattern]) -> list[Take] | None:
    """A pattern as what stands before each delimiter; None where delimiters alone do not decide."""
    takes: list[Take] = []
    # What the next delimiter or the end will close: nothing may stand at the start of the text.
    column: Column | None = None
    pending, empty = False, True
    for place, part in enumerate(parts):
        following = parts[place + 1] if place + 1 < len(parts) else None
        if part.text is not None:
            if part.text == "":
                return None
            if takes and not pending and takes[-1].prefix is None and takes[-1].delimiter is not None:
                joined = takes.pop()
                takes.append(Take(joined.column, f"{joined.delimiter}{part.text}", joined.empty))
            else:
                takes.append(Take(column, part.text, empty and not pending))
            column, pending, empty = None, False, False
        elif part.column is None:
            pending, empty = True, False
        elif following is not None and following.column is not None:
            return None
        elif following is not None and following.text is None:
            takes.append(Take(part.column, None, prefix=_VALUE_PREFIX.get(part.type, "")))
            empty = False
        else:
            column, pending, empty = part.column, True, False
    if pending:
        takes.append(Take(column, None))
    return takes


def regex_of_takes(takes: Sequence[Take]) -> tuple[str, dict[Column, str]]:
    """The pattern as a regex, and the name of each column's group."""
    pieces: list[str] = []
    names: dict[Column, str] = {}
    last = len(takes) - 1
    for place, take in enumerate(takes):
        if take.column is not None:
            names[take.column] = f"g{len(names)}"
            pieces.append("(.*?)" if take.delimiter is not None else "(.*)")
        elif not take.empty:
            pieces.append(".*?" if take.delimiter is not None else "")
        if take.delimiter is not None:
            pieces.append(re.escape(take.delimiter) + ("$" if place == last else ""))
    return f"(?s)^{''.join(pieces)}", names


def _run_length(takes: Sequence[Take], place: int) -> int:
    """How many delimiters from `place` on are equal; the one that ends the text is not counted."""
    count = 1
    while place + count < len(takes) - 1:
        following = takes[place + count]
        if following.prefix is not None or following.delimiter != takes[place].delimiter:
            break
        count += 1
    return count


def _goes_first(take: Take, behind: Take) -> bool:
    """Whether the delimiter behind a run is split at before the run."""
    if take.delimiter is None or behind.delimiter is None or take.empty:
        return False
    return len(take.delimiter) == 1 < len(behind.delimiter)


def _piece(pieces: str, place: int) -> exp.Expression:
    return b.call("list_extract", column_sql(pieces), place)


def _longer(pieces: str, count: int) -> exp.Expression:
    return exp.GT(this=b.call("len", column_sql(pieces)), expression=b.number(count))


def _size(pieces: str, count: int, delimiter: str) -> exp.Expression:
    """The bytes of the first pieces and of as many delimiters."""
    size: exp.Expression = b.number(count * len(delimiter.encode()))
    for place in range(1, count + 1):
        size = b.add(size, b.call("strlen", _piece(pieces, place)))
    return size


def _names_in(value: exp.Expression) -> Iterator[str]:
    """The names of the columns that an expression reads."""
    pending: list[exp.Expr] = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, exp.Column):
            yield node.name
            continue
        for part in node.args.values():
            if isinstance(part, exp.Expr):
                pending.append(part)
            elif isinstance(part, list):
                pending.extend(item for item in part if isinstance(item, exp.Expr))
