"""Files that a scan need not read: where rows are only counted, what is known of a file may tell enough."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from headrace.tables.model import StoredFile


@dataclass(frozen=True, slots=True)
class RowCount:
    """A scan's last column `name`: how many rows of the table a row stands for.

    One may stand for those that differ in nothing but `TimeGenerated`, if all these times lie in one step. `step` tells
    the step of a time (UTC microseconds); steps follow each other, so what lies between two times of one is in it, too.
    """

    name: str
    step: Callable[[int], Hashable]


@dataclass(frozen=True, slots=True)
class Counted:
    """Some files: those that have to be `read`, and of the others a time and the number of rows for each step."""

    read: list[StoredFile]
    steps: list[tuple[int, int]]


def count_files(
    files: Iterable[StoredFile], low: int | None, high: int | None, step: Callable[[int], Hashable]
) -> Counted:
    """Which files lie wholly between `low` and `high` (UTC microseconds, None for open) and in one step."""
    read: list[StoredFile] = []
    steps: dict[Hashable, tuple[int, int]] = {}
    for file in files:
        first, last = file.min_time, file.max_time
        known = file.timed and file.inside(low, high)
        if not known or first is None or last is None or (found := step(first)) != step(last):
            read.append(file)
            continue
        time, rows = steps.get(found, (first, 0))
        steps[found] = time, rows + file.rows
    return Counted(read, list(steps.values()))
