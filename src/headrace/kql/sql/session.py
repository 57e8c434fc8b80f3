"""What a connection needs before compiled KQL can run on it."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, Protocol, cast

import duckdb
import pyarrow as pa

from headrace.kql.sql.macros import MACROS
from headrace.kql.sql.udf import Library, library

__all__ = ["GeoReader", "prepare"]

_SCRIPT = ";".join(f"CREATE OR REPLACE MACRO {macro}" for macro in MACROS)
# The last macro stands for all: they are made in one transaction.
_PROBE = "SELECT kql_list_json(NULL)"


class GeoReader(Protocol):
    """A reader of a MaxMind-format database, as `maxminddb.open_database` gives."""

    def get(self, ip_address: str) -> Any:
        """The record of an address, None if there is none; raises ValueError for text that is no address."""
        ...


def prepare(connection: duckdb.DuckDBPyConnection, geo: GeoReader | None = None) -> None:
    """Make what lowered functions use: macros and one Python function, both of the whole in-memory engine.

    The first connection of an engine pays for it, its cursors only look. Safe in several threads at once.
    `geo` answers `geo_location`; without it that function gives null members. The first connection's `geo`
    holds for all of the engine. To be called outside a transaction.
    """
    if _is_prepared(connection):
        return
    _register(connection, geo)
    try:
        connection.execute("BEGIN")
        connection.execute(_SCRIPT)
        connection.execute("COMMIT")
    except (duckdb.TransactionException, duckdb.CatalogException):
        # Another thread is making them; they are there when its transaction ends.
        connection.execute("ROLLBACK")
        _await_other(connection)


def _is_prepared(connection: duckdb.DuckDBPyConnection) -> bool:
    try:
        connection.execute(_PROBE)
    except duckdb.CatalogException:
        return False
    return True


def _await_other(connection: duckdb.DuckDBPyConnection) -> None:
    for _ in range(200):
        if _is_prepared(connection):
            return
        time.sleep(0.01)
    raise RuntimeError("the engine's macros could not be made")


def _register(connection: duckdb.DuckDBPyConnection, geo: GeoReader | None) -> None:
    try:
        connection.create_function(  # type: ignore[call-overload]
            "kql_call",
            _caller(cast("Hashable", geo)),
            None,
            "VARCHAR",
            type="arrow",
            null_handling="special",
        )
    except (duckdb.CatalogException, duckdb.NotImplementedException):
        # Another cursor of the same database has registered it.
        return


@cache
def _caller(geo: Hashable) -> Any:
    """The one function behind all calls: the first argument names it, all values are VARCHAR.

    Cached, which means kept for good: the engine holds no reference of its own to a Python function once the
    connection that registered it is closed, and calls it all the same.
    """
    functions: Library = library(geo)

    def kql_call(name: Any, *arguments: Any) -> Any:
        columns: Sequence[list[str | None]] = [column.to_pylist() for column in arguments]
        count = len(name)
        if count == 0:
            return pa.array([], pa.string())
        function = functions[name[0].as_py()]
        rows = zip(*columns, strict=True) if columns else [()] * count
        return pa.array([function(*row) for row in rows], pa.string())

    return kql_call
