"""Statistics of a data file: from its Parquet footer, and in the form of Delta's add actions.

Standard: Delta protocol, per-file statistics (`numRecords`, `minValues`, `maxValues`, `nullCount`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from headrace.clock import from_iso, iso
from headrace.tables.model import TIME


@dataclass(frozen=True, slots=True)
class FileStats:
    """Rows, and by physical column name the nulls and the bounds of numbers; times in UTC microseconds."""

    rows: int
    min_time: int | None = None
    max_time: int | None = None
    nulls: Mapping[str, int] = field(default_factory=dict)
    lowest: Mapping[str, int | float] = field(default_factory=dict)
    highest: Mapping[str, int | float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The add action's `stats`."""
        low: dict[str, object] = dict(self.lowest)
        high: dict[str, object] = dict(self.highest)
        if self.min_time is not None and self.max_time is not None:
            low[TIME] = iso(self.min_time)
            high[TIME] = iso(self.max_time)
        return msgspec.json.encode(
            {"numRecords": self.rows, "minValues": low, "maxValues": high, "nullCount": self.nulls}
        ).decode()

    @classmethod
    def from_json(cls, text: str | None) -> FileStats:
        """Rows, and the nulls and bounds of time, from an add action's `stats`. Raises `ValueError`."""
        if not text:
            return cls(0)
        stats = _STATS.decode(text)
        low, high = _micros(stats.minValues.get(TIME)), _micros(stats.maxValues.get(TIME))
        missing = stats.nullCount.get(TIME)
        return cls(stats.numRecords, low, high, {TIME: missing} if isinstance(missing, int) else {})

    @property
    def timed(self) -> bool:
        """Whether every row is known to have a `TimeGenerated`."""
        return self.nulls.get(TIME) == 0


class _Stats(msgspec.Struct, frozen=True):
    numRecords: int = 0
    minValues: dict[str, object] = {}
    maxValues: dict[str, object] = {}
    nullCount: dict[str, object] = {}


_STATS = msgspec.json.Decoder(_Stats)


def read_stats(path: Path) -> FileStats:
    """A Parquet file's statistics, from its footer only. Raises `OSError` or `pyarrow.ArrowException`."""
    metadata = pq.read_metadata(path)
    nulls: dict[str, int] = {}
    lowest: dict[str, int | float] = {}
    highest: dict[str, int | float] = {}
    for index, column in enumerate(metadata.schema.names):
        bounds = _Bounds()
        for group in range(metadata.num_row_groups):
            bounds.take(metadata.row_group(group).column(index))
        if bounds.nulls is not None:
            nulls[column] = bounds.nulls
        if bounds.low is not None and bounds.high is not None:
            lowest[column] = bounds.low
            highest[column] = bounds.high
    timestamps = {
        name
        for place, name in enumerate(metadata.schema.names)
        if _is_timestamp(metadata.schema.column(place))
    }
    low_time, high_time = lowest.get(TIME), highest.get(TIME)
    return FileStats(
        metadata.num_rows,
        int(low_time) if low_time is not None else None,
        int(high_time) if high_time is not None else None,
        nulls,
        {name: value for name, value in lowest.items() if name not in timestamps},
        {name: value for name, value in highest.items() if name not in timestamps},
    )


class _Bounds:
    """Bounds of one column over row groups; once a group lacks them, the column has none."""

    def __init__(self) -> None:
        self.low: int | float | None = None
        self.high: int | float | None = None
        self.nulls: int | None = 0
        self._lost = False

    def take(self, chunk: pq.ColumnChunkMetaData) -> None:
        stats = chunk.statistics
        if stats is None or not stats.has_null_count:
            self.nulls = None
        elif self.nulls is not None:
            self.nulls += stats.null_count
        if stats is not None and self.nulls is not None and stats.null_count == chunk.num_values:
            return
        if (
            self._lost
            or stats is None
            or not stats.has_min_max
            or not _comparable(stats.min_raw, stats.max_raw)
        ):
            self._lost, self.low, self.high = True, None, None
            return
        self.low = stats.min_raw if self.low is None else min(self.low, stats.min_raw)
        self.high = stats.max_raw if self.high is None else max(self.high, stats.max_raw)


def _comparable(*values: object) -> bool:
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )


def _is_timestamp(column: pq.ColumnSchema) -> bool:
    return str(column.logical_type).startswith("Timestamp")


def _micros(text: object) -> int | None:
    return from_iso(text) if isinstance(text, str) else None
