"""The pipeline's SQL engine: runs a `LiveFlow` over a batch of request bodies and writes the Parquet file.

One `Engine` for the process, one `Session` for each worker thread. The engine is hardened: bounded memory,
one thread a statement, no files outside the tables folder, no extensions, configuration locked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import duckdb
import pyarrow as pa

from headrace.clock import SECOND
from headrace.kql.sql.session import prepare as prepare_session
from headrace.tables.model import DataFile
from headrace.transform.compile import BATCH, FILE, SOURCE, TIME, LiveFlow

BATCH_SCHEMA = pa.schema(
    [("h_offset", pa.int64()), ("h_received", pa.timestamp("us")), ("h_body", pa.string())]
)
"""The batch table of a `LiveFlow`: journal offset, received time (UTC), the body's JSON text."""


EngineFault = Literal["memory", "disk", "interrupted", "lost", "other"]


class RowsError(Exception):
    """Some row of the batch cannot be transformed. `reason` names the kind of fault, without any data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EngineError(Exception):
    """The engine or the disk failed, whatever the rows are: the same batch may succeed later.

    `fault` is "memory" when the batch did not fit, "disk" when a file could not be written,
    "interrupted" when it was stopped, "lost" when the engine must be opened anew, "other" for what nobody foresaw.
    """

    def __init__(self, reason: str, fault: EngineFault = "other") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Body:
    """One request's JSON text (a UTF-8 array of objects), its place in the journal, and when it came."""

    offset: int
    received: int
    """UTC microseconds."""
    text: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What a run wrote. Without rows there is no file and no times; times are UTC microseconds."""

    rows: int
    bytes: int
    min_time: int | None
    max_time: int | None

    def data_file(self, path: Path, schema_version: int, positions: Mapping[str, int]) -> DataFile:
        """The written file at `path`, as it is published. `positions`: last offset by application id."""
        return DataFile(
            path=f"{path.parent.name}/{path.name}",
            rows=self.rows,
            bytes=self.bytes,
            schema_version=schema_version,
            min_time=self.min_time,
            max_time=self.max_time,
            positions=positions,
        )


def batch_table(bodies: Sequence[Body]) -> pa.Table:
    """The bodies as a batch table. Raises `RowsError` when one is not UTF-8."""
    texts = pa.array([body.text for body in bodies], pa.binary())
    try:
        checked = texts.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise RowsError("InvalidUtf8") from error
    return pa.Table.from_arrays(
        [
            pa.array([body.offset for body in bodies], pa.int64()),
            pa.array([body.received for body in bodies], pa.timestamp("us")),
            checked,
        ],
        schema=BATCH_SCHEMA,
    )


class Engine:
    """A DuckDB instance that can do nothing but run transforms and write below `folder`.

    `prepare` registers what compiled SQL calls, on each connection.
    """

    def __init__(
        self,
        folder: Path,
        memory_limit: str,
        prepare: Callable[[duckdb.DuckDBPyConnection], None] = prepare_session,
    ) -> None:
        self._prepare = prepare
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
                "memory_limit": memory_limit,
                "threads": "1",
                "temp_directory": "",
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        prepare(self._connection)
        self._connection.execute("SET allowed_directories = $folders", {"folders": [str(folder.resolve())]})
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def session(self) -> Session:
        """A session for one thread."""
        cursor = self._connection.cursor()
        self._prepare(cursor)
        return Session(cursor)

    def close(self) -> None:
        """Close the engine; its sessions must be closed first."""
        self._connection.close()


class Session:
    """One thread's way to the engine."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, live: LiveFlow, batch: pa.Table, file: Path, source: str) -> Written:
        """Transform `batch` (see `batch_table`) and write `file`.

        `source` becomes the rows' `_Source`. When nothing is left after the transform, no file is left
        either. Raises `RowsError` or `EngineError`; then there is no file.
        """
        try:
            return self._run(live, batch, file, source)
        except duckdb.Error as error:
            file.unlink(missing_ok=True)
            raise _fault(error) from None

    def _run(self, live: LiveFlow, batch: pa.Table, file: Path, source: str) -> Written:
        self._cursor.register(BATCH, batch)
        try:
            self._cursor.execute(live.sql, {FILE: str(file), SOURCE: source})
            answer = self._cursor.fetchone()
        finally:
            self._cursor.unregister(BATCH)
        if answer is None:
            raise EngineError("the engine did not say what it wrote")
        _, rows, size, _, statistics, *_ = answer
        if rows == 0:
            file.unlink(missing_ok=True)
            return Written(0, 0, None, None)
        times = statistics[f'"{_physical_time(live)}"']
        return Written(rows, size, _microseconds(times["min"]), _microseconds(times["max"]))

    def select(self, sql: str, batch: pa.Table) -> list[tuple[Any, ...]]:
        """The rows of a select over `batch` (see `batch_table`). Raises `RowsError` or `EngineError`."""
        self._cursor.register(BATCH, batch)
        try:
            rows: list[tuple[Any, ...]] = self._cursor.execute(sql).fetchall()
        except duckdb.Error as error:
            raise _fault(error) from None
        finally:
            self._cursor.unregister(BATCH)
        return rows

    def interrupt(self) -> None:
        """Stop the statement that another thread is running here."""
        self._cursor.interrupt()

    def close(self) -> None:
        """Close the session."""
        self._cursor.close()


def _physical_time(live: LiveFlow) -> str:
    return next(column.physical for column in live.table.schema.columns if column.name == TIME)


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + moment.microsecond


def _fault(error: duckdb.Error) -> RowsError | EngineError:
    """Sort an engine's error by whose fault it is; its message can quote data, so it goes no further."""
    name = type(error).__name__.removesuffix("Exception")
    if isinstance(error, duckdb.OutOfMemoryException):
        return EngineError(name, "memory")
    if isinstance(error, duckdb.FatalException | duckdb.ConnectionException):
        return EngineError(name, "lost")
    if isinstance(error, duckdb.IOException | duckdb.PermissionException):
        return EngineError(name, "disk")
    if isinstance(error, duckdb.InterruptException):
        return EngineError(name, "interrupted")
    return RowsError(name)
