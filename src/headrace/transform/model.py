"""What the pipeline needs of its neighbours, as narrow protocols where they are not its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.catalog.model import Catalog, Table
from headrace.catalog.rules import Rule
from headrace.journal.model import Entry
from headrace.observe.receipts import Receipts
from headrace.observe.usage import UsageMeter
from headrace.tables.model import DataFile
from headrace.tables.recovery import Recovered
from headrace.tables.writer import Round
from headrace.transform.dead_letters import DeadLetters
from headrace.transform.run import Body, Session
from headrace.transform.seen import SeenCalls


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


class Store(Tables, Protocol):
    """What the pipeline asks of the tables beside files (`headrace.tables.writer.TableStore`)."""

    def commit_due(self, *, everything: bool = False) -> Round:
        """Commit the tables that are due, or all."""
        ...

    def repair(self, table: Table) -> Recovered:
        """Mend a table that the disk broke; it stays closed."""
        ...

    def resume(self, table: Table) -> None:
        """Open a mended table."""
        ...


Materialise = Callable[[str, str], None]
"""Makes sure that a standard table is stored, by the workspace's customer id and the table's name."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the pipeline works with beside its journals.

    `materialise` is called before rows of a standard table that no rule names are published. `derived` makes the
    rules of records that came without one. Without `seen`, repeated calls are stored again; without `receipts` and
    `usage` nobody is told what became of the rows. `passing` are exceptions of `rules`, `catalog` and `derived` that
    tell of a trouble which passes, as a full disk does: what they keep from going on is tried again.
    """

    rules: RuleSource
    catalog: CatalogView
    tables: Store
    letters: DeadLetters
    materialise: Materialise = lambda _customer_id, _table: None
    derived: DerivedRules | None = None
    seen: SeenCalls | None = None
    receipts: Receipts | None = None
    usage: UsageMeter | None = None
    passing: tuple[type[Exception], ...] = ()


def find_table(catalog: Catalog, workspace: str, name: str) -> Table | None:
    """A table of a workspace (lower-case ARM id)."""
    found = catalog.by_resource_id.get(workspace)
    return found.tables.get(name) if found is not None else None
