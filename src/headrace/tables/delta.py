"""A table's Delta Lake log on the local disk: schema, commits, application transactions, checkpoints.

Standard: the Delta transaction protocol, reader version 1 and writer version 2. deltalake does the
commits; it never syncs, and it takes a repeated application transaction from a fresh handle. So the
callers sync (`log_file`), and ask `transaction` before they append.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Field,
    PostCommitHookProperties,
    Schema,
    Transaction,
)
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from headrace.catalog.system import STORED
from headrace.clock import DAY, iso
from headrace.kql.types import KustoType
from headrace.tables.model import DAY_COLUMN, TIME, CommitError, FileColumn, FileSchema, StoredFile
from headrace.tables.stats import FileStats

LOG = "_delta_log"
TYPE_METADATA = "headrace.type"
ACTIONS_METADATA = "headrace.actions"
"""commitInfo's count of the entry's other actions: how a log entry that a power cut tore is told."""

_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 2 days",
    "delta.enableExpiredLogCleanup": "false",
}
_DELTA_TYPES = {
    KustoType.STRING: "string",
    KustoType.INT: "integer",
    KustoType.LONG: "long",
    KustoType.REAL: "double",
    KustoType.BOOL: "boolean",
    KustoType.DATETIME: "timestamp",
    KustoType.DYNAMIC: "string",
    KustoType.GUID: "string",
}
_STORED_TYPES = {
    "TIMESTAMP WITH TIME ZONE": KustoType.DATETIME,
    "VARCHAR": KustoType.STRING,
    "INTEGER": KustoType.INT,
    "BIGINT": KustoType.LONG,
}
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Addition:
    """A file to add to the log, with the facts that Delta keeps beside it."""

    file: StoredFile
    stats: FileStats
    modified: int
    """UTC microseconds."""

    def action(self, *, data_change: bool) -> AddAction:
        """The protocol's add action."""
        day = None if self.file.day is None else iso(self.file.day * DAY)[:10]
        return AddAction(
            self.file.path,
            self.file.bytes,
            {DAY_COLUMN: day},
            self.modified // 1000,
            data_change,
            self.stats.to_json(),
        )


class _Add(msgspec.Struct, frozen=True):
    path: str
    size: int
    partitionValues: dict[str, str | None]
    stats: str | None = None


class _Remove(msgspec.Struct, frozen=True):
    path: str


class _Action(msgspec.Struct, frozen=True):
    add: _Add | None = None
    remove: _Remove | None = None
    commitInfo: dict[str, object] | None = None


_ACTIONS = msgspec.json.Decoder(_Action)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One version of the log, as far as files go."""

    added: tuple[StoredFile, ...]
    removed: tuple[str, ...]
    whole: bool
    """Whether every action that the writer put in is there; always so for another program's entry."""


class DeltaLog:
    """The log of one table folder, for its one writer. Calls are safe from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._table: DeltaTable | None = None
        self._columns: frozenset[str] = frozenset()
        self.reopen()

    @property
    def folder(self) -> Path:
        """The log's folder."""
        return self._folder / LOG

    @property
    def version(self) -> int:
        """The version that this handle is at; -1 when the table has no log yet."""
        with self._lock:
            return -1 if self._table is None else int(self._table.version())

    def reopen(self) -> None:
        """Look at what is on disk now. Raises `CommitError` when the log cannot be read."""
        with self._lock:
            self._table = _open(self._folder, None)
            self._columns = frozenset() if self._table is None else _names(self._table)

    def transaction(self, app_id: str) -> int:
        """The last version (journal offset) that `app_id` committed, -1 for none."""
        with self._lock:
            if self._table is None:
                return -1
            version = self._table.transaction_version(app_id)
            return -1 if version is None else int(version)

    def files(self) -> tuple[StoredFile, ...]:
        """The files at this handle's version."""
        with self._lock:
            return () if self._table is None else _files(self._table)

    def ensure_columns(self, schemas: Iterable[FileSchema]) -> None:
        """Make the log, or add the columns that it lacks; columns are never taken away.

        Raises `CommitError`.
        """
        wanted = _fields(schemas)
        with self._lock:
            try:
                if self._table is None:
                    self._table = DeltaTable.create(
                        str(self._folder),
                        Schema([*wanted.values(), Field(DAY_COLUMN, PrimitiveType("date"), nullable=True)]),
                        partition_by=[DAY_COLUMN],
                        configuration=_CONFIGURATION,
                        commit_properties=_properties(2),
                        post_commithook_properties=_NO_HOOKS,
                    )
                elif missing := [field for name, field in wanted.items() if name not in self._columns]:
                    self._table.alter.add_columns(
                        missing, commit_properties=_properties(1), post_commithook_properties=_NO_HOOKS
                    )
                else:
                    return
            except DeltaError as error:
                raise CommitError("the table's schema could not be committed") from error
            self._columns = _names(self._table)

    def append(self, additions: Sequence[Addition], positions: Mapping[str, int]) -> bool:
        """Add files together with the journal positions that they cover, as one transaction.

        False when the commit failed or another handle got there first: then the log is reopened, and the
        caller looks whether its positions are there, and decides. Raises `CommitError`.
        """
        actions = [addition.action(data_change=True) for addition in additions]
        transactions = [Transaction(app_id, version) for app_id, version in positions.items()]
        return self._commit(actions, transactions)

    def replace(
        self, removed: Sequence[StoredFile], additions: Sequence[Addition], now: int, *, data_change: bool
    ) -> bool:
        """Put `additions` in the place of `removed`; `now` in UTC microseconds. Answers as `append`."""
        removals = [
            RemoveAction(
                file.path,
                data_change,
                now // 1000,
                file.bytes,
                {DAY_COLUMN: None if file.day is None else iso(file.day * DAY)[:10]},
            )
            for file in removed
        ]
        added = [addition.action(data_change=data_change) for addition in additions]
        return self._commit([*removals, *added], [])

    def checkpoint(self) -> Path:
        """Write a checkpoint of this version and return its file, not yet synced. Raises `CommitError`."""
        with self._lock:
            if self._table is None:
                raise CommitError("a table without a log has no checkpoint")
            try:
                self._table.create_checkpoint()
            except DeltaError as error:
                raise CommitError("the checkpoint could not be written") from error
            return checkpoint_file(self._folder, self.version)

    def forget_old_entries(self) -> None:
        """Remove log entries older than the log's retention that a checkpoint covers."""
        with self._lock:
            if self._table is not None:
                try:
                    self._table.cleanup_metadata()
                except DeltaError as error:
                    raise CommitError("old log entries could not be removed") from error

    def _commit(self, actions: Sequence[AddAction | RemoveAction], transactions: list[Transaction]) -> bool:
        with self._lock:
            table = self._table
            if table is None:
                raise CommitError("the table has no log yet")
            try:
                table.create_write_transaction(
                    list(actions),
                    "append",
                    table.schema(),
                    [DAY_COLUMN],
                    commit_properties=_properties(len(actions) + len(transactions), transactions),
                    post_commithook_properties=_NO_HOOKS,
                )
                table.update_incremental()
            except (DeltaError, OSError):
                self.reopen()
                return False
            return True


def log_file(folder: Path, version: int) -> Path:
    """The log entry of a version."""
    return folder / LOG / f"{version:020}.json"


def checkpoint_file(folder: Path, version: int) -> Path:
    """The single-file checkpoint of a version."""
    return folder / LOG / f"{version:020}.checkpoint.parquet"


def files_at(folder: Path, version: int) -> tuple[StoredFile, ...]:
    """The table's files at exactly `version`, from the newest checkpoint on. Raises `CommitError`."""
    table = _open(folder, version)
    if table is None:
        raise CommitError("the table has no log")
    return _files(table)


def read_entry(folder: Path, version: int) -> LogEntry | None:
    """One version of the log, None when its file is not there or cannot be read."""
    try:
        lines = log_file(folder, version).read_bytes().splitlines()
        actions = [_ACTIONS.decode(line) for line in lines if line]
        added = tuple(_stored(action.add) for action in actions if action.add is not None)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    removed = tuple(action.remove.path for action in actions if action.remove is not None)
    info = next((action.commitInfo for action in actions if action.commitInfo is not None), None)
    counted = info.get(ACTIONS_METADATA) if info is not None else None
    whole = bool(info) and (counted is None or counted == str(len(actions) - 1))
    return LogEntry(added, removed, whole)


def _open(folder: Path, version: int | None) -> DeltaTable | None:
    if not (folder / LOG).is_dir():
        return None
    try:
        return DeltaTable(str(folder), version=version)
    except TableNotFoundError:
        return None
    except DeltaError as error:
        raise CommitError("the table's log cannot be read") from error


def _properties(actions: int, transactions: list[Transaction] | None = None) -> CommitProperties:
    return CommitProperties(
        custom_metadata={ACTIONS_METADATA: str(actions)},
        max_commit_retries=_ATTEMPTS,
        app_transactions=transactions,
    )


def _fields(schemas: Iterable[FileSchema]) -> dict[str, Field]:
    stored = [FileColumn(column.physical, _STORED_TYPES[column.sql_type]) for column in STORED]
    reserved = {column.physical for column in stored}
    columns: dict[str, FileColumn] = {}
    for schema in schemas:
        for column in schema.columns:
            if column.physical in reserved:
                continue
            if columns.setdefault(column.physical, column).type is not column.type:
                raise CommitError("a column's physical name was used with two types")
    return {
        column.physical: Field(
            column.physical,
            PrimitiveType(_delta_type(column.type)),
            nullable=True,
            metadata={TYPE_METADATA: column.type.value},
        )
        for column in (*columns.values(), *stored)
    }


def _delta_type(type: KustoType) -> str:
    try:
        return _DELTA_TYPES[type]
    except KeyError as error:
        raise CommitError(f"a table cannot store {type.value}") from error


def _names(table: DeltaTable) -> frozenset[str]:
    return frozenset(field.name for field in table.schema().fields)


def _files(table: DeltaTable) -> tuple[StoredFile, ...]:
    actions = pa.table(table.get_add_actions(flatten=True))
    names = set(actions.column_names)

    def column(name: str) -> list[int | None]:
        if name not in names:
            return [None] * actions.num_rows
        values = actions[name]
        if pa.types.is_date32(values.type):
            values = values.cast(pa.int32())
        elif pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        found: list[int | None] = values.to_pylist()
        return found

    return tuple(
        StoredFile(path, rows or 0, size or 0, low, high, day, missing == 0)
        for path, rows, size, low, high, day, missing in zip(
            actions["path"].to_pylist(),
            column("num_records"),
            column("size_bytes"),
            column(f"min.{TIME}"),
            column(f"max.{TIME}"),
            column(f"partition.{DAY_COLUMN}"),
            column(f"null_count.{TIME}"),
            strict=True,
        )
    )


def _stored(add: _Add) -> StoredFile:
    stats = FileStats.from_json(add.stats)
    day = add.partitionValues.get(DAY_COLUMN)
    return StoredFile(
        add.path,
        stats.rows,
        add.size,
        stats.min_time,
        stats.max_time,
        None if day is None else _days(day),
        stats.timed,
    )


def _days(day: str) -> int:
    return int(pa.scalar(day).cast(pa.date32()).cast(pa.int32()).as_py())
