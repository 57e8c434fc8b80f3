"""What a connection needs before compiled KQL can run on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from headrace.kql.sql.macros import MACROS
from headrace.kql.sql.udf import Library, library

__all__ = ["GeoReader", "prepare"]

_SCRIPT = ";".join(f"CREATE OR REPLACE TEMP MACRO {macro}" for macro in MACROS)


class GeoReader(Protocol):
    """A reader of a MaxMind-format database, as `maxminddb.open_database` gives."""

    def get(self, ip_address: str) -> Any:
        """The record of an address, None if there is none; raises ValueError for text that is no address."""
        ...


def prepare(connection: duckdb.DuckDBPyConnection, geo: GeoReader | None = None) -> None:
    """Register what lowered functions use: macros of this connection, and one Python function a database.

    `geo` answers `geo_location`; without it that function gives null members. The Python function belongs
    to the whole database, so the first connection's `geo` holds for all of its cursors.
    """
    _register(connection, geo)
    connection.execute(_SCRIPT)


def _register(connection: duckdb.DuckDBPyConnection, geo: GeoReader | None) -> None:
    try:
        connection.create_function(  # type: ignore[call-overload]
            "kql_call",
            _caller(library(geo)),
            None,
            "VARCHAR",
            type="arrow",
            null_handling="special",
        )
    except (duckdb.CatalogException, duckdb.NotImplementedException):
        # Another cursor of the same database has registered it.
        return


def _caller(functions: Library) -> Any:
    """The one function behind all calls: the first argument names it, all values are VARCHAR."""

    def kql_call(name: Any, *arguments: Any) -> Any:
        columns: Sequence[list[str | None]] = [column.to_pylist() for column in arguments]
        count = len(name)
        if count == 0:
            return pa.array([], pa.string())
        function = functions[name[0].as_py()]
        rows = zip(*columns, strict=True) if columns else [()] * count
        return pa.array([function(*row) for row in rows], pa.string())

    return kql_call
