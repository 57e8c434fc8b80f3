"""Workspaces, tables and columns as every other room sees them. Immutable: a change makes new objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.kql.types import KustoType


@dataclass(frozen=True, slots=True)
class Column:
    """A stored column. `id` never changes; `physical` is its name in files, unique in any letter case."""

    id: int
    name: str
    type: KustoType
    physical: str
    description: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One version of a table's columns; a file names the version it was written with."""

    version: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One incarnation of a table: deleting and making it again gives another `incarnation`.

    `schemas` holds every version since the incarnation began, oldest first; the last one is current.
    """

    workspace: str
    """customerId (GUID) of the workspace."""
    name: str
    incarnation: str
    schemas: tuple[TableSchema, ...]
    retention_days: int = 30
    total_retention_days: int = 30
    plan: str = "Analytics"

    @property
    def queryable_days(self) -> int:
        """How far back ordinary queries see; what is kept longer is not shown by them."""
        return self.total_retention_days if self.plan == "Auxiliary" else self.retention_days

    @property
    def schema(self) -> TableSchema:
        """The current version of the columns."""
        return self.schemas[-1]

    def schema_version(self, version: int) -> TableSchema:
        """The columns as of `version`. Raises `KeyError` when there was none."""
        for schema in reversed(self.schemas):
            if schema.version == version:
                return schema
        raise KeyError(version)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A Log Analytics workspace; `tables` is keyed by the exact table name.

    `functions` has the text of each saved function, `(parameters) { query }`, by its alias.
    """

    customer_id: str
    resource_id: str
    name: str
    location: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All workspaces at one change number, keyed by customerId and by lower-case ARM id.

    `error_destinations`: where the error rows of a rule go, by the rule's lower-case ARM id, as lower-case ARM ids of
    workspaces; none switches them off. A rule that is not named there has them where its data flows send to.
    `recoverable`: the customerIds of deleted workspaces that can be recovered with what is in their tables.
    `query_log_destinations`: where the queries of a workspace are noted, in the same way; nowhere unless named.
    """

    change: int
    workspaces: Mapping[str, Workspace]
    by_resource_id: Mapping[str, Workspace]
    error_destinations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    recoverable: frozenset[str] = frozenset()
    query_log_destinations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
