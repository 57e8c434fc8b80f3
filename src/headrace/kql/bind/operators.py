"""The operators that work row by row or on one table: filter, columns, order."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from headrace.kql.bind.base import POISON, long_literal
from headrace.kql.bind.expressions import ExpressionBinder
from headrace.kql.bind.scope import Relation
from headrace.kql.model import CHARTS, Render
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Expr,
    Literal,
    Nth,
    Poison,
    Ref,
    has_window,
    is_fixed,
    ref,
)
from headrace.kql.plan.nodes import (
    Aggregate,
    Compute,
    Filter,
    Limit,
    OrderKey,
    Plan,
)
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType


class Names:
    """The column names of a result in the making: all that are taken, and those that the text itself gives."""

    __slots__ = ("declared", "taken")

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.declared: set[str] = set()


class OperatorBinder(ExpressionBinder):
    """Binds the plain operators; each method takes the rows and the operator, and gives the new rows."""

    def compute(self, rows: Relation, items: Sequence[tuple[Column, Expr]]) -> Plan:
        """The plan with computed columns added."""
        if not items:
            return rows.plan
        order = rows.order if any(has_window(value) for _, value in items) else ()
        columns = (*rows.plan.columns, *(column for column, _ in items))
        return Compute(columns, rows.plan, tuple(items), order)

    def where(self, rows: Relation, operator: t.Where) -> Relation:
        """`where`."""
        with self.row_scope(rows):
            predicate = self.bind_bool(operator.predicate, "`where`")
        return self.filtered(rows, predicate)

    def filtered(self, rows: Relation, predicate: Expr) -> Relation:
        """The rows for which a predicate holds."""
        if isinstance(predicate, Poison):
            return rows
        if has_window(predicate):
            column = self.new_column("", _T.BOOL)
            rows = rows.with_plan(self.compute(rows, [(column, predicate)]))
            predicate = ref(column)
        return rows.with_plan(Filter(rows.plan.columns, rows.plan, predicate))

    # Columns.

    def bind_items(
        self, items: Sequence[n.Named], taken: Container[str] = ()
    ) -> list[tuple[str, Expr, bool, n.Named]]:
        """Each item's column names with its value and whether the name was given; several names unpack.

        `taken`: names that a column without a name of its own must not get.
        """
        bound: list[tuple[str, Expr, bool, n.Named]] = []
        for item in items:
            if isinstance(item.value, n.Wildcard) and item.value.pattern == "*" and not item.names:
                for column in self.rows.visible if self.rows is not None else ():
                    bound.append((column.name, ref(column), False, item))
                continue
            values, names = self.unpacked(item)
            for value, name in zip(values, names, strict=True):
                bound.append((name or self.default_name(taken), value, bool(item.names), item))
        return bound

    def unpacked(self, item: n.Named) -> tuple[list[Expr], list[str | None]]:
        """An item's values with their names: several of a function that gives several, or of an array."""
        value = self.bind(item.value)
        names: list[str | None] = [*item.names]
        if isinstance(value, Poison):
            return [value] * max(len(names), 1), names or [self.own_name(item.value)]
        results = value.resolution.results if isinstance(value, Apply) else ()
        if isinstance(value, Apply) and len(results) > 1:
            automatic = self.call_names(item.value) if isinstance(item.value, n.Call) else ()
            names.extend(automatic[len(names) :])
            names.extend([None] * (len(results) - len(names)))
            return [Nth(type, value, place) for place, type in enumerate(results)], names[: len(results)]
        if isinstance(value, Apply) and value.function.columns and isinstance(item.value, n.Call):
            return self._unpacked_series(item, item.value, value)
        if len(names) < 2:
            return [value], names or [self.own_name(item.value)]
        if value.type is not _T.DYNAMIC:
            self.report("KQL0115", "Several names need a function that gives several values.", item)
            return [POISON] * len(names), names
        return [
            self.apply(item, "__index", (value, long_literal(i)), "the index") for i in range(len(names))
        ], names

    def _unpacked_series(
        self, item: n.Named, node: n.Call, value: Apply
    ) -> tuple[list[Expr], list[str | None]]:
        """The columns that a function like `series_stats` makes: one given name is the first one's, the others
        have their own; several given names leave out the columns beyond them."""
        first = self.own_name(node.arguments[0].value) if node.arguments else None
        own = [f"{node.name}_{first or ''}_{suffix}" for suffix, _ in value.function.columns]
        names: list[str | None] = (
            [*item.names] if len(item.names) > 1 else [*item.names, *own[len(item.names) :]]
        )
        if len(names) > len(own):
            self.report(
                "KQL0124", f"`{node.name}` makes {len(own)} columns, but {len(names)} are named.", item
            )
        parts = [
            self.as_type(self.apply(item, "__index", (value, long_literal(place)), "the index"), type)
            for place, (_, type) in enumerate(value.function.columns[: len(names)])
        ]
        return parts, names[: len(parts)]

    def name_columns(
        self, bound: Sequence[tuple[str, Expr, bool, n.Named]], names: Names | None = None
    ) -> list[tuple[Column, Expr]]:
        """Columns for named values; a name that is taken gets a number, one that the text gives twice is refused."""
        names = names if names is not None else Names()
        made: list[tuple[Column, Expr]] = []
        for name, value, given, item in bound:
            name = self.free_name(names, name, item, given)
            made.append((self.column_for(name, value), value))
        return made

    def free_name(self, names: Names, name: str, item: n.Named, given: bool) -> str:
        """A name for a new column: the text's own name makes way for none but another of the text's own."""
        declared = given or isinstance(item.value, n.Name)
        if name in names.taken:
            if declared and name in names.declared:
                self.report("KQL0116", f"The column `{name}` is made twice.", item)
            name = unique(name, names.taken)
        names.taken.add(name)
        if declared:
            names.declared.add(name)
        return name

    def extend(self, rows: Relation, operator: t.Extend) -> Relation:
        """`extend`: a column that exists is replaced in its place."""
        return self.extended(rows, operator.items)

    def extended(self, rows: Relation, named: Sequence[n.Named]) -> Relation:
        """Rows with items added or replaced."""
        taken = frozenset(column.name for column in rows.columns)
        with self.row_scope(rows):
            bound = self.bind_items(named, taken)
        names = Names()
        for name, _, given, item in bound:
            self.free_name(names, name, item, given)
        return self.replaced(rows, [(self.column_for(name, value), value) for name, value, _, _ in bound])

    def replaced(self, rows: Relation, items: Sequence[tuple[Column, Expr]]) -> Relation:
        """Rows with columns added, or put in the place of those of the same name."""
        return rows.adding(self.compute(rows, list(items)), (column for column, _ in items))

    def project(self, rows: Relation, operator: t.Project) -> Relation:
        """`project`."""
        with self.row_scope(rows):
            bound = self.bind_items(self.projected(operator.items))
        made = self.name_columns(bound)
        computed: list[tuple[Column, Expr]] = []
        columns: list[Column] = []
        for column, value in made:
            if isinstance(value, Ref) and value.column.name == column.name and not value.column.hidden:
                columns.append(value.column)
            else:
                computed.append((column, value))
                columns.append(column)
        return replace(rows.with_columns(self.compute(rows, computed), tuple(columns)), open=False)

    def projected(self, items: tuple[n.Named, ...]) -> Sequence[n.Named]:
        """The items of a `project` that make columns; a surface may take more than the language does."""
        return items

    def project_away(self, rows: Relation, operator: t.ProjectAway) -> Relation:
        """`project-away` and `project-keep`."""
        matched = self.matching(rows, operator.patterns)
        if operator.keep:
            columns = tuple(column for column in rows.columns if column in matched)
        else:
            columns = tuple(column for column in rows.columns if column not in matched)
        return rows.with_columns(rows.plan, columns)

    def matching(self, rows: Relation, patterns: Sequence[n.Expression]) -> set[Column]:
        """The columns that patterns name; an unknown plain name is a problem."""
        found: set[Column] = set()
        for pattern in patterns:
            if isinstance(pattern, n.Wildcard):
                found.update(column for column in rows.visible if glob(pattern.pattern, column.name))
                continue
            assert isinstance(pattern, n.Name)
            column = rows.find(pattern.name)
            if column is not None:
                found.add(column)
            elif not rows.open:
                with self.row_scope(rows):
                    self.unknown_name(pattern, pattern.name)
        return found

    def project_rename(self, rows: Relation, operator: t.ProjectRename) -> Relation:
        """`project-rename`."""
        columns = list(rows.columns)
        renamed: list[tuple[Column, Expr]] = []
        for item in operator.items:
            if len(item.names) != 1 or not isinstance(item.value, n.Name):
                self.report("KQL0117", "`project-rename` takes `new = old`.", item)
                continue
            column = rows.find(item.value.name)
            if column is None:
                with self.row_scope(rows):
                    self.unknown_name(item.value, item.value.name)
                continue
            if column not in columns:
                self.report("KQL0116", f"The column `{column.name}` is renamed twice.", item)
                continue
            new = self.new_column(item.names[0], column.type)
            if item.names[0] in (other.name for other in columns) and item.names[0] != column.name:
                self.report("KQL0116", f"The column `{item.names[0]}` is made twice.", item)
                continue
            renamed.append((new, ref(column)))
            columns[columns.index(column)] = new
        return rows.with_columns(self.compute(rows, renamed), tuple(columns))

    def project_reorder(self, rows: Relation, operator: t.ProjectReorder) -> Relation:
        """`project-reorder`: the named columns first, the others as they were."""
        front: list[Column] = []
        for key in operator.keys:
            found = [column for column in rows.columns if column in self.matching(rows, [key.pattern])]
            found = [column for column in found if column not in front]
            if key.order is not None:
                granny = key.order.startswith("granny")
                found.sort(
                    key=lambda column: _natural(column.name) if granny else [column.name],
                    reverse=key.order.endswith("desc"),
                )
            front.extend(found)
        rest = [column for column in rows.columns if column not in front]
        return rows.with_columns(rows.plan, (*front, *rest))

    def project_by_names(self, rows: Relation, operator: t.ProjectByNames) -> Relation:
        """`project-by-names`: the columns whose names the values give."""
        found: list[Column] = []
        for node in operator.values:
            value = self.bind(node)
            names: Any = value.constant.value if value.constant is not None else None
            if value.type is _T.DYNAMIC and isinstance(names, str):
                names = json.loads(names)
            for name in names if isinstance(names, list) else [names]:
                if not isinstance(name, str):
                    self.report("KQL0114", "`project-by-names` needs constant names.", node)
                    continue
                matches = [column for column in rows.visible if glob(name, column.name)]
                found.extend(column for column in matches if column not in found)
        return rows.with_columns(rows.plan, tuple(found))

    # Order.

    def keyed(self, value: Expr, node: n.Node, what: str) -> Expr:
        """A value that rows are told apart or ordered by: never a dynamic one."""
        if value.type is not _T.DYNAMIC or value.argument.untyped or isinstance(value, Poison):
            return value
        if self.rows is not None and (self.rows.open or self.rows.broken):
            return value
        hint = "Convert it, as by `tostring()`."
        self.report("KQL0129", f"A dynamic value cannot be {what}.", node, hint)
        return POISON

    def order_keys(
        self, rows: Relation, keys: Sequence[t.SortKey], *, dynamic: bool
    ) -> tuple[Relation, tuple[OrderKey, ...]]:
        """Sort keys over columns; an expression becomes a column without a name. `dynamic`: it may be such a value."""
        items: list[tuple[Column, Expr]] = []
        order: list[OrderKey] = []
        with self.row_scope(rows):
            for key in keys:
                value = self.bind(key.value)
                if not dynamic:
                    value = self.keyed(value, key, "what rows are sorted by")
                if isinstance(value, Poison) or is_fixed(value):
                    continue
                if value.type is _T.DYNAMIC:
                    self.warn("KQL0303", "Rows are ordered by a dynamic value.", key, "Convert it first.")
                for part, descending, nulls_first in self._sorted_by(value, key):
                    if not isinstance(part, Ref):
                        column = self.column_for("", part)
                        items.append((column, part))
                        part = ref(column)
                    order.append(OrderKey(part, descending, nulls_first))
        return rows.with_plan(self.compute(rows, items)), tuple(order)

    def _sorted_by(self, value: Expr, key: t.SortKey) -> list[tuple[Expr, bool, bool]]:
        """What a key compares, with its direction and whether nulls come first: numbers in dynamic values are
        compared as numbers and come before texts."""
        if value.type is not _T.DYNAMIC:
            return [(value, key.descending, key.nulls_first)]
        return [
            (self.call("isnotnull", value), not key.nulls_first, False),
            (self.as_type(value, _T.REAL), key.descending, key.descending),
            (self.as_type(value, _T.STRING), key.descending, False),
        ]

    def sort(self, rows: Relation, operator: t.Sort) -> Relation:
        """`sort`."""
        rows, order = self.order_keys(rows, operator.keys, dynamic=False)
        return replace(rows, order=order, serialized=True)

    def top(self, rows: Relation, operator: t.Top) -> Relation:
        """`top`."""
        count = self.row_count(operator.count, "`top`")
        rows, order = self.order_keys(rows, operator.keys, dynamic=True)
        plan = Limit(rows.plan.columns, rows.plan, count, order)
        return replace(rows, plan=plan, order=order, serialized=True)

    def row_count(self, node: n.Expression, what: str) -> Expr:
        """A number of rows, which no column may decide."""
        with self.row_scope(None):
            value = self.bind(node)
        if not isinstance(value, Poison) and value.type not in (_T.LONG, _T.INT, _T.REAL, _T.DYNAMIC):
            self.report("KQL0118", f"{what} takes a number of rows, not a {value.type}.", node)
            return Literal(_T.LONG, 0)
        value = self.as_type(value, _T.LONG)
        constant = value.constant
        if constant is not None and isinstance(constant.value, int) and constant.value < 0:
            self.report("KQL0118", f"{what} takes a number of rows from 0.", node)
        return Literal(_T.LONG, 0) if isinstance(value, Poison) else value

    def take(self, rows: Relation, operator: t.Take) -> Relation:
        """`take` and `sample`."""
        count = self.row_count(operator.count, "`take`")
        return rows.with_plan(Limit(rows.plan.columns, rows.plan, count, rows.order))

    def sample_distinct(self, rows: Relation, operator: t.SampleDistinct) -> Relation:
        """`sample-distinct`."""
        count = self.row_count(operator.count, "`sample-distinct`")
        with self.row_scope(rows):
            value = self.keyed(self.bind(operator.value), operator.value, "told apart by `sample-distinct`")
        column = self.column_for(self.own_name(operator.value) or "Column1", value)
        plan = Aggregate((column,), rows.plan, ((column, value),), ())
        return rows.unordered(Limit((column,), plan, count, ()), (column,))

    def serialize(self, rows: Relation, operator: t.Serialize) -> Relation:
        """`serialize`."""
        rows = replace(rows, serialized=True)
        return self.extended(rows, operator.items) if operator.items else rows

    # The end of a pipeline.

    def render_operator(self, rows: Relation, operator: t.RenderOperator) -> Relation:
        """`render`: what to draw goes with the statement."""
        properties: dict[str, str | int | float | bool | tuple[str, ...] | None] = {}
        for name, node in operator.properties.items():
            if isinstance(node, n.Name):
                properties[name] = node.name
            elif isinstance(node, n.Literal):
                value = node.value
                properties[name] = value if isinstance(value, str | int | float | bool) else None
            else:
                self.report("KQL0123", f"The property `{name}` of `render` must be a constant.", node)
        if operator.chart not in CHARTS:
            hint = self.did_you_mean(operator.chart, CHARTS)
            message = f"`render` draws no `{operator.chart}`."
            self.report("KQL0127", message, operator, hint or f"There are {', '.join(CHARTS)}.")
        self.render = Render(operator.chart, properties)
        return rows


def unique(name: str, taken: set[str]) -> str:
    """`name` with the first number that makes it new."""
    number = 1
    while f"{name}{number}" in taken:
        number += 1
    return f"{name}{number}"


def free_name(name: str, taken: set[str]) -> str:
    """`name`, with a number where it is taken; then it is taken."""
    free = unique(name, taken) if name in taken else name
    taken.add(free)
    return free


def glob(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern with `*`, in time linear in both."""
    head, *parts = pattern.split("*")
    if not parts:
        return pattern == name
    tail = parts.pop()
    if not name.startswith(head) or not name.endswith(tail) or len(name) < len(head) + len(tail):
        return False
    position, end = len(head), len(name) - len(tail)
    for part in parts:
        found = name.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def _natural(name: str) -> list[Any]:
    """A name's texts and numbers by turns, so that `a2` sorts before `a10`."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]
