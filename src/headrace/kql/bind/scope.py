"""What names mean: rows with named columns, and the chain of environments that `let` and functions make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from headrace.kql.plan.expressions import Column, Expr
from headrace.kql.plan.nodes import OrderKey, Plan, Shared, SharedPlan
from headrace.kql.plan.rewrites.sharing import closed, steady
from headrace.kql.syntax import nodes as n


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Rows at one point of a pipeline: the plan that makes them and the columns by name.

    `open`: more columns may turn up when the query runs, so an unknown name is a missing value. `broken`: a
    problem was reported before, so an unknown name says nothing new.
    `order`: the order of the rows, if `sort` or its like gave them one. `serialized`: window functions may run.
    """

    plan: Plan
    columns: tuple[Column, ...]
    order: tuple[OrderKey, ...] = ()
    serialized: bool = False
    open: bool = False
    broken: bool = False
    name: str | None = None
    _by_name: dict[str, Column] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for column in reversed(self.columns):
            self._by_name[column.name] = column

    def find(self, name: str) -> Column | None:
        """The column of that exact name."""
        return self._by_name.get(name)

    @property
    def visible(self) -> tuple[Column, ...]:
        """The columns that `*` means."""
        return tuple(column for column in self.columns if not column.hidden)

    def with_plan(self, plan: Plan) -> Relation:
        """The same names and order over another plan."""
        return replace(self, plan=plan)

    def with_columns(self, plan: Plan, columns: tuple[Column, ...]) -> Relation:
        """Other columns; the order stays."""
        return replace(self, plan=plan, columns=columns)

    def adding(self, plan: Plan, made: Iterable[Column]) -> Relation:
        """Columns added, or put in the place of those of the same name; the order stays."""
        columns = list(self.columns)
        places = {column.name: place for place, column in enumerate(columns)}
        for column in made:
            place = places.setdefault(column.name, len(columns))
            columns[place : place + 1] = [column]
        return self.with_columns(plan, tuple(columns))

    def unordered(self, plan: Plan, columns: tuple[Column, ...], *, open: bool = False) -> Relation:
        """Rows that lost their order and name."""
        return Relation(plan, columns, open=open or self.open, broken=self.broken)


@dataclass(frozen=True, slots=True, eq=False)
class ScalarBinding:
    """A name for a scalar value. `depth`: how many sub-queries enclose the rows that it reads, if it reads any."""

    value: Expr
    depth: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class QueryBinding:
    """A name for a tabular expression, bound where it is first used."""

    value: n.Expression
    environment: Environment
    rows: Relation | None = None


@dataclass(slots=True, eq=False)
class NamedRows:
    """What a name's tabular expression came to when it was first bound, and how much of the budget that took."""

    rows: Relation
    size: int
    _repeatable: bool | None = None

    @property
    def repeatable(self) -> bool:
        """Whether all readers of the name may read the same rows: it has no chance and reads no rows around it."""
        if self._repeatable is None:
            plan = self.rows.plan
            shared = plan.shared.plan if isinstance(plan, Shared) else plan
            self._repeatable = steady(shared) and closed(shared)
        return self._repeatable


@dataclass(frozen=True, slots=True, eq=False)
class SharedBinding:
    """A name for a tabular expression that several places read."""

    shared: SharedPlan
    columns: tuple[Column, ...]
    open: bool
    broken: bool


@dataclass(frozen=True, slots=True, eq=False)
class RelationBinding:
    """A name for rows already bound: a tabular argument."""

    value: n.Expression
    environment: Environment
    parameter: n.Parameter


@dataclass(frozen=True, slots=True, eq=False)
class FunctionBinding:
    """A user's function."""

    function: n.LetFunction
    environment: Environment


Binding = ScalarBinding | QueryBinding | SharedBinding | RelationBinding | FunctionBinding


class Environment:
    """Names by scope; an inner scope hides the outer one."""

    __slots__ = ("names", "outer")

    def __init__(self, outer: Environment | None = None) -> None:
        self.names: dict[str, Binding] = {}
        self.outer = outer

    def find(self, name: str) -> Binding | None:
        """What a name means here, or None."""
        scope: Environment | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None

    def snapshot(self) -> Environment:
        """What names mean at this point: a later `let` of the same name changes nothing before it."""
        copy = Environment(self.outer)
        copy.names.update(self.names)
        return copy

    def all_names(self) -> Iterator[str]:
        """Every name that can be seen from here."""
        scope: Environment | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.outer
