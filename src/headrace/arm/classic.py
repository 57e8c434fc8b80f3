"""Tables that the Data Collector API makes and widens by itself (`tableSubType: Classic`).

They go through the same kind as a client's calls, so they are valid by the same checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from headrace.arm import store
from headrace.arm.ids import parse_path
from headrace.arm.kinds.tables import Tables
from headrace.arm.model import ArmDeps, Call
from headrace.arm.store import Resource
from headrace.catalog.model import Workspace
from headrace.catalog.schema import TABLE_TYPES
from headrace.errors import ProblemError
from headrace.identity.model import Caller
from headrace.kql.types import SchemaColumn
from headrace.wire.problems import HttpError

_VERSION = "2022-10-01"


class ClassicTables:
    """Makes and widens classic tables. Thread-safe."""

    def __init__(self, deps: ArmDeps) -> None:
        self._deps = deps

    def may_grow(self, workspace: Workspace, name: str) -> bool:
        """Whether the table is classic, or not there: other tables' columns are their owners' to add."""
        with self._deps.database.read() as connection:
            item = store.get(connection, _target_key(workspace, name))
        return item is None or bool(item.state.get("classic"))

    def grow(self, workspace: Workspace, name: str, columns: Sequence[SchemaColumn]) -> None:
        """Add columns to the table, made if absent.

        Raises `ProblemError` when the tables API would refuse it, `StoreError` when the store cannot be written.
        """
        try:
            with self._deps.database.write() as connection:
                self._put(connection, workspace, name, columns)
        except HttpError as error:
            raise ProblemError(error.problem) from None

    def _put(
        self, connection: Connection, workspace: Workspace, name: str, columns: Sequence[SchemaColumn]
    ) -> None:
        parent = store.get(connection, workspace.resource_id)
        if parent is None:
            # Deleted a moment ago: the rows find no table either.
            return
        item = store.get(connection, _target_key(workspace, name))
        call = self._call(connection, parent, name, columns, "PUT" if item is None else "PATCH")
        if item is None:
            Tables().put(call)
            made = store.get(connection, call.target.key)
            assert made is not None
            store.save(connection, replace(made, state={**made.state, "classic": True}))
        else:
            Tables().patch(call)

    def _call(
        self,
        connection: Connection,
        workspace: Resource,
        name: str,
        columns: Sequence[SchemaColumn],
        method: str,
    ) -> Call:
        listed = [{"name": column.name, "type": TABLE_TYPES[column.type]} for column in columns]
        body = {"properties": {"schema": {"name": name, "columns": listed}}}
        # Nobody's token is behind it: it is the workspace's own key that let the rows in.
        caller = Caller(workspace.created_by, "", self._deps.access.current.tenant, "", 0)
        path = f"{workspace.id}/tables/{name}"
        return Call.own(self._deps, connection, caller, method, path, _VERSION, body)


def _target_key(workspace: Workspace, name: str) -> str:
    return parse_path(f"{workspace.resource_id}/tables/{name}").key
