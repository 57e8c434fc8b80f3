"""Microsoft's standard tables: their names, columns and whether direct ingestion may write to them.

The list is package data (`data/standard_tables.json`), read once, when it is first asked for; a table's
columns are parsed when that table is.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Self

import msgspec

from headrace.catalog.model import Column, Table, TableSchema
from headrace.catalog.names import SYSTEM_COLUMNS, assign_physical
from headrace.catalog.system import query_schema
from headrace.kql.types import Schema, SchemaColumn, parse_type

_ONCE_LISTED = frozenset({"AWSEKSLogs", "GCPLoadBalancer"})
_NAMESPACE = uuid.UUID("6d0f5a0e-5a4b-4f3e-9b0b-7f4d5c1f0a11")


@dataclass(frozen=True, slots=True)
class StandardTable:
    """A standard table. `columns` leaves out those that Headrace computes for every table.

    `ingestion` tells whether Azure's feature list lets direct ingestion write to it; None when the list no
    longer has the table.
    """

    name: str
    ingestion: bool | None
    columns: tuple[SchemaColumn, ...]

    @property
    def takes_rows(self) -> bool:
        """Whether a custom stream may be sent to the table.

        Tables that Azure's list once had and no longer has are taken too: rules for them exist.
        """
        return self.ingestion is not False or self.name.startswith("UA") or self.name in _ONCE_LISTED

    def schema(self) -> TableSchema:
        """The columns as version 1 of a table's schema, with ids and physical names."""
        return _schema(self.name)


_OWN: Mapping[str, tuple[bool | None, str]] = {
    "HeadraceAudit": (
        False,
        "TimeGenerated datetime,Category string,OperationName string,Result string,StatusCode int,"
        "ResultCode string,PrincipalId string,ClientId string,Issuer string,CallerIpAddress string,"
        "CorrelationId string,Scope string,Details string,ChainId string,Sequence long,PreviousHash string,"
        "Hash string",
    )
}
"""Tables of Headrace itself. They are known in every workspace like Microsoft's, and listed where they have rows."""


@cache
def _data() -> dict[str, tuple[bool | None, str]]:
    text = resources.files("headrace.catalog.data").joinpath("standard_tables.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, tuple[bool | None, str]])


def names() -> tuple[str, ...]:
    """The names of all of Microsoft's standard tables, sorted."""
    return tuple(_data())


def is_standard(name: str) -> bool:
    """Whether this exact name is a standard table's, Headrace's own included."""
    return name in _data() or name in _OWN


@lru_cache(maxsize=2048)
def find(name: str) -> StandardTable | None:
    """The standard table of this exact name, Headrace's own included, or None."""
    entry = _OWN.get(name) or _data().get(name)
    if entry is None:
        return None
    ingestion, text = entry
    columns = []
    for part in text.split(","):
        column, _, type_name = part.partition(" ")
        kusto = parse_type(type_name)
        if kusto is None:
            raise ValueError(f"the package data has an unknown type: {name}.{column} {type_name}")
        if column not in SYSTEM_COLUMNS:
            columns.append(SchemaColumn(column, kusto))
    return StandardTable(name, ingestion, tuple(columns))


@lru_cache(maxsize=2048)
def _schema(name: str) -> TableSchema:
    table = find(name)
    assert table is not None
    taken: set[str] = set()
    columns = []
    for number, column in enumerate(table.columns, 1):
        physical = assign_physical(column.name, taken)
        columns.append(Column(number, column.name, column.type, physical))
    return TableSchema(1, tuple(columns))


def find_stream(stream: str) -> StandardTable | None:
    """The standard table whose columns a `Microsoft-<Table>` stream has, or None."""
    prefix, _, name = stream.partition("-")
    return find(name) if prefix == "Microsoft" else None


def incarnation(customer_id: str, name: str) -> str:
    """The incarnation of a standard table in a workspace: it cannot be deleted, so there is only one.

    It follows from the workspace and the name, so that a table has it before anything about it is stored.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{customer_id.lower()}/{name}"))


def untouched(customer_id: str, name: str) -> Table | None:
    """A standard table of a workspace that nobody has changed; None when there is no such standard table."""
    table = find(name)
    if table is None:
        return None
    return Table(customer_id, name, incarnation(customer_id, name), (table.schema(),))


class WorkspaceTables(Mapping[str, Table]):
    """All tables of a workspace: those stored, and every standard table that is not.

    The standard ones are made when they are asked for. `stored` holds the others.
    """

    __slots__ = ("_customer_id", "_made", "stored")

    def __init__(self, customer_id: str, stored: Mapping[str, Table]) -> None:
        self.stored = dict(stored)
        self._customer_id = customer_id
        self._made: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        table = self.stored.get(name) or self._made.get(name)
        if table is not None:
            return table
        made = untouched(self._customer_id, name)
        if made is None:
            raise KeyError(name)
        # Two threads may both make it; they make equal ones.
        return self._made.setdefault(name, made)

    def __contains__(self, name: object) -> bool:
        return name in self.stored or (isinstance(name, str) and is_standard(name))

    def __iter__(self) -> Iterator[str]:
        yield from self.stored
        yield from (name for name in names() if name not in self.stored)

    def __len__(self) -> int:
        return len(self.stored) + sum(1 for name in names() if name not in self.stored)


class StandardTables:
    """A database, for compiling, of Microsoft's standard tables; other workspaces look the same."""

    def find_table(self, name: str) -> Schema | None:
        """The columns of a standard table, the system columns included."""
        return _standard_schema(name)

    def table_names(self) -> Iterable[str]:
        """Every standard table."""
        return names()

    def workspace(self, name: str) -> Self:
        """Any workspace has the standard tables."""
        return self


@cache
def _standard_schema(name: str) -> Schema | None:
    table = untouched("", name)
    return query_schema(table) if table is not None else None
