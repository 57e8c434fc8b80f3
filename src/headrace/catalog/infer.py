"""Columns inferred from sample records, as the portal's wizard does, with the rule that fills them.

Whole numbers are long, other numbers real, texts that are ISO 8601 times datetime, objects and arrays dynamic.
Values of different kinds make a real (numbers), else a dynamic where objects are among them, else a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.catalog.names import MAX_COLUMN_NAME, RESERVED_COLUMNS, column_fault
from headrace.catalog.schema import TIME_GENERATED
from headrace.kql.syntax.literals import name_text
from headrace.kql.types import KustoType

_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([Zz]|[+-]\d{2}:?\d{2})?", re.ASCII
)
_ODD = re.compile(r"[^A-Za-z0-9_]+", re.ASCII)
_TIME_NAMES = (
    "timegenerated",
    "timestamp",
    "time",
    "datetime",
    "eventtime",
    "eventtimestamp",
    "createdat",
    "date",
    "ts",
)
_MAX_INT = 2**63


@dataclass(frozen=True, slots=True)
class InferredColumn:
    """A property of the records and the column for it; `seen` counts the records that have a value."""

    property: str
    name: str
    type: KustoType
    seen: int


@dataclass(frozen=True, slots=True)
class Inferred:
    """The columns of a set of records, and the property that tells when each happened, if one does."""

    columns: tuple[InferredColumn, ...]
    time: InferredColumn | None

    @property
    def transform(self) -> str:
        """The KQL from the stream's properties to the table's columns."""
        steps = ["source"]
        taken = {column.property for column in self.columns}
        if self.time is not None and self.time.property != TIME_GENERATED:
            time = name_text(self.time.property)
            steps.append(f"extend {TIME_GENERATED} = iif(isnull({time}), now(), {time})")
        elif TIME_GENERATED not in taken:
            steps.append(f"extend {TIME_GENERATED} = now()")
        renamed = [c for c in self.columns if c.name != c.property]
        if renamed:
            steps.append(
                "project-rename " + ", ".join(f"{c.name} = {name_text(c.property)}" for c in renamed)
            )
        return " | ".join(steps) if len(steps) > 1 else "source"

    @property
    def table_columns(self) -> tuple[tuple[str, KustoType], ...]:
        """The table's columns by name, `TimeGenerated` first."""
        rest = [(column.name, column.type) for column in self.columns if column.name != TIME_GENERATED]
        return ((TIME_GENERATED, KustoType.DATETIME), *rest)


def infer(records: Iterable[Mapping[str, Any]]) -> Inferred:
    """The columns that records need, in the order in which their properties first appear."""
    kinds: dict[str, set[KustoType]] = {}
    seen: dict[str, int] = {}
    for record in records:
        for name, value in record.items():
            found = kinds.setdefault(name, set())
            if value is not None:
                found.add(_kind(value))
                seen[name] = seen.get(name, 0) + 1
    taken = {TIME_GENERATED}
    columns = tuple(
        InferredColumn(name, _column_name(name, taken), _joined(found, name), seen.get(name, 0))
        for name, found in kinds.items()
    )
    return Inferred(columns, _time_column(columns))


def _kind(value: Any) -> KustoType:
    if isinstance(value, bool):
        return KustoType.BOOL
    if isinstance(value, int):
        return KustoType.LONG if -_MAX_INT <= value < _MAX_INT else KustoType.REAL
    if isinstance(value, float):
        return KustoType.REAL
    if isinstance(value, str):
        return KustoType.DATETIME if _TIME.fullmatch(value.strip()) else KustoType.STRING
    return KustoType.DYNAMIC


def _joined(kinds: set[KustoType], name: str) -> KustoType:
    if name == TIME_GENERATED:
        return KustoType.DATETIME
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds and kinds <= {KustoType.LONG, KustoType.REAL}:
        return KustoType.REAL
    return KustoType.DYNAMIC if KustoType.DYNAMIC in kinds else KustoType.STRING


def _column_name(name: str, taken: set[str]) -> str:
    """A name that a column can have, near the property's own; the time's is for the property of that very name."""
    if name == TIME_GENERATED:
        return name
    base = _ODD.sub("_", name).strip("_")
    if not base or not base[0].isalpha():
        base = f"Column_{base}".rstrip("_")
    base = base[:MAX_COLUMN_NAME]
    if name in RESERVED_COLUMNS or column_fault(base):
        base = f"{base[: MAX_COLUMN_NAME - 6]}_Value"
    made, number = base, 1
    while made in taken:
        number += 1
        made = f"{base[: MAX_COLUMN_NAME - 4]}_{number}"
    taken.add(made)
    return made


def _time_column(columns: Iterable[InferredColumn]) -> InferredColumn | None:
    """`TimeGenerated` itself, else the time that is named most like one."""
    times = {
        _ODD.sub("", column.property).replace("_", "").lower(): column
        for column in columns
        if column.type is KustoType.DATETIME
    }
    return next((times[name] for name in _TIME_NAMES if name in times), next(iter(times.values()), None))
