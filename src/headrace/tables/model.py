"""The nouns of table storage: data files, the manifest that publishes them, and what can go wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.catalog.model import Table, TableSchema
from headrace.clock import DAY
from headrace.kql.types import KustoType

TIME = "TimeGenerated"
"""Physical name of the column that a table is partitioned, sorted and pruned by."""

DAY_COLUMN = "_Day"
"""Delta's partition column: the UTC day of `TimeGenerated`. It is in the log only, not in the files."""

DENSE_PREFIX = "z-"
"""Begins the names of files that were rewritten to take little room; all others are as the pipeline wrote them."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
_FILE_PATH = re.compile(r"v(0|[1-9][0-9]{0,8})/[A-Za-z0-9_-]{1,64}\.parquet")


class TablesError(Exception):
    """Something is wrong with a table's files."""


class ManifestError(TablesError):
    """A manifest cannot be trusted: its checksum or its form is wrong, or a newer release wrote it."""


class TableDroppedError(TablesError):
    """The table incarnation was deleted: it takes no more rows."""


class TableBrokenError(TablesError):
    """The disk refused a sync of this table. It takes nothing until `TableStore.repair` or a restart."""


class PositionError(TablesError):
    """A file was published whose rows the table already has, or whose positions go back."""


class CommitError(TablesError):
    """A commit did not happen; its files stay published and the next commit takes them."""


@dataclass(frozen=True, slots=True, order=True)
class TableKey:
    """Which table incarnation: workspace customerId, table name, incarnation GUID."""

    workspace: str
    name: str
    incarnation: str

    @classmethod
    def of(cls, table: Table) -> TableKey:
        """The key of `table`."""
        return cls(table.workspace, table.name, table.incarnation)

    def folder(self, root: Path) -> Path:
        """`root/workspace/name/incarnation`. Raises `ValueError` when a part could leave the root."""
        for part in (self.workspace, self.name, self.incarnation):
            if _SAFE_NAME.fullmatch(part) is None:
                raise ValueError(f"not a name that a table folder can have: {part!r}")
        return root / self.workspace / self.name / self.incarnation


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of one table, published or about to be.

    `path` is relative to the table's folder and carries the schema version (`v3/{uuid}.parquet`). A batch
    whose rows were all filtered out has no file: `path` is empty and `rows` 0, and only its positions
    count. `min_time` and `max_time` are UTC microseconds of `TimeGenerated`. `positions` holds, for each
    application id (`journal/rule/flow`), the last journal offset whose rows are in the file.
    """

    path: str
    rows: int
    bytes: int
    schema_version: int
    min_time: int | None
    max_time: int | None
    positions: Mapping[str, int]
    checksum: int | None = None
    """CRC-32 of the file's bytes; `publish` fills it in."""

    def __post_init__(self) -> None:
        if not self.positions:
            raise ValueError("a data file needs the journal positions that it covers")
        if self.rows == 0:
            if self.path:
                raise ValueError("a file without rows is not published")
            return
        if _FILE_PATH.fullmatch(self.path) is None or version_of(self.path) != self.schema_version:
            raise ValueError(f"not a data file's path: {self.path!r}")
        if self.rows < 0 or self.min_time is None or self.max_time is None or self.min_time > self.max_time:
            raise ValueError("a data file needs its rows and the bounds of TimeGenerated")

    @property
    def single_day(self) -> int | None:
        """The day (counted from 1970-01-01) that all rows fall on, or None when they span days."""
        if self.min_time is None or self.max_time is None or self.min_time // DAY != self.max_time // DAY:
            return None
        return self.min_time // DAY


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a reader may scan: published, or added by the Delta log."""

    path: str
    rows: int
    bytes: int
    min_time: int | None
    max_time: int | None
    day: int | None = None
    """The partition, as days from 1970-01-01; None for a published file."""
    timed: bool = False
    """Whether every row is known to have a `TimeGenerated`, so that the bounds hold for all."""

    @property
    def schema_version(self) -> int:
        """The version of the table's columns that the file was written with."""
        return version_of(self.path)

    @property
    def dense(self) -> bool:
        """Whether the file was written to take little room."""
        return self.path.rpartition("/")[2].startswith(DENSE_PREFIX)

    def overlaps(self, low: int | None, high: int | None) -> bool:
        """Whether rows may lie between `low` and `high` (UTC microseconds, both included)."""
        if low is not None and self.max_time is not None and self.max_time < low:
            return False
        return not (high is not None and self.min_time is not None and self.min_time > high)

    def inside(self, low: int | None, high: int | None) -> bool:
        """Whether all times lie between `low` and `high` (UTC microseconds, both included)."""
        if low is not None and (self.min_time is None or self.min_time < low):
            return False
        return not (high is not None and (self.max_time is None or self.max_time > high))


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column as files and Delta know it."""

    physical: str
    type: KustoType


@dataclass(frozen=True, slots=True)
class FileSchema:
    """The table's own columns in files of one schema version."""

    version: int
    columns: tuple[FileColumn, ...]

    @classmethod
    def of(cls, schema: TableSchema) -> FileSchema:
        """What a catalog schema means for files."""
        return cls(
            schema.version, tuple(FileColumn(column.physical, column.type) for column in schema.columns)
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a table holds at one moment: a Delta version and the published files that it does not have yet.

    `serial` grows with every manifest of the table. `delta_version` is -1 before the first commit, and
    `checkpoint` the newest Delta checkpoint known to be durable. `published` keeps the order of
    publishing. `schemas` are the versions that the published files use.
    """

    serial: int = 0
    delta_version: int = -1
    checkpoint: int = -1
    published: tuple[DataFile, ...] = ()
    schemas: tuple[FileSchema, ...] = field(default=())


def version_of(path: str) -> int:
    """The schema version in a data file's path. Raises `ValueError` when it has none."""
    folder, _, _ = path.partition("/")
    if not folder.startswith("v") or not folder[1:].isdigit():
        raise ValueError(f"not a data file's path: {path!r}")
    return int(folder[1:])
