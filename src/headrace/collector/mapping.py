"""From properties to columns: the type suffixes of the Data Collector API, as a rule in KQL.

A property `size` becomes the column `size_d` when it is a number, `size_s` when it is a text, and so on. A
text goes into a column of another type where its table has one and the text converts; other values never do.
Source: Azure Monitor, 'HTTP Data Collector API', record type and properties.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.catalog.names import MAX_COLUMN_NAME, MAX_COLUMNS
from headrace.catalog.rules import DataFlow, Rule, Stream
from headrace.collector.model import Source
from headrace.kql.syntax.literals import bracket_text, string_text
from headrace.kql.types import KustoType, SchemaColumn

TYPES: Final[Mapping[str, KustoType]] = {
    "s": KustoType.STRING,
    "d": KustoType.REAL,
    "b": KustoType.BOOL,
    "t": KustoType.DATETIME,
    "g": KustoType.GUID,
}
"""The type of a column by its suffix."""

GUID_TEXT: Final = r"^\{?[0-9A-Fa-f]{8}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{12}\}?$"
DATE_TEXT: Final = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.]\d+)?)?([Zz]|[+-]\d{2}:?\d{2})?$"

FIXED: Final = (
    SchemaColumn("TimeGenerated", KustoType.DATETIME),
    SchemaColumn("SourceSystem", KustoType.STRING),
)
"""Columns of every collected table."""

REST: Final = "AdditionalFields"
"""What a table has no columns for: beyond the most columns, or with names that no column can have."""

_CONVERSIONS: Final = {"s": "tostring", "d": "todouble", "b": "tobool", "t": "todatetime", "g": "toguid"}
_NUMBERS: Final = '("long", "double", "int", "real", "decimal")'
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_ODD = re.compile(r"[^A-Za-z0-9_]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of value that a property has: its own suffix, and what a text also converts to."""

    property: str
    suffix: str
    is_text: bool = False
    as_number: bool = False
    as_bool: bool = False

    def fits(self, suffixes: Collection[str]) -> bool:
        """Whether a column of one of `suffixes` takes such values."""
        if self.suffix in suffixes:
            return True
        if not self.is_text:
            return False
        return "s" in suffixes or (self.as_number and "d" in suffixes) or (self.as_bool and "b" in suffixes)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns take which properties; `new` are those that the table still lacks."""

    suffixes: Mapping[str, tuple[str, ...]]
    rest: tuple[str, ...]
    new: tuple[SchemaColumn, ...]


def map_shapes(shapes: Sequence[Shape], columns: Mapping[str, KustoType], *, grow: bool) -> Columns:
    """Find a column for every shape.

    `columns` are the table's; one of another type than its suffix says takes nothing. With `grow` columns are
    added as far as a table may have more. What has none then goes into `REST`, where the table has that column
    or may get it, and else nowhere.
    """
    mapper = _Mapper(columns, grow=grow)
    for shape in sorted(shapes, key=lambda shape: (shape.property, shape.suffix)):
        mapper.take(shape)
    return mapper.columns()


class _Mapper:
    """Gives shapes their columns, one after the other; those of a property come together."""

    def __init__(self, columns: Mapping[str, KustoType], *, grow: bool) -> None:
        self._grow = grow
        self._there = set(columns)
        fixed = {column.name for column in FIXED}
        self._room = MAX_COLUMNS - len(self._there | fixed | {REST}) if grow else 0
        self._usable = {name for name, kusto in columns.items() if TYPES.get(name[-1]) is kusto}
        self._takes_rest = columns.get(REST, KustoType.DYNAMIC) is KustoType.DYNAMIC
        self._new = [column for column in FIXED if grow and column.name not in self._there]
        self._suffixes: dict[str, tuple[str, ...]] = {}
        self._rest: dict[str, None] = {}
        self._owners: dict[str, str] = {}
        """The property that has the columns of a name: another one that comes to the same name has none."""

    def take(self, shape: Shape) -> None:
        """Find a column for a shape."""
        base = column_base(shape.property)
        if base is None or self._owners.setdefault(base, shape.property) != shape.property:
            self._rest[shape.property] = None
            return
        usable = tuple(suffix for suffix in TYPES if f"{base}_{suffix}" in self._usable)
        known = self._suffixes.setdefault(shape.property, usable)
        if shape.fits(known):
            return
        if self._add(f"{base}_{shape.suffix}", TYPES[shape.suffix]):
            self._suffixes[shape.property] = (*known, shape.suffix)
        elif not known:
            del self._suffixes[shape.property], self._owners[base]
            self._rest[shape.property] = None

    def _add(self, name: str, kusto: KustoType) -> bool:
        """Make a column; whether there was room for it."""
        if self._room <= 0 or name in self._there:
            return False
        self._room -= 1
        self._there.add(name)
        self._new.append(SchemaColumn(name, kusto))
        return True

    def columns(self) -> Columns:
        """What came of all shapes."""
        if self._rest and self._grow and REST not in self._there:
            self._new.append(SchemaColumn(REST, KustoType.DYNAMIC))
            self._there.add(REST)
        return Columns(
            {name: found for name, found in self._suffixes.items() if found},
            tuple(self._rest) if self._takes_rest and REST in self._there else (),
            tuple(self._new),
        )


def column_base(name: str) -> str | None:
    """A property's name as columns have it, before the suffix; None when no column can have it."""
    base = _ODD.sub("_", name)
    return base if _NAME.fullmatch(base) and len(base) <= MAX_COLUMN_NAME else None


def make_rule(name: str, source: Source, workspace_id: str, mapping: Columns) -> Rule:
    """The rule, called `name`, that a batch of a source goes through. `workspace_id` is the workspace's ARM id."""
    names = dict.fromkeys(
        (*mapping.suffixes, *mapping.rest, *([source.time_field] if source.time_field else []))
    )
    stream = Stream(source.stream, tuple(SchemaColumn(name, KustoType.DYNAMIC) for name in names))
    transform = transform_text(source, mapping)
    flow = DataFlow(0, (source.stream,), (), (workspace_id,), source.stream, source.table, transform)
    version = zlib.crc32(transform.encode()) & 0x7FFFFFFF
    return Rule(name, version, "", "", {source.stream: stream}, (flow,))


def transform_text(source: Source, mapping: Columns) -> str:
    """The KQL that fills the columns. Names are quoted, and nothing else of a sender's stands in it."""
    time = (
        f"todatetime(tostring({bracket_text(source.time_field)}))" if source.time_field else "datetime(null)"
    )
    columns = [f"TimeGenerated = {time}", 'SourceSystem = "RestAPI"']
    if source.resource_id:
        columns.append(f'_ResourceId = "{source.resource_id}"')
    steps = ["source"]
    for number, (name, suffixes) in enumerate(mapping.suffixes.items()):
        value, base = bracket_text(name), column_base(name)
        if len(suffixes) > 1:
            steps.append(f"extend ['__c{number}'] = {_choice(value, suffixes)}")
        for suffix in suffixes:
            given = f"{_CONVERSIONS[suffix]}({value})"
            if len(suffixes) > 1:
                given = f"iff(['__c{number}'] == '{suffix}', {given}, {_CONVERSIONS[suffix]}(dynamic(null)))"
            columns.append(f"['{base}_{suffix}'] = {given}")
    if mapping.rest:
        pairs = ", ".join(f"{string_text(name)}, {bracket_text(name)}" for name in mapping.rest)
        columns.append(f"{REST} = bag_pack({pairs})")
    return " | ".join((*steps, f"project {', '.join(columns)}"))


def _choice(value: str, suffixes: Collection[str]) -> str:
    """The suffix of the column that one value goes to."""
    kind, text = f"gettype({value})", f"tostring({value})"
    cases = [f"{kind} in {_NUMBERS}, 'd'", f"{kind} == 'bool', 'b'", f"{kind} != 'string', 's'"]
    if "g" in suffixes:
        cases.append(f"{text} matches regex @'{GUID_TEXT}', 'g'")
    if "t" in suffixes:
        cases.append(f"{text} matches regex @'{DATE_TEXT}', 't'")
    if "s" not in suffixes:
        if "d" in suffixes:
            cases.append(f"isnotnull(todouble({text})), 'd'")
        if "b" in suffixes:
            cases.append(f"isnotnull(tobool({text})), 'b'")
    return f"case({', '.join(cases)}, 's')"
