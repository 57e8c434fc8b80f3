"""Kusto's scalar types and the schemas that the binder works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class KustoType(StrEnum):
    """A Kusto scalar type; the value is its canonical KQL name."""

    STRING = "string"
    INT = "int"
    LONG = "long"
    REAL = "real"
    BOOL = "bool"
    DATETIME = "datetime"
    TIMESPAN = "timespan"
    DYNAMIC = "dynamic"
    GUID = "guid"
    DECIMAL = "decimal"


DOTNET_TYPES: Mapping[KustoType, str] = {
    KustoType.STRING: "System.String",
    KustoType.INT: "System.Int32",
    KustoType.LONG: "System.Int64",
    KustoType.REAL: "System.Double",
    KustoType.BOOL: "System.SByte",
    KustoType.DATETIME: "System.DateTime",
    KustoType.TIMESPAN: "System.TimeSpan",
    KustoType.DYNAMIC: "System.Object",
    KustoType.GUID: "System.Guid",
    KustoType.DECIMAL: "System.Data.SqlTypes.SqlDecimal",
}
"""The .NET types that Kusto names beside its own."""

LEAST_DATETIME, MOST_DATETIME = -621_355_968_000_000_000, 2_534_023_007_999_999_999
"""The first tick of the year 1 and the last of the year 9999, counted from 1970."""

_ALIASES = {
    "boolean": KustoType.BOOL,
    "date": KustoType.DATETIME,
    "double": KustoType.REAL,
    "float": KustoType.REAL,
    "int32": KustoType.INT,
    "int64": KustoType.LONG,
    "time": KustoType.TIMESPAN,
    "uniqueid": KustoType.GUID,
    "uuid": KustoType.GUID,
}


def parse_type(name: str) -> KustoType | None:
    """The type that `name` names, in any case and by any of Kusto's and Azure's aliases; None if none."""
    lowered = name.strip().lower()
    if lowered in _ALIASES:
        return _ALIASES[lowered]
    return KustoType(lowered) if lowered in KustoType._value2member_map_ else None


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column as a query sees it. A `hidden` column answers when named, but `*` leaves it out."""

    name: str
    type: KustoType
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a tabular value, in order; names are case-sensitive and unique."""

    columns: tuple[SchemaColumn, ...]

    def find(self, name: str) -> SchemaColumn | None:
        """The column of that exact name, or None."""
        return next((column for column in self.columns if column.name == name), None)
