"""What the editor service takes and gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.kql.model import Database, Functions, NoTables, QueryOptions
from headrace.kql.profile import Profile, TransformProfile
from headrace.kql.types import Schema


class ItemKind(StrEnum):
    """What a completion stands for; the values are the names of LSP's kinds where it has one."""

    OPERATOR = "operator"
    KEYWORD = "keyword"
    COLUMN = "column"
    TABLE = "table"
    FUNCTION = "function"
    AGGREGATE = "aggregate"
    VARIABLE = "variable"
    VALUE = "value"


class Severity(StrEnum):
    """How grave a diagnostic is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class CompletionItem:
    """One thing that may be typed: `insert` replaces the characters from `start` up to `end`.

    `detail` is a type, a signature or the operator's syntax; `documentation` a sentence in Markdown.
    """

    label: str
    kind: ItemKind
    detail: str
    documentation: str
    insert: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hover:
    """What stands under the cursor: `title` is code, `text` Markdown; it covers `start` up to `end`."""

    title: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One way to call a function; `parameters` holds each parameter's start and end in `label`."""

    label: str
    parameters: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SignatureHelp:
    """The call around the cursor: which signature fits what is typed, and which parameter is being typed.

    `parameter` is an index into the active signature's parameters; None when there are more arguments than
    it takes.
    """

    name: str
    signatures: tuple[SignatureLine, ...]
    active: int
    parameter: int | None
    documentation: str


@dataclass(frozen=True, slots=True)
class Target:
    """What a text is compiled against: the tables of a database, or a transform's one table `source`."""

    database: Database = field(default_factory=NoTables)
    options: QueryOptions = field(default_factory=QueryOptions)
    source: Schema | None = None
    functions: Functions = "extended"

    @classmethod
    def query(cls, database: Database, options: QueryOptions | None = None) -> Target:
        """A query over a database."""
        return cls(database, options or QueryOptions())

    @classmethod
    def transform(cls, source: Schema, functions: Functions = "extended") -> Target:
        """A transform over the columns of a stream."""
        return cls(source=source, functions=functions)

    @property
    def profile(self) -> Profile:
        """What the text may use."""
        if self.source is None:
            return Profile()
        return TransformProfile(documented=self.functions == "documented")

    def table_names(self) -> Iterable[str]:
        """The tables that a text may name."""
        return self.database.table_names() if self.source is None else ("source",)
