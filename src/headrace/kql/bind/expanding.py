"""Operators over sub-queries and over elements: join, union, mv-expand, mv-apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.kql.bind.base import BindProblem
from headrace.kql.bind.functions.registry import conversion_cure
from headrace.kql.bind.operators import free_name
from headrace.kql.bind.queries import UNKNOWN, QueryBinder
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.depth import inputs_of
from headrace.kql.plan.expressions import (
    Column,
    Expr,
    Literal,
    Poison,
    ScalarQuery,
    columns_of,
    has_window,
    ref,
    walk,
)
from headrace.kql.plan.nodes import Compute, Correlated, Expand, ExpandItem, OrderKey, Plan, Rows
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType


def _windows_over(plan: Plan, outer: set[Column]) -> bool:
    """Whether a window function of a sub-query reads the row that the sub-query runs for: no engine can."""
    computes: list[Compute] = []
    stack = [plan]
    while stack:
        node = stack.pop()
        if isinstance(node, Compute):
            computes.append(node)
        stack.extend(inputs_of(node))
    for node in reversed(computes):
        for column, value in node.items:
            if columns_of(value) & outer:
                if has_window(value):
                    return True
                outer = outer | {column}
    return False


class ExpandingBinder(QueryBinder):
    """Binds the operators that bring other rows in, or make rows of elements."""

    def join(self, rows: Relation, operator: t.Join) -> Relation:
        """`join` and `lookup`."""
        with self.row_scope(None):
            right = self.relation(operator.right)
        if (rows.broken and not rows.columns) or (right.broken and not right.columns):
            return replace(rows, broken=True)
        return self.join_relations(rows, right, operator)

    def union(self, rows: Relation | None, operator: t.Union) -> Relation:
        """`union`, as a source or after a bar."""
        settings = {setting.name: setting for setting in operator.settings}
        kind = settings["kind"].value if "kind" in settings else "outer"
        if kind not in ("inner", "outer"):
            self.fail("KQL0127", f"`union` has no kind `{kind}`.", operator, "The kinds are inner and outer.")
        fuzzy = "isfuzzy" in settings and settings["isfuzzy"].value.lower() in ("true", "1")
        source = settings.get("withsource") or settings.get("with_source")
        inputs: list[tuple[str, Relation]] = []
        if rows is not None:
            inputs.append((rows.name or "union_arg0", rows))
        with self.row_scope(None):
            for node in operator.sources:
                inputs.extend(self._union_inputs(node, fuzzy, len(inputs)))
        known = [(label, side) for label, side in inputs if side.columns or not side.broken]
        if not known:
            return UNKNOWN
        result = self.union_relations(
            known, inner=kind == "inner", source_name=source.value if source else None
        )
        if len(known) < len(inputs):
            return replace(result, open=True)
        return result

    def _union_inputs(self, node: n.Expression, fuzzy: bool, place: int) -> list[tuple[str, Relation]]:
        before = len(self.problems)
        try:
            if isinstance(node, n.Wildcard):
                inputs = [(name, self._named_table(node, name)) for name in self.tables_like(node)]
            else:
                rows = self.relation(node)
                inputs = [(rows.name or f"union_arg{place}", rows)]
        except BindProblem:
            if not fuzzy or len(self.problems) == before:
                raise
            inputs = []
        missing = [problem for problem in self.problems[before:] if problem.code == "KQL0131"]
        if fuzzy and missing and len(missing) == len(self.problems) - before:
            del self.problems[before:]
            self.warnings.extend(missing)
            return []
        return inputs

    def expand_items(
        self, rows: Relation, items: tuple[t.ExpandItem, ...], what: str
    ) -> tuple[Relation, list[tuple[str, Expr, KustoType]]]:
        """The values that `mv-expand` and `mv-apply` spread: name, value, element type; and rows to read them of."""
        bound: list[tuple[str, Expr, KustoType]] = []
        computed: list[tuple[Column, Expr]] = []
        with self.row_scope(rows):
            for item in items:
                value = self.bind(item.value)
                if isinstance(value, Poison):
                    value = Literal(_T.DYNAMIC, None)
                if value.type is not _T.DYNAMIC:
                    hint = conversion_cure([_T.DYNAMIC]) if value.type is _T.STRING else None
                    self.report("KQL0138", f"`{what}` spreads dynamic values, not {value.type}.", item, hint)
                    value = Literal(_T.DYNAMIC, None)
                if any(isinstance(part, ScalarQuery) for part in walk(value)):
                    # Spreading names the value several times, in places where no engine takes a sub-query.
                    held = self.column_for("", value)
                    computed.append((held, value))
                    value = ref(held)
                name = item.name or self.own_name(item.value) or "Column1"
                bound.append((name, value, item.type or _T.DYNAMIC))
        return rows.with_plan(self.compute(rows, computed)), bound

    def _index_column(
        self, rows: Relation, name: str | None, bound: Sequence[tuple[str, Expr, KustoType]]
    ) -> Column:
        """The column of an element's place, beside those of the rows and of the elements."""
        taken = {*(column.name for column in rows.columns), *(element for element, _, _ in bound)}
        return self.new_column(free_name(name, taken) if name else "", _T.LONG)

    def mv_expand(self, rows: Relation, operator: t.MvExpand) -> Relation:
        """`mv-expand`."""
        rows, bound = self.expand_items(rows, operator.items, "mv-expand")
        index = self._index_column(rows, operator.index_name, bound)
        made = [(self.new_column(name, type), value, type) for name, value, type in bound]
        items = tuple(ExpandItem(column, value, type) for column, value, type in made)
        limit = self.row_count(operator.limit, "`mv-expand`") if operator.limit is not None else None
        columns = (*rows.plan.columns, *(column for column, _, _ in made), index)
        plan = Expand(columns, rows.plan, items, index, operator.as_array, limit)
        result = rows.adding(plan, (column for column, _, _ in made))
        if operator.index_name:
            result = result.with_columns(plan, (*result.columns, index))
        if rows.order:
            order = (*rows.order, OrderKey(ref(index), False, False))
            result = replace(result, order=order)
        return result

    def mv_apply(self, rows: Relation, operator: t.MvApply) -> Relation:
        """`mv-apply`: the sub-query runs over each row's elements."""
        rows, bound = self.expand_items(rows, operator.items, "mv-apply")
        row = self.new_column("", _T.LONG)
        rows = rows.with_plan(self.compute(rows, [(row, self.call("row_number"))]))
        index = self._index_column(rows, operator.index_name, bound)
        made = [(self.new_column(name, type), value, type) for name, value, type in bound]
        items = tuple(ExpandItem(column, value, type) for column, value, type in made)
        limit = self.row_count(operator.limit, "`mv-apply`") if operator.limit is not None else None
        elements = tuple(column for column, _, _ in made)
        expand = Expand((*elements, index), Rows((), ((),)), items, index, False, limit, keep_empty=False)
        replaced = {column.name for column in elements}
        outer = tuple(column for column in rows.columns if column.name not in replaced)
        own = (*elements, index) if operator.index_name else elements
        inner = Relation(expand, (*outer, *own), (OrderKey(ref(index), False, False),), serialized=True)
        before, self.input_rows = self.input_rows, inner
        try:
            with self.row_scope(None):
                body = self.relation(operator.body)
        finally:
            self.input_rows = before
        if _windows_over(body.plan, set(outer)):
            message = "A window function inside `mv-apply` reads the elements, not columns of the outer row."
            self.report("KQL0203", message, operator, "Compute it before or after the `mv-apply`.")
        # Columns of the outer rows that the sub-query keeps are read from the outer row itself; a column that is
        # spread under its own name is left only if the sub-query gives it.
        spread = {
            item.value.name for item in operator.items if not item.name and isinstance(item.value, n.Name)
        }
        shown = {column.name: column for column in rows.columns if column.name not in spread}
        shown.update((column.name, column) for column in body.columns if column not in rows.columns)
        plan = Correlated((*rows.plan.columns, *body.plan.columns), rows.plan, body.plan)
        order = (OrderKey(ref(row), False, False), *body.order) if body.order else ()
        return Relation(plan, tuple(shown.values()), order, open=rows.open)

    def union_source_rows(self, operator: t.Union) -> Relation:
        """`union` that begins a pipeline."""
        return self.union(None, operator)

    sources: Mapping[type[n.Operator], Callable[[Any, Any], Relation]] = {t.Union: union_source_rows}
    operators: Mapping[type[n.Operator], Callable[[Any, Relation, Any], Relation]] = {
        t.Where: QueryBinder.where,
        t.Extend: QueryBinder.extend,
        t.Project: QueryBinder.project,
        t.ProjectAway: QueryBinder.project_away,
        t.ProjectRename: QueryBinder.project_rename,
        t.ProjectReorder: QueryBinder.project_reorder,
        t.ProjectByNames: QueryBinder.project_by_names,
        t.Summarize: QueryBinder.summarize,
        t.Sort: QueryBinder.sort,
        t.Top: QueryBinder.top,
        t.Take: QueryBinder.take,
        t.SampleDistinct: QueryBinder.sample_distinct,
        t.Count: QueryBinder.count_rows,
        t.Distinct: QueryBinder.distinct,
        t.Join: join,
        t.Union: union,
        t.MvExpand: mv_expand,
        t.MvApply: mv_apply,
        t.Parse: QueryBinder.parse,
        t.ParseKv: QueryBinder.parse_kv,
        t.RenderOperator: QueryBinder.render_operator,
        t.Serialize: QueryBinder.serialize,
        t.TopHitters: QueryBinder.top_hitters,
    }
