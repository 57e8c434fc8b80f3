"""Small files into larger, dense ones: DuckDB reads a table's Parquet files and writes one for each day."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
from sqlglot import exp

from headrace.clock import DAY
from headrace.tables.fresh import fresh_files
from headrace.tables.model import DENSE_PREFIX, TIME, CommitError
from headrace.tables.scan import moment, read_parquet

MEMORY_LIMIT = "384MB"
ROW_GROUP_ROWS = 122_880
SPILL_FOLDER = ".spill"


class Rewriter:
    """An engine of its own for the table writer; it may touch nothing outside `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def days(self, paths: Sequence[Path]) -> tuple[int, ...]:
        """The days, counted from 1970-01-01, that rows of the files fall on. Raises `CommitError`."""
        time = exp.func("epoch_us", exp.column(TIME, quoted=True))
        day = exp.cast(
            exp.func("floor", exp.Div(this=time, expression=exp.Literal.number(f"{DAY}.0"))), "BIGINT"
        )
        query = exp.select(exp.alias_(day, "day")).distinct().from_(read_parquet(paths))
        with self._lock:
            rows = self._run(query)
        return tuple(sorted(int(str(row[0])) for row in rows))

    def join(
        self, paths: Sequence[Path], folder: Path, *, day: int | None = None, in_order: bool = False
    ) -> Path:
        """One new file in `folder` with the rows of `paths` (all of them, or those of `day`).

        Sorted by TimeGenerated, or with `in_order` in the order of the files. Raises `CommitError`.
        """
        query = exp.select(exp.Star()).from_(read_parquet(paths))
        if day is not None:
            time = exp.column(TIME, quoted=True)
            query = query.where(
                exp.GTE(this=time, expression=moment(day * DAY)),
                exp.LT(this=time.copy(), expression=moment((day + 1) * DAY)),
            )
        if not in_order:
            query = query.order_by(exp.column(TIME, quoted=True))
        path = folder / f"{DENSE_PREFIX}{uuid.uuid4()}.parquet"
        copy = exp.Copy(
            this=exp.Subquery(this=query),
            kind=False,
            files=[exp.Literal.string(str(path))],
            params=[
                exp.CopyParameter(this=exp.var(name), expression=value)
                for name, value in (
                    ("FORMAT", exp.var("PARQUET")),
                    ("COMPRESSION", exp.var("ZSTD")),
                    ("ROW_GROUP_SIZE", exp.Literal.number(ROW_GROUP_ROWS)),
                )
            ],
        )
        with fresh_files() as made, self._lock:
            made.append(path)
            self._run(copy)
        return path

    def close(self) -> None:
        """Close the engine; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _run(self, statement: exp.Expr) -> Iterable[tuple[object, ...]]:
        if self._connection is None:
            self._connection = _connect(self._root)
        try:
            rows: list[tuple[object, ...]] = self._connection.execute(statement.sql("duckdb")).fetchall()
        except duckdb.Error as error:
            raise CommitError("the table's files could not be rewritten") from error
        return rows


def _connect(root: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    settings: tuple[tuple[str, exp.Expr], ...] = (
        ("threads", exp.Literal.number(1)),
        ("memory_limit", exp.Literal.string(MEMORY_LIMIT)),
        ("TimeZone", exp.Literal.string("UTC")),
        ("temp_directory", exp.Literal.string(str(root / SPILL_FOLDER))),
        ("allowed_directories", exp.Array(expressions=[exp.Literal.string(str(root))])),
        ("autoinstall_known_extensions", exp.false()),
        ("autoload_known_extensions", exp.false()),
        ("enable_external_access", exp.false()),
        ("lock_configuration", exp.true()),
    )
    for name, value in settings:
        item = exp.SetItem(this=exp.EQ(this=exp.column(name), expression=value))
        connection.execute(exp.Set(expressions=[item]).sql("duckdb"))
    return connection
