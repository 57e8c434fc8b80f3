"""Files that a scan need not read: where rows are only counted, what is known of a file may tell enough."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from headrace.tables.model import StoredFile


@dataclass(frozen=True, slots=True)
class RowCount:
    """A scan's last column `name`: how many rows of the table a row stands for.

    One may stand for those that differ in nothing but `TimeGenerated`, if all these times lie in one step. The first
    and the last of them are rows. `step` tells the step of a time (UTC microseconds); steps follow each other, so what
    lies between two times of one is in it, too.
    """

    name: str
    step: Callable[[int], Hashable]


@dataclass(frozen=True, slots=True)
class Counted:
    """Some files: those that have to be `read`, and `times` in place of the others' rows.

    Each of `times` (UTC microseconds) stands for a number of rows; the first and the last of a step are among them.
    """

    read: list[StoredFile]
    times: list[tuple[int, int]]


def count_files(
    files: Iterable[StoredFile], low: int | None, high: int | None, step: Callable[[int], Hashable]
) -> Counted:
    """Which files lie wholly between `low` and `high` (UTC microseconds, None for open) and in one step."""
    read: list[StoredFile] = []
    steps: dict[Hashable, tuple[int, int, int]] = {}
    for file in files:
        first, last = file.min_time, file.max_time
        known = file.timed and file.inside(low, high)
        if not known or first is None or last is None or (found := step(first)) != step(last):
            read.append(file)
            continue
        least, most, rows = steps.get(found, (first, last, 0))
        steps[found] = min(least, first), max(most, last), rows + file.rows
    return Counted(read, [time for step in steps.values() for time in _times(*step)])


def _times(first: int, last: int, rows: int) -> Iterator[tuple[int, int]]:
    """Rows between two times, as if all but the last were at the first."""
    if first == last:
        yield first, rows
    else:
        yield first, rows - 1
        yield last, 1
