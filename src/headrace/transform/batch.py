"""What goes through the pipeline together: a batch of records, and the way of a batch's payloads into one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.catalog.model import Table
from headrace.catalog.rules import DataFlow, Rule
from headrace.journal.model import Record
from headrace.transform.run import Body

LaneKey = tuple[str, str]
"""Journal id and rule id."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The next records of a lane, all accepted under one version of the rule.

    `weight` is JSON bytes after inflate; `attempt` counts the tries that failed before.
    """

    key: LaneKey
    records: tuple[Record, ...]
    weight: int
    attempt: int = 0

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last(self) -> int:
        """Offset of the last record: no record of this lane lies between the two that is not here."""
        return self.records[-1].offset


@dataclass(frozen=True, slots=True)
class Need:
    """What must be durable before the journal may let a batch go."""

    table: Table
    app_id: str
    offset: int


@dataclass(frozen=True, slots=True)
class Payload:
    """A record with its JSON text. `undeclared`: see `headrace.transform.undeclared`."""

    record: Record
    body: Body
    undeclared: tuple[str, ...]


@dataclass(slots=True)
class Way:
    """One flow of a batch into one table. `due` are the payloads whose rows the table does not have."""

    batch: Batch
    rule: Rule
    flow: DataFlow
    workspace: str
    table: Table
    payloads: Sequence[Payload]
    position: int = -1
    due: list[Payload] = field(default_factory=list)
    published: bool = False

    @property
    def app_id(self) -> str:
        """The Delta application id of its rows."""
        return f"{self.batch.key[0]}/{self.rule.immutable_id}/{self.flow.index}"

    @property
    def records(self) -> list[Record]:
        """The payloads that are due, as records."""
        return [one.record for one in self.due]

    def need(self) -> Need | None:
        """What must be durable before the journal may forget the batch."""
        if not self.published and self.position < self.batch.first:
            return None
        offset = self.batch.last if self.published else min(self.position, self.batch.last)
        return Need(self.table, self.app_id, offset)
