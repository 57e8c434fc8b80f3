"""What deleted workspaces and tables leave behind: it is removed in time, and told as long as it takes disk.

A deleted workspace can be recovered for a while, and its tables' files stay until then. After that it is forgotten, and
the files go as those of any deleted table do.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.arm.ids import DELETED_WORKSPACE_TYPE
from headrace.arm.kinds.deleted import RECOVERABLE
from headrace.arm.store import deleted_tables, purge_workspaces, select_page
from headrace.clock import Clock
from headrace.observe.metrics import Snapshot
from headrace.store.database import Database
from headrace.tables.writer import TableStore

_MEASURE_SECONDS = 600.0


class DeletedData:
    """Call `look` now and then, from one thread at a time."""

    def __init__(self, database: Database, tables: TableStore, clock: Clock) -> None:
        self._database = database
        self._tables = tables
        self._clock = clock
        self._bytes: Mapping[str, int] | None = None
        """Of the workspaces that can be recovered, by customerId; None before the first look."""
        self._measured = 0.0

    def look(self) -> None:
        """Remove what is due. Raises `SQLAlchemyError`, `StoreError`, `OSError`: the next look tries again."""
        before = self._clock.now() - RECOVERABLE
        with self._database.read() as connection:
            records = select_page(connection, DELETED_WORKSPACE_TYPE)
        if any(record.modified < before for record in records):
            with self._database.write() as connection:
                purge_workspaces(connection, before)
        self._drop_tables()
        self._measure({record.unique_id or "" for record in records if record.modified >= before})

    def snapshot(self) -> Snapshot:
        """How many workspaces wait for their purge, and the bytes of their files."""
        if self._bytes is None:
            return {}
        return {
            "headrace_deleted_workspaces": [((), len(self._bytes))],
            "headrace_deleted_workspace_bytes": [((), sum(self._bytes.values()))],
        }

    def _drop_tables(self) -> None:
        with self._database.read() as connection:
            deleted = set(deleted_tables(connection))
        for key in self._tables.stored():
            if (key.workspace, key.name, key.incarnation) in deleted:
                self._tables.drop(key)

    def _measure(self, workspaces: set[str]) -> None:
        """Their files hardly change any more: not at every look."""
        now = self._clock.monotonic()
        if self._bytes is None or workspaces != set(self._bytes) or now - self._measured >= _MEASURE_SECONDS:
            self._bytes = {one: self._tables.stored_bytes(one) for one in workspaces}
            self._measured = now
