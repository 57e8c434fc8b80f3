"""The metadata call: tables, columns and functions of a workspace, for query clients and editors.

Source: Log Analytics API, 'Metadata' (lists by kind whose members refer to each other by id).
"""

from __future__ import annotations

from typing import Any

from headrace.catalog.model import Workspace
from headrace.query.database import WorkspaceView
from headrace.query.saved import parted

_CUSTOM = "LogManagement"


def describe(view: WorkspaceView) -> dict[str, Any]:
    """The answer for the workspaces of a view; only tables that the caller may read are in it."""
    filled = view.filled_tables()
    tables = [_table(view, name, has_data=name in filled) for name in view.table_names()]
    functions = [_function(name, text) for name, text in sorted(view.functions().items())]
    ids = {"tables": [table["id"] for table in tables], "functions": [one["id"] for one in functions]}
    customer_ids = [workspace.customer_id for workspace in view.workspaces]
    return {
        "tables": tables,
        "functions": functions,
        "solutions": [{"id": _CUSTOM, "name": _CUSTOM, "related": {**ids, "workspaces": customer_ids}}],
        "workspaces": [_workspace(view, workspace, ids) for workspace in view.workspaces],
        "resourceTypes": [],
        "categories": [],
        "queries": [],
        "applications": [],
        "resources": [],
        "permissions": [],
    }


def selected(description: dict[str, Any], names: str) -> dict[str, Any]:
    """The lists whose names stand in `names`, between commas; all of them where none is named."""
    wanted = {name.strip().lower() for name in names.split(",")} - {""}
    return {name: listed for name, listed in description.items() if not wanted or name.lower() in wanted}


def _table(view: WorkspaceView, name: str, *, has_data: bool) -> dict[str, Any]:
    schema = view.find_table(name)
    assert schema is not None
    return {
        "id": f"t/{name}",
        "name": name,
        "timespanColumn": "TimeGenerated",
        "hasData": has_data,
        "columns": [{"name": column.name, "type": column.type.value} for column in schema.columns],
        "related": {"solutions": [_CUSTOM], "workspaces": [table.workspace for table in view.tables(name)]},
    }


def _function(name: str, text: str) -> dict[str, Any]:
    parts = parted(text)
    return {
        "id": f"f/{name}",
        "name": name,
        "displayName": name,
        "body": parts.body,
        "parameters": parts.parameters,
        "related": {},
    }


def _workspace(view: WorkspaceView, workspace: Workspace, ids: dict[str, list[str]]) -> dict[str, Any]:
    own = [
        f"t/{name}"
        for name in view.table_names()
        if name in workspace.tables and view.may_read(workspace, name)
    ]
    return {
        "id": workspace.customer_id,
        "resourceId": workspace.resource_id,
        "name": workspace.name,
        "region": workspace.location,
        "related": {"tables": own, "functions": ids["functions"], "solutions": [_CUSTOM]},
    }
