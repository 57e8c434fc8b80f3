"""Columns that every table has beside its own: the stored ones, and those made up when they are read."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.catalog.model import Table
from headrace.kql.types import KustoType, Schema, SchemaColumn


@dataclass(frozen=True, slots=True)
class StoredSystemColumn:
    """A column that the pipeline writes into every file, after the table's own columns."""

    physical: str
    sql_type: str
    """DuckDB's type."""


TIME_RECEIVED = StoredSystemColumn("_TimeReceived", "TIMESTAMP WITH TIME ZONE")
RESOURCE_ID = StoredSystemColumn("_ResourceId", "VARCHAR")
RULE_VERSION = StoredSystemColumn("_RuleVersion", "INTEGER")
SOURCE = StoredSystemColumn("_Source", "VARCHAR")
"""Journal id, rule and flow index as `journal/rule/flow`: the Delta application id of the row's batch."""
OFFSET = StoredSystemColumn("_Offset", "BIGINT")
ROW = StoredSystemColumn("_Row", "INTEGER")
"""Place of the row's object in the request's array, from 0."""

STORED = (TIME_RECEIVED, RESOURCE_ID, RULE_VERSION, SOURCE, OFFSET, ROW)


CONSTANTS = frozenset(["TenantId", "Type", "_IsBillable"])
"""Columns of `query_schema` that have one value throughout a table."""


def query_schema(table: Table) -> Schema:
    """A table as queries see it: TenantId, its own columns, Type, _ResourceId, then the hidden columns.

    A guid column is one of strings here: `guid` only says what a table takes. Source: Azure Monitor's standard
    columns of Log Analytics tables; the Logs Query API, column types.
    """
    system = [
        SchemaColumn("TenantId", KustoType.STRING),
        SchemaColumn("Type", KustoType.STRING),
        SchemaColumn("_ResourceId", KustoType.STRING),
        SchemaColumn("_TimeReceived", KustoType.DATETIME, hidden=True),
        SchemaColumn("_ItemId", KustoType.STRING, hidden=True),
        SchemaColumn("_SubscriptionId", KustoType.STRING, hidden=True),
        SchemaColumn("_IsBillable", KustoType.STRING, hidden=True),
        SchemaColumn("_BilledSize", KustoType.REAL, hidden=True),
        SchemaColumn("_RuleVersion", KustoType.INT, hidden=True),
    ]
    taken = {column.name for column in system}
    own = [
        SchemaColumn(column.name, _queried(column.type), column.hidden)
        for column in table.schema.columns
        if column.name not in taken
    ]
    return Schema((system[0], *own, *system[1:]))


def _queried(type: KustoType) -> KustoType:
    return KustoType.STRING if type is KustoType.GUID else type
