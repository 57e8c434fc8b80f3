"""The rules that collected records go through: made of each batch's own properties, tables grown on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.catalog.model import Workspace
from headrace.catalog.rules import Rule
from headrace.collector.mapping import make_rule, map_shapes
from headrace.collector.model import Source, is_collected
from headrace.collector.shapes import read_shapes, shapes_query
from headrace.journal.model import Entry
from headrace.kql.types import KustoType, SchemaColumn
from headrace.transform.model import CatalogView
from headrace.transform.run import Body, Session, batch_table


class Growing(Protocol):
    """What makes and widens tables (`headrace.arm.classic.ClassicTables`)."""

    def may_grow(self, workspace: Workspace, name: str) -> bool:
        """Whether the table may be made or widened."""
        ...

    def grow(self, workspace: Workspace, name: str, columns: Sequence[SchemaColumn]) -> None:
        """Add columns to the table, made if absent. Raises `ProblemError`, `StoreError`."""
        ...


class CollectedRules:
    """`headrace.transform.model.DerivedRules` for the Data Collector API. Thread-safe.

    With `create` off, tables are neither made nor widened: what finds no column is left out.
    """

    def __init__(self, catalog: CatalogView, tables: Growing, *, create: bool) -> None:
        self._catalog = catalog
        self._tables = tables
        self._create = create
        self._shapes = shapes_query().sql(dialect="duckdb")

    def takes(self, rule: str) -> bool:
        """See `DerivedRules.takes`."""
        return is_collected(rule)

    def rule(self, entry: Entry, bodies: Sequence[Body], session: Session) -> Rule:
        """See `DerivedRules.rule`."""
        source = Source.of_entry(entry)
        workspace = self._catalog.current.workspaces.get(source.workspace)
        if workspace is None:
            raise LookupError(source.workspace)
        shapes = read_shapes(session.select(self._shapes, batch_table(bodies)))
        grow = self._create and self._tables.may_grow(workspace, source.table)
        mapping = map_shapes(shapes, _columns(workspace, source.table), grow=grow)
        if mapping.new:
            self._tables.grow(workspace, source.table, mapping.new)
            self._catalog.refresh()
        return make_rule(entry.rule, source, workspace.resource_id, mapping)


def _columns(workspace: Workspace, name: str) -> dict[str, KustoType]:
    table = workspace.tables.get(name)
    return {column.name: column.type for column in table.schema.columns} if table is not None else {}
