"""Runs compiled queries on DuckDB over the table files, each within its limits and on one snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from headrace.catalog.model import Table
from headrace.catalog.system import CONSTANTS, query_schema
from headrace.clock import DAY, Clock
from headrace.errors import Problem
from headrace.kql.api import (
    Output,
    QueryOptions,
    Scan,
    ScanProvider,
    Statement,
    compile_query,
    sql_text,
)
from headrace.kql.sql import session
from headrace.kql.types import KustoType
from headrace.query.database import WorkspaceView
from headrace.query.encode import encode_rows
from headrace.query.inline import InlineTables
from headrace.query.model import QueryRequest, QueryResult, ResultTable, TimeRange
from headrace.query.timespan import intersect
from headrace.settings import QuerySettings
from headrace.tables.counts import RowCount
from headrace.tables.reader import Snapshot, TableReader

_log = logging.getLogger(__name__)

TICKS_PER_MICROSECOND = 10
_BATCH_ROWS = 20_000
_PROBED_ROWS = 5_000
_GRACE_SECONDS = 10.0
_NUDGE_SECONDS = 0.05
_RESULT_TOO_LARGE = "-2133196797"
_OUT_OF_MEMORY = "-2133196789"
_ABOUT = "about"
"""What a row is about, while rows of certain resources are picked; no name that the compiler gives."""


Readable = WorkspaceView | InlineTables
"""What a query reads: the files of workspaces' tables, or tables in memory."""


class QueryTimeoutError(Exception):
    """The query was stopped at its time limit."""


class BusyError(Exception):
    """Too many queries run and wait."""


class QueryFailedError(Exception):
    """The engine gave up. Its message may quote data, so it goes no further."""


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """One statement of a text, and its SQL over the files of a snapshot."""

    statement: Statement
    sql: str


@dataclass(frozen=True, slots=True)
class PreparedQueries:
    """A compiled text, ready to run."""

    queries: tuple[PreparedQuery, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Limits:
    """How much of a result is answered."""

    rows: int
    bytes: int

    @classmethod
    def of(cls, settings: QuerySettings, request: QueryRequest) -> _Limits:
        rows = settings.max_rows if request.max_rows is None else min(request.max_rows, settings.max_rows)
        return cls(rows, settings.max_bytes)

    def passed(self, more_rows: bool, size: int) -> Problem | None:
        """What was cut off, if anything was."""
        if more_rows:
            limit = f"record count limit {self.rows}"
        elif size > self.bytes:
            limit = f"internal data size limit {self.bytes}"
        else:
            return None
        return Problem(
            _RESULT_TOO_LARGE, f"Query result set has exceeded the {limit} (E_QUERY_RESULT_SET_TOO_LARGE)."
        )


class QueryEngine:
    """One DuckDB instance and the threads that queries run on."""

    def __init__(
        self, reader: TableReader, tables_root: Path, spill: Path, settings: QuerySettings, clock: Clock
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="query")
        self._running = asyncio.Semaphore(settings.concurrency)
        self._waiting = 0
        self._connection = _open_engine(tables_root, spill, settings)
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._busy: set[duckdb.DuckDBPyConnection] = set()

    async def run(self, view: Readable, request: QueryRequest, wait: int) -> QueryResult:
        """The answer to a query.

        Raises `KqlError`, `QueryTimeoutError` when waiting and running together take `wait` seconds,
        `BusyError`, `QueryFailedError`.
        """
        deadline = self._clock.monotonic() + wait
        if self._running.locked() and self._waiting >= self._settings.queue:
            raise BusyError
        self._waiting += 1
        try:
            async with asyncio.timeout(wait):
                await self._running.acquire()
        except TimeoutError:
            raise QueryTimeoutError from None
        finally:
            self._waiting -= 1
        try:
            return await self._run_until(deadline, view, request)
        finally:
            self._running.release()

    async def _run_until(self, deadline: float, view: Readable, request: QueryRequest) -> QueryResult:
        cursor = self._idle.pop() if self._idle else self.cursor()
        self._busy.add(cursor)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._execute, cursor, view, request)
        try:
            done, _ = await asyncio.wait({work}, timeout=max(0.0, deadline - self._clock.monotonic()))
            if done:
                # Only a cursor that nobody interrupted serves again: an interrupt may come late.
                self._idle.append(cursor)
                return work.result()
            raise QueryTimeoutError
        finally:
            if not work.done():
                await self._interrupt(cursor, work)
            self._busy.discard(cursor)

    async def _interrupt(self, cursor: duckdb.DuckDBPyConnection, work: asyncio.Future[QueryResult]) -> None:
        """End a query for good; an interrupt that comes between two steps of it has to be repeated."""
        for _ in range(int(_GRACE_SECONDS / _NUDGE_SECONDS)):
            # Closing the engine closes the cursors of queries that it has just ended.
            with contextlib.suppress(duckdb.ConnectionException):
                cursor.interrupt()
            done, _ = await asyncio.wait({work}, timeout=_NUDGE_SECONDS)
            if done:
                work.exception()
                cursor.close()
                return
        _log.critical("a query could not be interrupted; the process ends to be replaced")
        raise SystemExit(70)

    def _execute(
        self, cursor: duckdb.DuckDBPyConnection, view: Readable, request: QueryRequest
    ) -> QueryResult:
        started = self._clock.monotonic()
        tables: list[ResultTable] = []
        partial: Problem | None = None
        limits = _Limits.of(self._settings, request)
        prepared = self.prepare(view, request, cursor)
        for index, query in enumerate(prepared.queries):
            name = "PrimaryResult" if index == 0 else f"Table_{index}"
            table, cut = self._fetch(cursor, query, name, limits, nested=request.nested)
            tables.append(table)
            partial = partial or cut
        renders = (query.statement.render for query in prepared.queries)
        render = next((render for render in renders if render), None)
        seconds = self._clock.monotonic() - started
        return QueryResult(tuple(tables), render, seconds, prepared.warnings, partial)

    def prepare(
        self,
        view: Readable,
        request: QueryRequest,
        cursor: duckdb.DuckDBPyConnection | None = None,
    ) -> PreparedQueries:
        """The SQL of a query over one snapshot.

        With a cursor the text may ask for columns that only the data knows (`pivot`, `bag_unpack`). Raises
        `KqlError`, and `QueryFailedError` where asking fails.
        """
        now = self._clock.now()
        tables = (
            view if isinstance(view, InlineTables) else _Pinned(self._reader, view, request.time_range, now)
        )

        def probe(statement: Statement) -> Sequence[Sequence[Any]]:
            assert cursor is not None
            return _probed(cursor, sql_text(statement.to_sql(tables.provider((statement,)), Output.RESULT)))

        options = QueryOptions(
            now=now * TICKS_PER_MICROSECOND,
            functions=view.functions(),
            parameters=request.parameters,
            probe=probe if cursor is not None else None,
            filled=view.filled_tables(),
            constants=CONSTANTS,
        )
        compiled = compile_query(request.text, view, options)
        provider = tables.provider(compiled.statements)
        queries = tuple(
            PreparedQuery(statement, sql_text(statement.to_sql(provider, Output.RESULT)))
            for statement in compiled.statements
        )
        return PreparedQueries(queries, compiled.warnings)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Another cursor on the engine, ready for compiled queries; the caller closes it."""
        cursor = self._connection.cursor()
        session.prepare(cursor)
        return cursor

    def _fetch(
        self,
        cursor: duckdb.DuckDBPyConnection,
        query: PreparedQuery,
        name: str,
        limits: _Limits,
        *,
        nested: bool,
    ) -> tuple[ResultTable, Problem | None]:
        statement = query.statement
        columns = tuple((column.name, column.type.value) for column in statement.columns)
        chunks: list[bytes] = []
        rows = size = 0
        cut: Problem | None = None
        types = [column.type for column in statement.columns]
        try:
            for batch in _batches(cursor, query.sql):
                room = limits.rows - rows
                kept = batch.slice(0, room)
                if kept.num_rows:
                    chunks.append(encode_rows(kept, types, nested=nested))
                    rows += kept.num_rows
                    size += len(chunks[-1])
                cut = limits.passed(batch.num_rows > room, size)
                if cut is not None:
                    break
        except duckdb.OutOfMemoryException:
            cut = Problem(
                _OUT_OF_MEMORY, "The query needs more memory than a query may use (E_RUNAWAY_QUERY)."
            )
        except duckdb.Error as error:
            _log.error("a query failed in the engine: %s", type(error).__name__)
            raise QueryFailedError(type(error).__name__) from None
        return ResultTable(name, columns, b"[" + b",".join(chunks) + b"]", rows), cut

    def close(self) -> None:
        """Stop what runs and let go of the engine."""
        for cursor in self._busy:
            cursor.interrupt()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for cursor in (*self._busy, *self._idle):
            cursor.close()
        self._connection.close()


class _Pinned:
    """The tables that a query reads, each pinned once when it is first met: one query, one snapshot."""

    def __init__(
        self,
        reader: TableReader,
        view: WorkspaceView,
        time_range: TimeRange,
        now: int,
    ) -> None:
        self._reader = reader
        self._view = view
        self._time_range = time_range
        self._now = now
        self._snapshots: dict[tuple[str | None, str], list[tuple[Table, Snapshot]]] = {}

    def provider(self, statements: Sequence[Statement]) -> ScanProvider:
        """The scans of statements, all tables pinned before anything runs."""
        for statement in statements:
            for scan in statement.scans:
                self._pin(scan)
        return self._provide

    def _pin(self, scan: Scan) -> None:
        key = (scan.workspace, scan.table)
        if key in self._snapshots:
            return
        scanned = self._view if scan.workspace is None else self._view.workspace(scan.workspace)
        assert isinstance(scanned, WorkspaceView)
        self._snapshots[key] = [(table, self._reader.pin(table)) for table in scanned.tables(scan.table)]

    def _provide(self, scan: Scan) -> exp.Query:
        snapshots = self._snapshots[scan.workspace, scan.table]
        limited = self._view.limited if scan.workspace is None else {}
        return _scan_query(scan, snapshots, self._time_range, self._now, limited)


def _probed(cursor: duckdb.DuckDBPyConnection, sql: str) -> Sequence[Sequence[Any]]:
    try:
        return cursor.execute(sql).fetchmany(_PROBED_ROWS)
    except duckdb.Error as error:
        _log.error("a query failed in the engine: %s", type(error).__name__)
        raise QueryFailedError(type(error).__name__) from None


def _batches(cursor: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    reader = cursor.execute(sql).to_arrow_reader(_BATCH_ROWS)
    try:
        yield from reader
    finally:
        reader.close()


def _scan_query(
    scan: Scan,
    snapshots: list[tuple[Table, Snapshot]],
    time_range: TimeRange,
    now: int,
    limited: Mapping[str, tuple[str, ...]],
) -> exp.Query:
    wanted = intersect(scan.time_range, time_range)
    parts = [
        _table_scan(
            scan,
            table,
            snapshot,
            intersect(wanted, (now - table.queryable_days * DAY, None)),
            limited.get(table.workspace, ()),
        )
        for table, snapshot in snapshots
    ]
    query: exp.Query = parts[0]
    for part in parts[1:]:
        query = exp.union(query, part, distinct=False)
    return query


def _table_scan(
    scan: Scan, table: Table, snapshot: Snapshot, time_range: TimeRange, resources: tuple[str, ...]
) -> exp.Query:
    """One table's rows; columns that only another workspace's table of this name has are filled.

    With `resources` only the rows that are about one of them, or about something below it.
    """
    schema = query_schema(table)
    known = [(column.sql_name, column.name) for column in scan.columns if schema.find(column.name)]
    present = [sql_name for sql_name, _ in known]
    rows = None
    if scan.rows is not None:
        rows = RowCount(scan.rows, lambda time: scan.steps.of(time * TICKS_PER_MICROSECOND))
        present.append(scan.rows)
    if resources:
        about = snapshot.scan([*known, (_ABOUT, "_ResourceId")], time_range, rows)
        query = _about(about, present, resources)
    else:
        query = snapshot.scan(known, time_range, rows)
    if len(known) == len(scan.columns):
        return query
    columns = [
        exp.column(column.sql_name, quoted=True)
        if column.sql_name in present
        else exp.alias_(_filler(column.type), column.sql_name, quoted=True)
        for column in scan.columns
    ]
    if scan.rows is not None:
        columns.append(exp.column(scan.rows, quoted=True))
    return exp.select(*columns).from_(query.subquery("t"))


def _about(rows: exp.Query, names: Sequence[str], resources: tuple[str, ...]) -> exp.Query:
    about = exp.column(_ABOUT, quoted=True)
    tests = [
        test
        for resource in resources
        for test in (
            about.copy().eq(exp.Literal.string(resource)),
            exp.func("starts_with", about.copy(), exp.Literal.string(f"{resource}/")),
        )
    ]
    wanted: list[exp.Expression] = [exp.column(name, quoted=True) for name in names]
    return exp.select(*(wanted or [exp.Literal.number(1)])).from_(rows.subquery("r")).where(exp.or_(*tests))


def _filler(kusto: KustoType) -> exp.Expression:
    return exp.Literal.string("") if kusto is KustoType.STRING else exp.null()


def _open_engine(tables_root: Path, spill: Path, settings: QuerySettings) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "memory_limit": settings.memory_limit,
            "threads": settings.threads,
            "temp_directory": str(spill),
            "max_temp_directory_size": f"{settings.spill_bytes}B",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
        }
    )
    session.prepare(connection)
    # No file of a table ever changes, and decoding footers is most of what a query over many small files costs. They
    # count as memory, and go where it gets short.
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute("SET allowed_directories = $1", [[str(tables_root)]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection
