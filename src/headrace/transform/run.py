"""The pipeline's SQL engine: runs a `LiveFlow` over a batch of request bodies and writes the Parquet file.

One `Engine` for the process, one `Session` for each worker thread. The engine is hardened: bounded memory,
one thread a statement, no files outside the tables folder, no extensions, configuration locked.
"""

from __future__ import annotations

import struct
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import duckdb
import pyarrow as pa
from sqlglot import exp

from headrace.clock import from_iso
from headrace.kql.sql.session import prepare as prepare_session
from headrace.tables.model import DataFile
from headrace.transform import coerce
from headrace.transform.compile import BATCH, LiveFlow

BATCH_SCHEMA = pa.schema(
    [
        (coerce.OFFSET, pa.int64()),
        (coerce.RECEIVED, pa.timestamp("us")),
        (coerce.SOURCE, pa.string()),
        (coerce.VERSION, pa.int32()),
        (coerce.RESOURCE, pa.string()),
        (coerce.BODY, pa.string_view()),
    ]
)
"""The batch table of a `LiveFlow`."""

CHUNK_BYTES = 512 * 1024
"""JSON text that the engine takes at once: with what it makes of it, about what a core's own cache holds."""

WORK_FOLDER = ".work"
"""Below the engine's folder: where files are written before they get their names."""

MAX_STATEMENTS = 64
"""Prepared statements that a session keeps: planning costs as much as a megabyte of rows."""

_OPTIONS = "FORMAT parquet, COMPRESSION snappy, RETURN_STATS true"
_INLINE, _VIEW = struct.Struct("<i12s"), struct.Struct("<i4sii")
"""Arrow's views of texts: up to 12 bytes in place; else the first four, the number of the buffer, the place in it."""

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
    """One request's JSON text (a UTF-8 array of objects), its place in the journal, and when it came.

    `source` and `version` are the rows' `_Source` and the version of their rule, `resource` is their `_ResourceId`
    unless the transform gives them one.
    """

    offset: int
    received: int
    """UTC microseconds."""
    text: bytes
    source: str = ""
    version: int = 0
    resource: str = ""


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
    """The bodies as a batch table, without a copy of their texts, which are not checked here.

    The engine takes it a chunk at a time, from the text to the rows to be written: so a chunk stays in the caches.
    """
    return pa.Table.from_batches([_chunk(part) for part in _parts(bodies)], schema=BATCH_SCHEMA)


def _parts(bodies: Sequence[Body]) -> Iterator[Sequence[Body]]:
    """The bodies in runs of about `CHUNK_BYTES`."""
    first = size = 0
    for place, body in enumerate(bodies, 1):
        size += len(body.text)
        if size >= CHUNK_BYTES or place == len(bodies):
            yield bodies[first:place]
            first, size = place, 0


def _chunk(bodies: Sequence[Body]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            pa.array([body.offset for body in bodies], pa.int64()),
            pa.array([body.received for body in bodies], pa.timestamp("us")),
            pa.array([body.source for body in bodies], pa.string()),
            pa.array([body.version for body in bodies], pa.int32()),
            pa.array([body.resource for body in bodies], pa.string()),
            _views([body.text for body in bodies]),
        ],
        schema=BATCH_SCHEMA,
    )


def _views(texts: Sequence[bytes]) -> pa.Array:
    views = bytearray()
    for number, text in enumerate(texts):
        size = len(text)
        views += _INLINE.pack(size, text) if size <= 12 else _VIEW.pack(size, text[:4], number, 0)
    buffers = [None, pa.py_buffer(bytes(views)), *map(pa.py_buffer, texts)]
    return pa.Array.from_buffers(pa.string_view(), len(texts), buffers)


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
        self._work = folder / WORK_FOLDER
        self._work.mkdir(parents=True, exist_ok=True)
        for stale in self._work.iterdir():
            stale.unlink(missing_ok=True)
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
        return Session(cursor, self._work / f"{uuid.uuid4()}.parquet")

    def close(self) -> None:
        """Close the engine; its sessions must be closed first."""
        self._connection.close()


class _Input:
    """What a session's statements read: they are planned once, and find the batch of the moment here."""

    def __init__(self) -> None:
        self.batch = BATCH_SCHEMA.empty_table()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface."""
        return self.batch.__arrow_c_stream__(requested_schema)


class Session:
    """One thread's way to the engine. It writes `work`, which then gets its own name."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, work: Path) -> None:
        self._cursor = cursor
        self._work = work
        self._input = _Input()
        self._cursor.register(BATCH, self._input)
        self._statements: OrderedDict[str, str] = OrderedDict()
        self._names = count()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, live: LiveFlow, batch: pa.Table, file: Path) -> Written:
        """Transform `batch` (see `batch_table`) and write `file`, in the same file system as the engine's folder.

        When nothing is left after the transform, no file is left either. Raises `RowsError` or
        `EngineError`, and `OSError` when the file cannot get its name; then there is no file.
        """
        self._input.batch = batch
        try:
            written = self._run(live)
            if written.rows:
                self._work.rename(file)
            return written
        except duckdb.Error as error:
            raise _fault(error) from None
        except UnicodeDecodeError:
            # The engine's message quotes bytes of the batch: it found what is not UTF-8.
            raise RowsError("InvalidUtf8") from None
        finally:
            self._input.batch = BATCH_SCHEMA.empty_table()
            self._work.unlink(missing_ok=True)

    def _run(self, live: LiveFlow) -> Written:
        self._cursor.execute(f"EXECUTE {self._statement(live)}")
        answer = self._cursor.fetchone()
        if answer is None:
            raise EngineError("the engine did not say what it wrote")
        _, rows, size, _, statistics, *_ = answer
        if rows == 0:
            return Written(0, 0, None, None)
        times = statistics[f'"{live.time_column}"']
        return Written(rows, size, from_iso(times["min"]), from_iso(times["max"]))

    def select(self, sql: str, batch: pa.Table) -> list[tuple[Any, ...]]:
        """The rows of a select over `batch` (see `batch_table`). Raises `RowsError` or `EngineError`."""
        self._input.batch = batch
        try:
            rows: list[tuple[Any, ...]] = self._cursor.execute(sql).fetchall()
        except duckdb.Error as error:
            raise _fault(error) from None
        except UnicodeDecodeError:
            raise RowsError("InvalidUtf8") from None
        finally:
            self._input.batch = BATCH_SCHEMA.empty_table()
        return rows

    def _statement(self, live: LiveFlow) -> str:
        """The name of the prepared statement that runs the query into the work file."""
        name = self._statements.get(live.query)
        if name is not None:
            self._statements.move_to_end(live.query)
            return name
        if len(self._statements) >= MAX_STATEMENTS:
            _, oldest = self._statements.popitem(last=False)
            self._cursor.execute(f"DEALLOCATE {oldest}")
        name = f"h_{next(self._names)}"
        file = exp.Literal.string(str(self._work)).sql("duckdb")
        # Both parts are statements that sqlglot wrote; COPY takes no parameters when it is prepared.
        self._cursor.execute(f"PREPARE {name} AS COPY ({live.query}) TO {file} ({_OPTIONS})")
        self._statements[live.query] = name
        return name

    def interrupt(self) -> None:
        """Stop the statement that another thread is running here."""
        self._cursor.interrupt()

    def close(self) -> None:
        """Close the session."""
        self._cursor.close()


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
