"""The metadata call: tables, columns and functions of a workspace, for query clients and editors.

Source: Log Analytics API, 'Metadata' (lists by kind whose members refer to each other by id).
"""

from __future__ import annotations

from typing import Any

from headrace.catalog.model import Workspace
from headrace.catalog.system import query_schema
from headrace.query.database import WorkspaceView
from headrace.query.saved import parted

_CUSTOM = "LogManagement"


def describe(view: WorkspaceView) -> dict[str, Any]:
    """The answer for the one workspace of a view; only tables that the caller may read are in it."""
    (workspace,) = view.workspaces
    tables = [_table(view, name) for name in view.table_names()]
    functions = [_function(name, text) for name, text in sorted(view.functions().items())]
    ids = {"tables": [table["id"] for table in tables], "functions": [one["id"] for one in functions]}
    return {
        "tables": tables,
        "functions": functions,
        "solutions": [
            {"id": _CUSTOM, "name": _CUSTOM, "related": {**ids, "workspaces": [workspace.customer_id]}}
        ],
        "workspaces": [_workspace(workspace, ids)],
        "resourceTypes": [],
        "categories": [],
        "queries": [],
        "applications": [],
        "resources": [],
        "permissions": [],
    }


def _table(view: WorkspaceView, name: str) -> dict[str, Any]:
    (table,) = view.tables(name)
    return {
        "id": f"t/{name}",
        "name": name,
        "timespanColumn": "TimeGenerated",
        "columns": [
            {"name": column.name, "type": column.type.value} for column in query_schema(table).columns
        ],
        "related": {"solutions": [_CUSTOM], "workspaces": [view.workspaces[0].customer_id]},
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


def _workspace(workspace: Workspace, ids: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "id": workspace.customer_id,
        "resourceId": workspace.resource_id,
        "name": workspace.name,
        "region": workspace.location,
        "related": {**ids, "solutions": [_CUSTOM]},
    }
