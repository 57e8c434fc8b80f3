"""What a query sees: the readable tables of one workspace, or of several as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from headrace.catalog.model import Catalog, Table, Workspace
from headrace.catalog.standard import WorkspaceTables
from headrace.catalog.system import query_schema
from headrace.kql.api import Database
from headrace.kql.types import Schema, SchemaColumn

_RESOURCE = re.compile(r"/subscriptions/[^/]+(/resourcegroups/[^/]+)?(/providers/[^/]+(/[^/]+/[^/]+)+)?")
_WORKSPACE_TYPE = "/providers/microsoft.operationalinsights/workspaces/"

MayRead = Callable[[Workspace, str], bool]
"""Whether the caller may read the table of that name in the workspace."""


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """One or more workspaces as the KQL binder sees them; a table's rows are those of all of them.

    `limited` has the workspaces, by customerId, of which only the rows of some resources count: those whose
    `_ResourceId` is one of the lower-case ids or lies below it.
    """

    catalog: Catalog
    workspaces: tuple[Workspace, ...]
    may_read: MayRead
    limited: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find_table(self, name: str) -> Schema | None:
        """See `kql.api.Database`. Columns that only some of the workspaces have come last."""
        columns: dict[str, SchemaColumn] = {}
        for table in self.tables(name):
            for column in query_schema(table).columns:
                columns.setdefault(column.name, column)
        return Schema(tuple(columns.values())) if columns else None

    def table_names(self) -> Iterable[str]:
        """See `kql.api.Database`."""
        names = {name for workspace in self.workspaces for name in workspace.tables}
        return sorted(name for name in names if self.tables(name))

    def filled_tables(self) -> frozenset[str]:
        """The tables that may hold rows: a standard table has none before something about it is stored."""
        return frozenset(
            name
            for workspace in self.workspaces
            for name in (
                workspace.tables.stored if isinstance(workspace.tables, WorkspaceTables) else workspace.tables
            )
        )

    def workspace(self, name: str) -> Database | None:
        """Another workspace by customerId, name or ARM id. None where there is none."""
        found = find_workspace(self.catalog, name)
        return None if found is None else WorkspaceView(self.catalog, (found,), self.may_read)

    def functions(self) -> Mapping[str, str]:
        """The saved functions by alias; of two workspaces with the same alias the first counts."""
        found: dict[str, str] = {}
        for workspace in reversed(self.workspaces):
            found.update(workspace.functions)
        return found

    def tables(self, name: str) -> tuple[Table, ...]:
        """The readable tables of that name, one a workspace."""
        return tuple(
            workspace.tables[name]
            for workspace in self.workspaces
            if name in workspace.tables and self.may_read(workspace, name)
        )


def find_workspace(catalog: Catalog, name: str) -> Workspace | None:
    """A workspace by customerId, ARM id, `subscription/group/name` or plain name; None if not exactly one."""
    lowered = name.strip().lower()
    if lowered in catalog.workspaces:
        return catalog.workspaces[lowered]
    as_id = "/" + lowered.strip("/")
    if as_id in catalog.by_resource_id:
        return catalog.by_resource_id[as_id]
    matches = [
        workspace
        for workspace in catalog.workspaces.values()
        if lowered in (workspace.name.lower(), _qualified_name(workspace))
    ]
    return matches[0] if len(matches) == 1 else None


def read_resource(name: str) -> str | None:
    """The lower-case id of a subscription, a group or a resource in it that is no workspace; None for other names."""
    resource = "/" + name.strip().strip("/").lower()
    return resource if _RESOURCE.fullmatch(resource) and _WORKSPACE_TYPE not in resource else None


def is_group(resource: str) -> bool:
    """Whether a resource's id is that of a group or a subscription, which workspaces can lie in."""
    return "/providers/" not in resource


def lies_in(workspace: Workspace, resource: str) -> bool:
    """Whether the workspace belongs to the group or the subscription."""
    return workspace.resource_id.lower().startswith(f"{resource}/")


def _qualified_name(workspace: Workspace) -> str:
    parts = workspace.resource_id.lower().strip("/").split("/")
    return f"{parts[1]}/{parts[3]}/{parts[-1]}" if len(parts) == 8 else ""
