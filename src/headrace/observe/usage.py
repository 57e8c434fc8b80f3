"""What each table took in each hour, for the table `Usage`; kept over restarts.

A table's quantity is the JSON of its rows' calls after inflate, less the share of rows that its transform
filtered. A crash may cost what was counted in the last seconds before it, and never doubles anything.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.clock import DAY, HOUR, Clock, iso
from headrace.disk import reason, write_replacement

_LOG = logging.getLogger(__name__)

_MEGABYTE = 1_000_000
MAX_ENTRIES = 100_000
"""Hours and tables that wait to be told at most; what comes beyond is not counted."""


class UsageRow(msgspec.Struct, frozen=True):
    """One row of `Usage`, named as Azure names its columns."""

    TimeGenerated: str
    DataType: str
    """The table."""
    StartTime: str
    EndTime: str
    Quantity: float
    """Megabytes (10^6)."""
    ResourceUri: str
    QuantityUnit: str = "MBytes"
    Solution: str = "LogManagement"
    IsBillable: bool = True
    SourceSystem: str = "Headrace"


class _Entry(msgspec.Struct, array_like=True):
    hour: int
    workspace: str
    table: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Hour:
    """What one workspace took in one hour that is over: rows and JSON bytes by table."""

    start: int
    """UTC microseconds."""
    workspace: str
    tables: tuple[tuple[str, int, int], ...]

    def rows(self, resource_id: str) -> list[UsageRow]:
        """The rows to tell; `resource_id` is the workspace's ARM id."""
        start, end = iso(self.start), iso(self.start + HOUR)
        return [
            UsageRow(end, table, start, end, size / _MEGABYTE, resource_id) for table, _, size in self.tables
        ]


class UsageMeter:
    """Counts of one data folder, for its pipeline. Thread-safe; `workspace` is a customerId throughout."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str, str], list[int]] = {}
        self._days: dict[tuple[int, str], list[int]] = {}
        self._changed = False
        try:
            for one in msgspec.json.decode(path.read_bytes(), type=list[_Entry]):
                self._counts[one.hour, one.workspace, one.table] = [one.rows, one.bytes]
        except FileNotFoundError:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError):
            _LOG.error("%s is damaged: what it counted of the last hours will lack in the table Usage", path)

    def stored(self, workspace: str, table: str, rows: int, size: int) -> None:
        """A table took so many rows out of `size` bytes of JSON."""
        key = (self._clock.now() // HOUR, workspace, table)
        with self._lock:
            counts = self._counts.get(key)
            if counts is None:
                if len(self._counts) >= MAX_ENTRIES:
                    return
                counts = self._counts[key] = [0, 0]
            counts[0] += rows
            counts[1] += size
            self._changed = True

    def due(self) -> list[Hour]:
        """The hours that are over and not told yet, oldest first."""
        now = self._clock.now() // HOUR
        found: dict[tuple[int, str], list[tuple[str, int, int]]] = {}
        with self._lock:
            for (hour, workspace, table), (rows, size) in sorted(self._counts.items()):
                if hour < now:
                    found.setdefault((hour, workspace), []).append((table, rows, size))
        return [Hour(hour * HOUR, workspace, tuple(tables)) for (hour, workspace), tables in found.items()]

    def told(self, hour: Hour) -> None:
        """The rows of `hour` are in a journal."""
        with self._lock:
            for table, rows, size in hour.tables:
                self._counts.pop((hour.start // HOUR, hour.workspace, table), None)
                day = self._days.setdefault((hour.start // DAY, hour.workspace), [0, 0])
                day[0] += rows
                day[1] += size
            self._changed = True

    def past_days(self) -> list[tuple[int, str, int, int]]:
        """Each day (its start in UTC microseconds) that is over: workspace, rows, bytes; each is given once."""
        today = self._clock.now() // DAY
        with self._lock:
            over = [key for key in self._days if key[0] < today]
            return [(key[0] * DAY, key[1], *self._pop_day(key)) for key in sorted(over)]

    def save(self) -> None:
        """Keep what was counted; a disk that refuses is logged."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            entries = list(_entries(self._counts.items()))
        try:
            write_replacement(self._path, msgspec.json.encode(entries))
        except OSError as error:
            self._changed = True
            _LOG.warning("usage is not kept: %s", reason(error))

    def _pop_day(self, key: tuple[int, str]) -> tuple[int, int]:
        rows, size = self._days.pop(key)
        return rows, size


def _entries(counts: Iterable[tuple[tuple[int, str, str], list[int]]]) -> Iterable[_Entry]:
    for (hour, workspace, table), (rows, size) in counts:
        yield _Entry(hour, workspace, table, rows, size)
