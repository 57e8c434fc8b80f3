"""When a batch cannot be transformed: find the rows that are to blame, within a bound, and save the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from headrace.transform.bodies import BodyError, members, only_rows, without_rows
from headrace.transform.run import Body, EngineError, RowsError

MAX_PROBES = 200
"""Trial runs that one batch may cost; what is not found by then is given up as a whole."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Rows to give up: one row of a payload, or all of it (`row` None)."""

    offset: int
    row: int | None
    reason: str


Probe = Callable[[Sequence[Body]], None]
"""Runs the flow over these bodies and keeps nothing. Raises `RowsError` or `EngineError`."""


@dataclass(slots=True)
class Search:
    """One search for bad rows; `bad` grows."""

    probe: Probe
    left: int = MAX_PROBES
    bad: list[Bad] = field(default_factory=list)

    def among(self, bodies: Sequence[Body], reason: str) -> None:
        """Find the bad ones among `bodies`, which fail together for `reason`."""
        if len(bodies) == 1:
            self._within(bodies[0], reason)
            return
        if self.left < 2:
            self.bad += [Bad(body.offset, None, reason) for body in bodies]
            return
        for first, last in _halves(len(bodies)):
            fault = self._fault(bodies[first:last])
            if fault is not None:
                self.among(bodies[first:last], fault)

    def _within(self, body: Body, reason: str) -> None:
        try:
            texts = members(body)
        except BodyError as error:
            self.bad.append(Bad(body.offset, None, error.reason))
            return
        self._rows(body, texts, 0, len(texts), reason)

    def _rows(self, body: Body, texts: list[bytes], first: int, last: int, reason: str) -> None:
        """Rows from `first` to before `last` fail together."""
        if last - first <= 1 or self.left < 2:
            self.bad += [Bad(body.offset, row, reason) for row in range(first, last)]
            return
        for begin, end in _halves(last - first):
            part = only_rows(body, texts, first + begin, first + end)
            fault = self._fault([part])
            if fault is not None:
                self._rows(body, texts, first + begin, first + end, fault)

    def _fault(self, bodies: Sequence[Body]) -> str | None:
        if self.left <= 0:
            return "TooManyBadRows"
        self.left -= 1
        try:
            self.probe(bodies)
        except RowsError as error:
            return error.reason
        except EngineError as error:
            if error.fault != "memory":
                raise
            return error.reason
        return None


def find_bad(bodies: Sequence[Body], probe: Probe, reason: str, *, probes: int = MAX_PROBES) -> list[Bad]:
    """The rows that make `bodies` fail for `reason`.

    Raises `EngineError` when the engine fails for another cause than the rows.
    """
    search = Search(probe, probes)
    search.among(bodies, reason)
    return search.bad


def without(bodies: Sequence[Body], bad: Sequence[Bad]) -> list[Body]:
    """`bodies` less the bad rows."""
    whole = {one.offset for one in bad if one.row is None}
    rows: dict[int, set[int]] = {}
    for one in bad:
        if one.row is not None:
            rows.setdefault(one.offset, set()).add(one.row)
    return [
        without_rows(body, rows[body.offset]) if body.offset in rows else body
        for body in bodies
        if body.offset not in whole
    ]


def _halves(count: int) -> Sequence[tuple[int, int]]:
    """The bounds of the two halves of `count` things."""
    return list(pairwise((0, count // 2, count)))
