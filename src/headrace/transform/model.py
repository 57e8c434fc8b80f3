"""What the pipeline needs of its neighbours, as narrow protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from headrace.catalog.model import Catalog, Table
from headrace.catalog.rules import Rule
from headrace.journal.model import Entry
from headrace.tables.model import DataFile
from headrace.transform.run import Body, Session


class BrokenTableError(Exception):
    """The disk refused to make `table` durable: it takes nothing until it is mended."""

    def __init__(self, table: Table) -> None:
        super().__init__(f"table {table.name} is broken")
        self.table = table


class OvertakenError(Exception):
    """A batch that went before, or along, was not finished: this one has to wait for it."""


RuleSource = Callable[[str, int], Rule]
"""Any kept version of a rule by immutable id and version. Raises `LookupError` when it is not kept."""


class DerivedRules(Protocol):
    """Rules that are made of the payloads they are for (`headrace.collector.rules.CollectedRules`)."""

    def takes(self, rule: str) -> bool:
        """Whether records of this rule are its."""
        ...

    def rule(self, entry: Entry, bodies: Sequence[Body], session: Session) -> Rule:
        """The rule for these payloads, of which `entry` is one, its output tables made ready.

        Raises `LookupError` when there is nowhere for the rows to go any more, `ProblemError` when the tables
        cannot take them, and what `Session` raises.
        """
        ...


class CatalogView(Protocol):
    """The catalog as it is now (`headrace.store.live.LiveView`)."""

    @property
    def current(self) -> Catalog:
        """The catalog last loaded."""
        ...

    def refresh(self) -> bool:
        """Load it again if it changed."""
        ...


class Tables(Protocol):
    """What the pipeline asks of the tables (`headrace.tables.writer.TableStore`)."""

    def new_file(self, table: Table) -> Path:
        """A path for a new file of the table's current schema version."""
        ...

    def discard(self, table: Table, path: Path) -> None:
        """Give up a file from `new_file`."""
        ...

    def publish(self, table: Table, file: DataFile) -> None:
        """Make the file's rows visible."""
        ...

    def position(self, table: Table, app_id: str) -> int:
        """The highest offset whose rows are published or committed."""
        ...

    def durable(self, table: Table, app_id: str) -> int:
        """The highest offset whose rows nothing can take away."""
        ...

    def commit(self, table: Table) -> bool:
        """Commit what is published."""
        ...


def find_table(catalog: Catalog, workspace: str, name: str) -> Table | None:
    """A table of a workspace (lower-case ARM id)."""
    found = catalog.by_resource_id.get(workspace)
    return found.tables.get(name) if found is not None else None
