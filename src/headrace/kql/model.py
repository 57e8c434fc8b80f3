"""The nouns at the compiler's border: what a caller gives beside the text, and what it gets back."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from sqlglot import exp

from headrace.errors import ProblemError
from headrace.kql.types import KustoType, Schema

Functions = Literal["extended", "documented"]


class KqlError(ProblemError):
    """A KQL text that cannot be compiled; each problem has a code, a span and, where it can, a hint."""


class Output(StrEnum):
    """How a statement's columns leave the engine.

    `STORAGE`: a datetime as TIMESTAMP; timespan and decimal are refused (`KqlError`). `RESULT`: datetime
    and timespan as BIGINT ticks of 100 ns (a datetime counts from 1970-01-01 UTC).
    """

    STORAGE = "storage"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column of a statement's result: its KQL name, and the name it has in the SQL."""

    name: str
    type: KustoType
    sql_name: str


@dataclass(frozen=True, slots=True)
class ScanColumn:
    """A column that a scan must yield: the table's column `name` under the SQL name `sql_name`."""

    name: str
    type: KustoType
    sql_name: str


@dataclass(frozen=True, slots=True)
class Steps:
    """What a statement sees of times: before, at or after which of `moments` they are, and their bins.

    `moments` rise, and are ticks; `bins` are sizes, each with the moment that its bins count from.
    """

    moments: tuple[int, ...] = ()
    bins: tuple[tuple[int, int], ...] = ()

    def of(self, time: int) -> tuple[int, ...]:
        """The step of a time in ticks: two times of one step, and all between them, are the same to the statement."""
        passed = bisect_left(self.moments, time), bisect_right(self.moments, time)
        return (*passed, *((time - start) // size for size, start in self.bins))


ONE_STEP = Steps()
"""All times are the same."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One read of a table. `workspace` is None for the query's own workspace.

    `time_range` holds the first and last microsecond since 1970 of `TimeGenerated` that the statement can
    use (both inclusive, None where open); rows outside never matter, rows inside are filtered again.
    A transform has the one table `source`.

    `rows` is the SQL name of one more column, the last (type long): how many rows of the table a row stands for.
    One may stand for some that differ in nothing but their times, if those lie in one of `steps`, and if others that
    do have the first and the last of these times; any other has 1.
    """

    workspace: str | None
    table: str
    columns: tuple[ScanColumn, ...]
    time_range: tuple[int | None, int | None] = (None, None)
    rows: str | None = None
    steps: Steps = ONE_STEP


ScanProvider = Callable[[Scan], exp.Query]
"""Gives the select that yields exactly a scan's columns, and its `rows` if it has them, under their SQL names."""


class Database(Protocol):
    """What a query may name: tables, and other workspaces."""

    def find_table(self, name: str) -> Schema | None:
        """The columns of the table of that exact name, or None."""
        ...

    def table_names(self) -> Iterable[str]:
        """The names of all tables, for wildcards and hints."""
        ...

    def workspace(self, name: str) -> Database | None:
        """Another workspace by its name, id or resource id, or None."""
        ...


class Tables:
    """A database of given schemas; there is only one workspace, whatever it is called."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self.schemas = schemas

    def find_table(self, name: str) -> Schema | None:
        """See `Database`."""
        return self.schemas.get(name)

    def table_names(self) -> Iterable[str]:
        """See `Database`."""
        return self.schemas

    def workspace(self, name: str) -> Database | None:
        """See `Database`."""
        return self


class NoTables:
    """A database without tables or other workspaces."""

    def find_table(self, name: str) -> Schema | None:
        """None."""
        return None

    def table_names(self) -> Iterable[str]:
        """Nothing."""
        return ()

    def workspace(self, name: str) -> Database | None:
        """None."""
        return None


Probe = Callable[[Any], Sequence[Sequence[Any]]]
"""Takes an `api.Statement` whose columns are all strings, runs it, and gives its rows."""


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """What a query is compiled with.

    `now` is the moment of `now()` in ticks of 100 ns since 1970 (None: the moment of compiling).
    `functions` maps the name of a saved function to its KQL text `(parameters) { body }` or a bare body.
    `parameters` gives values to `declare query_parameters`. `probe` runs a small statement and gives its rows:
    `pivot` and `bag_unpack` ask it for the columns that only the data knows. Without it they add none, and
    names that would be such columns read as missing values. `filled` names the tables that may hold rows (None:
    all may): a search, or a pattern that many tables fit, looks at no others. `constants` names the columns that
    have one value throughout a table; with it (None: not) scans may be asked for `Scan.rows`.
    """

    now: int | None = None
    functions: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    probe: Probe | None = None
    outside: Literal["refuse", "declare"] = "refuse"
    filled: Collection[str] | None = None
    constants: Collection[str] | None = None


CHARTS = (
    "anomalychart",
    "areachart",
    "barchart",
    "card",
    "columnchart",
    "graph",
    "ladderchart",
    "linechart",
    "list",
    "piechart",
    "pivotchart",
    "plotly",
    "sankey",
    "scatterchart",
    "stackedareachart",
    "table",
    "timechart",
    "timeline",
    "timepivot",
    "treemap",
    "3Dchart",
)
"""What `render` draws."""


@dataclass(frozen=True, slots=True)
class Render:
    """What a `render` asks for: the chart's kind and its properties."""

    visualization: str
    properties: Mapping[str, str | int | float | bool | tuple[str, ...] | None] = field(default_factory=dict)
