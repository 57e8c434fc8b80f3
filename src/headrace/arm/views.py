"""What the other rooms see of the control plane: the catalog of tables, and the rules.

Each is loaded whole at one change number and never changes. `CatalogLoader` keeps the tables that did not
change from one load to the next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection

from headrace.arm import store
from headrace.arm.ids import DIAGNOSTIC_TYPE, SAVED_SEARCH_TYPE, WORKSPACE_TYPE
from headrace.arm.store import Resource, TableRow
from headrace.catalog import standard
from headrace.catalog.model import Catalog, Column, Table, TableSchema, Workspace
from headrace.catalog.ruledocument import WORKSPACE_TRANSFORMS, canonical_kind
from headrace.catalog.rules import Rule, RuleLimits, parse_rule
from headrace.errors import ProblemError
from headrace.kql.types import KustoType

DEFAULT_RETENTION = 30
FIXED_RETENTION = 30
"""Days of the plans that have no retention of their own: Basic and Auxiliary."""


@dataclass(frozen=True, slots=True)
class RuleHead:
    """A live rule as the gateway needs it. `resource_id` is lower-case, `streams` are those it takes."""

    immutable_id: str
    resource_id: str
    version: int
    kind: str
    streams: tuple[str, ...]
    location: str


class _ColumnRow(msgspec.Struct, array_like=True):
    id: int
    name: str
    type: str
    physical: str
    description: str = ""
    hidden: bool = False


_COLUMN_ROWS = msgspec.json.Decoder(list[_ColumnRow])


def encode_schema(schema: TableSchema) -> str:
    """A schema's columns as the store keeps them."""
    rows = [
        _ColumnRow(c.id, c.name, c.type.value, c.physical, c.description, c.hidden) for c in schema.columns
    ]
    return msgspec.json.encode(rows).decode()


def decode_schema(version: int, columns: str) -> TableSchema:
    """The reverse of `encode_schema`."""
    rows = _COLUMN_ROWS.decode(columns)
    return TableSchema(
        version,
        tuple(Column(r.id, r.name, KustoType(r.type), r.physical, r.description, r.hidden) for r in rows),
    )


class CatalogLoader:
    """Loads the catalog again and again, cheaply: for a `LiveView`, one loader each."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[str, int], TableSchema] = {}

    def __call__(self, connection: Connection, change: int) -> Catalog:
        """The catalog at this change."""
        workspaces = store.select_page(connection, WORKSPACE_TYPE)
        rows: dict[str, list[TableRow]] = {}
        seen: dict[tuple[str, int], TableSchema] = {}
        for row in store.live_tables(connection):
            rows.setdefault(row.customer_id, []).append(row)
        functions: dict[str, dict[str, str]] = {}
        for saved in store.select_page(connection, SAVED_SEARCH_TYPE):
            alias = saved.properties.get("functionAlias")
            if isinstance(alias, str) and alias:
                functions.setdefault(saved.parent_key, {})[alias] = _function_text(saved.properties)
        built = [
            self._workspace(item, rows.get(item.unique_id or "", []), functions.get(item.key, {}), seen)
            for item in workspaces
        ]
        self._schemas = seen
        settings = store.select_page(connection, DIAGNOSTIC_TYPE)
        there = {item.key for item in workspaces}
        return replace(
            _catalog(change, built),
            error_destinations=_destinations(settings, "errors", there),
            query_log_destinations=_destinations(settings, "audit", there),
            recoverable=store.recoverable_workspaces(connection),
        )

    def _workspace(
        self,
        item: Resource,
        rows: list[TableRow],
        functions: Mapping[str, str],
        seen: dict[tuple[str, int], TableSchema],
    ) -> Workspace:
        tables = {}
        for row in rows:
            schemas = []
            for version, columns in row.schemas:
                key = (row.incarnation, version)
                schema = self._schemas.get(key) or decode_schema(version, columns)
                seen[key] = schema
                schemas.append(schema)
            tables[row.name] = _table(row, tuple(schemas), workspace_retention(item))
        return _workspace(item, tables, functions)


def load_catalog(connection: Connection, change: int, *, only: Collection[str] | None = None) -> Catalog:
    """All workspaces and tables at this change, or those of the lower-case workspace ids `only`.

    A workspace's `tables` has its own tables and every standard one, as `WorkspaceTables`; with `only` no saved
    functions are read.
    """
    if only is None:
        return CatalogLoader()(connection, change)
    found = [item for key in only if (item := store.get(connection, key)) is not None]
    built = []
    for item in found:
        if item.type != WORKSPACE_TYPE:
            continue
        tables = {
            row.name: make_table(row, workspace_retention(item))
            for row in store.live_tables(connection, [item.unique_id or ""])
        }
        built.append(_workspace(item, tables, {}))
    return _catalog(change, built)


def _workspace(item: Resource, tables: Mapping[str, Table], functions: Mapping[str, str]) -> Workspace:
    customer_id = item.unique_id or ""
    listed = standard.WorkspaceTables(customer_id, tables)
    return Workspace(customer_id, item.key, item.name, item.location, listed, functions)


def _catalog(change: int, workspaces: list[Workspace]) -> Catalog:
    return Catalog(change, {w.customer_id: w for w in workspaces}, {w.resource_id: w for w in workspaces})


def _destinations(
    settings: Sequence[Resource], rows: str, workspaces: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Where rows about resources go by their diagnostic settings: workspaces' keys by the resource's key.

    `rows` is what the settings' state calls them. `workspaces` are the keys of those that there are: a setting whose
    workspace is gone counts no more.
    """
    found: dict[str, list[str]] = {}
    for item in settings:
        wanted, workspace = item.state.get(rows), item.state.get("workspace")
        if wanted is False:
            found.setdefault(item.parent_key, [])
        elif wanted is True and workspace in workspaces:
            found.setdefault(item.parent_key, []).append(str(workspace))
    return {resource: tuple(listed) for resource, listed in found.items()}


def _function_text(properties: Mapping[str, Any]) -> str:
    """A saved search as the text of a function, `(parameters) { query }`."""
    parameters = properties.get("functionParameters") or ""
    return f"({parameters}) {{\n{properties.get('query') or ''}\n}}"


def workspace_retention(item: Resource) -> int:
    """Days that the workspace keeps rows where a table does not say."""
    days = item.properties.get("retentionInDays")
    return days if isinstance(days, int) and not isinstance(days, bool) and days > 0 else DEFAULT_RETENTION


def interactive_retention(plan: str, days: int | None, workspace: int) -> int:
    """Days that a table's rows can be queried: the plan's own, the table's, or else the workspace's."""
    return FIXED_RETENTION if plan != "Analytics" else days or workspace


def make_table(row: TableRow, retention: int) -> Table:
    """A stored table with every version of its columns."""
    return _table(row, tuple(decode_schema(version, columns) for version, columns in row.schemas), retention)


def _table(row: TableRow, schemas: tuple[TableSchema, ...], retention: int) -> Table:
    kept = interactive_retention(row.plan, row.retention_days, retention)
    total = row.total_retention_days or kept
    return Table(row.customer_id, row.name, row.incarnation, schemas, kept, max(total, kept), row.plan)


class RuleHeadLoader:
    """Loads the live rules again and again; a version's document is read once. For a `LiveView`, one each."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, int], RuleHead] = {}

    def __call__(self, connection: Connection, change: int) -> Mapping[str, RuleHead]:
        """Every live rule by lower-case immutable id."""
        seen: dict[tuple[str, int], RuleHead] = {}
        for row in store.live_rules(connection):
            key = (row.immutable_id.lower(), row.version)
            seen[key] = self._heads.get(key) or _head(connection, row)
        self._heads = seen
        return {immutable_id: head for (immutable_id, _), head in seen.items()}


def _head(connection: Connection, row: store.RuleHeadRow) -> RuleHead:
    found = store.rule_document(connection, row.immutable_id, row.version)
    document: Mapping[str, object] = found[1] if found is not None else {}
    location = document.get("location")
    streams: tuple[str, ...] = ()
    try:
        rule = _parse(document, row.immutable_id, row.version, row.resource_id)
        # Nobody sends to the streams of workspace transforms: they are other ways into the workspace.
        if rule.kind != WORKSPACE_TRANSFORMS:
            streams = tuple(rule.streams)
    except ProblemError:
        # A rule that only another version of Headrace could read takes nothing until it is put again.
        pass
    return RuleHead(
        row.immutable_id,
        row.resource_id.lower(),
        row.version,
        canonical_kind(document.get("kind")),
        streams,
        location if isinstance(location, str) else "",
    )


def load_rule(connection: Connection, immutable_id: str, version: int) -> Rule:
    """Any kept version of a rule, also of a deleted one. Raises `KeyError` when it is not kept."""
    found = store.rule_document(connection, immutable_id.lower(), version)
    if found is None:
        raise KeyError((immutable_id, version))
    resource_id, document = found
    return _parse(document, immutable_id, version, resource_id)


def _parse(document: Mapping[str, object], immutable_id: str, version: int, resource_id: str) -> Rule:
    limits = RuleLimits.stored()
    return parse_rule(document, immutable_id, version, resource_id=resource_id, limits=limits)


def load_shared_keys(connection: Connection, change: int) -> Mapping[str, store.SharedKeys]:
    """The shared keys of workspaces by lower-case customerId, for a `LiveView`.

    A workspace has none before somebody asks for them (`sharedKeys`), so nobody can have signed with any.
    """
    return store.shared_keys(connection)
