"""The query side: a snapshot of a table, pinned by one read of its manifest.

A snapshot is a Delta version plus the published files that go with it. Nothing is locked: files that a
later commit or compaction replaces stay on disk for `tables.vacuum_seconds`, which has to be longer than
any query may take.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from sqlglot import exp

from headrace.catalog.model import Table
from headrace.tables.counts import RowCount
from headrace.tables.delta import files_at, read_entry
from headrace.tables.manifest import read_manifest
from headrace.tables.model import Manifest, StoredFile, TableKey
from headrace.tables.scan import ScanRequest, build_scan

_CACHED_TABLES = 1024
_STEPS = 200
"""Log entries that are followed one by one; past them the log is opened anew, at its checkpoint."""


@dataclass(frozen=True, slots=True)
class _Committed:
    version: int
    files: Mapping[str, StoredFile]


class Snapshot:
    """A table as it was when it was pinned; its SQL runs for as long as replaced files stay."""

    def __init__(
        self, folder: Path, table: Table, manifest: Manifest, committed: Mapping[str, StoredFile]
    ) -> None:
        self._folder = folder
        self._committed = committed
        self.table = table
        self.delta_version = manifest.delta_version
        self.published = tuple(
            StoredFile(file.path, file.rows, file.bytes, file.min_time, file.max_time, timed=True)
            for file in manifest.published
            if file.rows
        )

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every file of the snapshot: those of the Delta version, then the published ones."""
        return (*self._committed.values(), *self.published)

    @property
    def rows(self) -> int:
        """How many rows the snapshot holds."""
        return sum(file.rows for file in self.files)

    def scan(
        self,
        columns: Sequence[tuple[str, str]],
        time_range: tuple[int | None, int | None] = (None, None),
        rows: RowCount | None = None,
    ) -> exp.Query:
        """A select of the (SQL name, column name) pairs in `columns`, in that order.

        Every column of `catalog.system.query_schema` can be named; a datetime comes as TIMESTAMPTZ.
        `time_range` (UTC microseconds, both ends included, None for open) prunes files and row groups.
        `rows` adds a last column, and spares reading files of which only the number of rows matters.
        Raises `KeyError` for an unknown column.
        """
        low, high = time_range
        return build_scan(
            self._folder, self.table, self.files, ScanRequest(columns, low, high, rows), _footer_columns
        )


class TableReader:
    """Pins snapshots under `root` (`DATA_DIR/tables`). Safe from several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._cache: OrderedDict[TableKey, _Committed] = OrderedDict()

    def pin(self, table: Table) -> Snapshot:
        """The table as it is now; a table that never got rows is empty.

        Raises `ManifestError` or `CommitError` when the table's files cannot be trusted, and `ValueError`
        when the table's name could not be a folder's.
        """
        key = TableKey.of(table)
        folder = key.folder(self._root)
        manifest = read_manifest(folder) or Manifest()
        if manifest.delta_version < 0:
            return Snapshot(folder, table, manifest, {})
        return Snapshot(folder, table, manifest, self._committed(key, folder, manifest.delta_version))

    def _committed(self, key: TableKey, folder: Path, version: int) -> Mapping[str, StoredFile]:
        with self._lock:
            known = self._cache.get(key)
        if known is not None and known.version == version:
            return known.files
        found = _follow(folder, known, version) if known is not None else None
        if found is None:
            found = {file.path: file for file in files_at(folder, version)}
        with self._lock:
            newest = self._cache.get(key)
            if newest is None or newest.version < version or newest is known:
                self._cache[key] = _Committed(version, found)
                self._cache.move_to_end(key)
                if len(self._cache) > _CACHED_TABLES:
                    self._cache.popitem(last=False)
        return found


def _follow(folder: Path, known: _Committed, version: int) -> dict[str, StoredFile] | None:
    """The files at `version`, from those at an earlier one; None when the way there is not open."""
    if not known.version < version <= known.version + _STEPS:
        return None
    files = dict(known.files)
    for step in range(known.version + 1, version + 1):
        entry = read_entry(folder, step)
        if entry is None:
            return None
        for path in entry.removed:
            files.pop(path, None)
        for file in entry.added:
            files[file.path] = file
    return files


def _footer_columns(path: Path) -> frozenset[str]:
    return frozenset(pq.read_schema(path).names)
