"""Relational nodes. `columns` are what a node yields; a node above may read them and no others.

There is no projection: an operator that renames or drops columns only changes what names mean, and pruning
narrows `columns` to what is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from headrace.kql.model import ONE_STEP, Steps
from headrace.kql.plan.expressions import Apply, Column, Expr
from headrace.kql.types import KustoType


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A relational node."""

    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OrderKey:
    """One key of an order of rows."""

    value: Expr
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True, eq=False)
class TableScan(Plan):
    """The rows of a table. `names` gives the table's column behind each of `columns`.

    `rows` is one more column, the last: with it a row may stand for that many, whose times lie in one of `steps`.
    """

    workspace: str | None
    table: str
    names: tuple[str, ...]
    time_range: tuple[int | None, int | None] = (None, None)
    rows: Column | None = None
    steps: Steps = ONE_STEP


@dataclass(frozen=True, slots=True, eq=False)
class Rows(Plan):
    """Literal rows; `Rows((), ((),))` is the one row without columns."""

    values: tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sequence(Plan):
    """`range`: the values from `low` to `high` by `step`."""

    low: Expr
    high: Expr
    step: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Filter(Plan):
    """The rows for which `predicate` is true."""

    input: Plan
    predicate: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Compute(Plan):
    """The input's rows with computed columns. `order` is the rows' order, for window functions."""

    input: Plan
    items: tuple[tuple[Column, Expr], ...]
    order: tuple[OrderKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate(Plan):
    """One row a group. An aggregate that makes several columns has several. Without keys: always one row."""

    input: Plan
    keys: tuple[tuple[Column, Expr], ...]
    aggregates: tuple[tuple[tuple[Column, ...], Apply], ...]
    order: tuple[OrderKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Limit(Plan):
    """The first `count` rows of an order; `partition` makes it the first of each group."""

    input: Plan
    count: Expr
    order: tuple[OrderKey, ...]


class JoinKind(StrEnum):
    """The kinds of `join`."""

    INNER = "inner"
    INNERUNIQUE = "innerunique"
    LEFTOUTER = "leftouter"
    RIGHTOUTER = "rightouter"
    FULLOUTER = "fullouter"
    LEFTSEMI = "leftsemi"
    LEFTANTI = "leftanti"
    RIGHTSEMI = "rightsemi"
    RIGHTANTI = "rightanti"


@dataclass(frozen=True, slots=True, eq=False)
class Join(Plan):
    """A join on equal pairs. Columns of a side that an outer join misses read as that type's missing value:
    `filled` maps such string columns to new ones that hold "" there."""

    left: Plan
    right: Plan
    kind: JoinKind
    pairs: tuple[tuple[Expr, Expr], ...]
    filled: tuple[tuple[Column, Column], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Union(Plan):
    """The rows of all inputs; each input gives expressions for the columns that it has, the others are missing."""

    inputs: tuple[tuple[Plan, Mapping[Column, Expr]], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ExpandItem:
    """A dynamic value to be spread over rows into `column`, converted to `type`."""

    column: Column
    value: Expr
    type: KustoType


@dataclass(frozen=True, slots=True, eq=False)
class Expand(Plan):
    """`mv-expand`: a row for each element. `index` is the element's place, from 0."""

    input: Plan
    items: tuple[ExpandItem, ...]
    index: Column | None
    as_array: bool
    limit: Expr | None
    keep_empty: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Correlated(Plan):
    """For each input row, the rows of `body`, which reads the input's columns (`mv-apply`)."""

    input: Plan
    body: Plan


@dataclass(frozen=True, slots=True, eq=False)
class Shared(Plan):
    """Rows that several places may read: `columns` stand for `origin` of the plan `shared`."""

    shared: SharedPlan
    origin: tuple[Column, ...]


@dataclass(slots=True, eq=False)
class SharedPlan:
    """The plan behind several `Shared` nodes. Those that it reads itself have lower numbers.

    `once`: it is computed once whatever it costs (`materialize`). The binder's are never changed; `settle` makes a
    statement's own, whose `plan` the later rewrites replace.
    """

    number: int
    plan: Plan
    once: bool = True

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return f"m{self.number}"


@dataclass(frozen=True, slots=True, eq=False)
class Rank(Plan):
    """The place of each row in its group, from 1, in `place`."""

    input: Plan
    place: Column
    partition: tuple[Expr, ...]
    order: tuple[OrderKey, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A part of a parse pattern: literal `text`, a `column` of `type`, or neither for `*`."""

    text: str | None
    column: Column | None
    type: KustoType


@dataclass(frozen=True, slots=True, eq=False)
class Parse(Plan):
    """`parse`: pattern columns computed from `subject`. `matched` is whether the whole pattern matched."""

    input: Plan
    subject: Expr
    kind: str
    flags: str
    parts: tuple[Pattern, ...]
    matched: Column | None


@dataclass(frozen=True, slots=True, eq=False)
class SplitPairs(Plan):
    """`parse-kv`: columns found by name among the key and value pairs of `subject`.

    Without delimiters all that is no letter or digit is one.
    """

    input: Plan
    subject: Expr
    fields: tuple[tuple[Column, str], ...]
    pair_delimiters: str
    kv_delimiters: str
    quotes: str
    escape: str
    regex: str | None
    greedy: bool


@dataclass(frozen=True, slots=True, eq=False)
class Series(Plan):
    """`make-series`: for each group an array per output over the bins of the axis.

    `outputs` are expressions over the aggregates of one bin, each with its value for a bin without rows.
    """

    input: Plan
    axis: Expr
    axis_column: Column
    low: Expr | None
    high: Expr | None
    step: Expr
    keys: tuple[tuple[Column, Expr], ...]
    aggregates: tuple[tuple[tuple[Column, ...], Apply], ...]
    outputs: tuple[tuple[Column, Expr, Expr], ...]
    nonempty: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScanStep:
    """A step of `scan`, bound: assignments by declared column, reading `state` and row columns."""

    condition: Expr
    assignments: tuple[tuple[int, Expr], ...]
    output: str
    optional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class MatchRows(Plan):
    """`scan`: rows in order through a state machine. `declared` are its columns with defaults.

    `states[i]` stands for what step i last took: first the declared columns, then `row_columns`. `place` orders
    the rows that come out.
    """

    input: Plan
    order: tuple[OrderKey, ...]
    declared: tuple[tuple[Column, Expr], ...]
    row_columns: tuple[Column, ...]
    steps: tuple[ScanStep, ...]
    states: tuple[tuple[Column, ...], ...]
    match_id: Column | None
    place: Column
