"""The syntax tree of tabular operators, one class an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.kql.syntax.nodes import ColumnDeclaration, Expression, Named, Node, Operator
from headrace.kql.types import KustoType


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """`name=value` after an operator's name, such as `kind=inner` or `hint.strategy=shuffle`."""

    name: str
    value: str
    literal: Expression | None = None


@dataclass(frozen=True, slots=True)
class SortKey(Node):
    """`expression [asc|desc] [nulls first|last]`, the defaults filled in."""

    value: Expression
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Where(Operator):
    """`where predicate`."""

    predicate: Expression


@dataclass(frozen=True, slots=True)
class Extend(Operator):
    """`extend items`."""

    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Project(Operator):
    """`project items`."""

    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class ProjectAway(Operator):
    """`project-away patterns`; with `keep` it is `project-keep`."""

    patterns: tuple[Expression, ...]
    keep: bool


@dataclass(frozen=True, slots=True)
class ProjectRename(Operator):
    """`project-rename new = old`."""

    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class ReorderKey(Node):
    """A pattern of `project-reorder`; `order` is asc, desc, granny-asc, granny-desc or none."""

    pattern: Expression
    order: str | None


@dataclass(frozen=True, slots=True)
class ProjectReorder(Operator):
    """`project-reorder patterns`."""

    keys: tuple[ReorderKey, ...]


@dataclass(frozen=True, slots=True)
class ProjectByNames(Operator):
    """`project-by-names values`: the columns whose names the values give."""

    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Summarize(Operator):
    """`summarize aggregates by keys`."""

    aggregates: tuple[Named, ...]
    keys: tuple[Named, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Sort(Operator):
    """`sort by keys`."""

    keys: tuple[SortKey, ...]


@dataclass(frozen=True, slots=True)
class Top(Operator):
    """`top count by keys`."""

    count: Expression
    keys: tuple[SortKey, ...]


@dataclass(frozen=True, slots=True)
class Take(Operator):
    """`take count`; `sample` too, which only promises less."""

    count: Expression
    sample: bool = False


@dataclass(frozen=True, slots=True)
class SampleDistinct(Operator):
    """`sample-distinct count of value`."""

    count: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class Count(Operator):
    """`count [as name]`."""

    name: str


@dataclass(frozen=True, slots=True)
class Distinct(Operator):
    """`distinct items`."""

    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Join(Operator):
    """`join kind=... (right) on conditions`; with `lookup` it is the operator of that name."""

    kind: str | None
    right: Expression
    conditions: tuple[Expression, ...] | None
    settings: tuple[Setting, ...]
    lookup: bool


@dataclass(frozen=True, slots=True)
class Union(Operator):
    """`union sources`; as an operator in a pipe the input is the first source."""

    sources: tuple[Expression, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class ExpandItem(Node):
    """One column of `mv-expand` or `mv-apply`."""

    name: str | None
    value: Expression
    type: KustoType | None


@dataclass(frozen=True, slots=True)
class MvExpand(Operator):
    """`mv-expand items [limit n]`; `as_array` is `kind=array`."""

    items: tuple[ExpandItem, ...]
    as_array: bool
    index_name: str | None
    limit: Expression | None


@dataclass(frozen=True, slots=True)
class MvApply(Operator):
    """`mv-apply items on (operators)`."""

    items: tuple[ExpandItem, ...]
    index_name: str | None
    limit: Expression | None
    body: Expression


@dataclass(frozen=True, slots=True)
class PatternPart(Node):
    """A part of a `parse` pattern: a literal `text`, a `column`, or neither for `*`."""

    text: str | None
    column: str | None
    type: KustoType


@dataclass(frozen=True, slots=True)
class Parse(Operator):
    """`parse kind=... subject with pattern`; with `where`, `parse-where`."""

    kind: str
    flags: str
    subject: Expression
    parts: tuple[PatternPart, ...]
    where: bool


@dataclass(frozen=True, slots=True)
class ParseKv(Operator):
    """`parse-kv subject as (columns) with (options)`."""

    subject: Expression
    columns: tuple[ColumnDeclaration, ...]
    options: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class RenderOperator(Operator):
    """`render chart with (properties)`."""

    chart: str
    properties: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class Serialize(Operator):
    """`serialize items`."""

    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class SeriesColumn(Node):
    """An aggregate of `make-series` with the value for empty bins."""

    item: Named
    default: Expression | None


@dataclass(frozen=True, slots=True)
class MakeSeries(Operator):
    """`make-series columns on axis from low to high step step by keys`.

    `nonempty`: no rows give a series of defaults. `aligned` (`in range(...)`): bins are those of `bin()`, and
    the end is inclusive.
    """

    columns: tuple[SeriesColumn, ...]
    axis: Named
    low: Expression | None
    high: Expression | None
    step: Expression
    keys: tuple[Named, ...]
    nonempty: bool = False
    aligned: bool = False


@dataclass(frozen=True, slots=True)
class NestedLevel(Node):
    """One level of `top-nested`."""

    count: Expression | None
    value: Named
    others: Expression | None
    aggregate: Named
    descending: bool


@dataclass(frozen=True, slots=True)
class TopNested(Operator):
    """`top-nested n of a by agg, top-nested m of b by agg`."""

    levels: tuple[NestedLevel, ...]


@dataclass(frozen=True, slots=True)
class TopHitters(Operator):
    """`top-hitters n of value [by weight]`."""

    count: Expression
    value: Expression
    weight: Expression | None


@dataclass(frozen=True, slots=True)
class Partition(Operator):
    """`partition by column (operators)` or `{ query }`."""

    column: Expression
    body: Expression
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Assignment(Node):
    """`name = value` in a step of `scan`."""

    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class ScanStep(Node):
    """One step of `scan`."""

    name: str
    optional: bool
    output: str
    condition: Expression
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class ScanOperator(Operator):
    """`scan with_match_id=... declare (...) with (steps)`."""

    match_id: str | None
    columns: tuple[ColumnDeclaration, ...]
    steps: tuple[ScanStep, ...]


@dataclass(frozen=True, slots=True)
class Reduce(Operator):
    """`reduce by value with threshold=..., characters=...`; `source` (`kind=source`) keeps the rows."""

    value: Expression
    options: Mapping[str, Expression]
    source: bool = False


@dataclass(frozen=True, slots=True)
class Search(Operator):
    """`search [kind=...] [in (tables)] predicate`."""

    case_sensitive: bool
    tables: tuple[Expression, ...]
    predicate: Expression
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Find(Operator):
    """`find [withsource=name] [in (tables)] where predicate [project columns]`."""

    source_name: str
    tables: tuple[Expression, ...]
    predicate: Expression
    columns: tuple[tuple[Expression, KustoType | None], ...] | None
    pack: bool
    smart: bool


@dataclass(frozen=True, slots=True)
class Facet(Operator):
    """`facet by columns [with (operators)]`."""

    columns: tuple[Expression, ...]
    body: Expression | None


@dataclass(frozen=True, slots=True)
class Fork(Operator):
    """`fork name=(operators) ...`."""

    branches: tuple[tuple[str | None, Expression], ...]


@dataclass(frozen=True, slots=True)
class Invoke(Operator):
    """`invoke function(arguments)`."""

    call: Expression


@dataclass(frozen=True, slots=True)
class Evaluate(Operator):
    """`evaluate plugin(arguments) [: ([*,] schema)]`."""

    call: Expression
    columns: tuple[ColumnDeclaration, ...] | None
    all_columns: bool = False


@dataclass(frozen=True, slots=True)
class GetSchema(Operator):
    """`getschema`."""


@dataclass(frozen=True, slots=True)
class As(Operator):
    """`as name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Consume(Operator):
    """`consume`."""


@dataclass(frozen=True, slots=True)
class Print(Operator):
    """`print items`."""

    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class RangeSource(Operator):
    """`range name from low to high step step`."""

    name: str
    low: Expression
    high: Expression
    step: Expression


@dataclass(frozen=True, slots=True)
class DataTable(Operator):
    """`datatable (columns) [values]`."""

    columns: tuple[ColumnDeclaration, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class ExternalData(Operator):
    """`externaldata (columns) [addresses] with (properties)`."""

    columns: tuple[ColumnDeclaration, ...]
    addresses: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Refused(Operator):
    """An operator that is recognised and not supported, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Input(Operator):
    """The rows that come into a sub-pipeline, as in `mv-apply ... on (...)`."""
