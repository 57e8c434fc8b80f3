"""`search` and `find`: one predicate over many tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.kql.bind.base import text_literal
from headrace.kql.bind.functions.registry import OPERATORS
from headrace.kql.bind.reducing import ReducingBinder
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Column, Convert, Expr, Literal, Poison, ref
from headrace.kql.plan.nodes import Filter
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.walk import walk
from headrace.kql.types import KustoType

_T = KustoType
MAX_SEARCHED = 2000
PACKED = "pack_"


class SearchBinder(ReducingBinder):
    """Binds the operators that look through tables."""

    def search(self, rows: Relation | None, operator: t.Search) -> Relation:
        """`search`, as a source or after a bar."""
        inputs = (
            [(rows.name or "union_arg0", rows)]
            if rows is not None
            else self._searched(operator, operator.tables)
        )
        return self._filtered_union(inputs, operator, operator.predicate, "$table", operator.case_sensitive)

    def search_source(self, operator: t.Search) -> Relation:
        """`search` over the tables it names, or over all."""
        return self.search(None, operator)

    def _searched(self, node: n.Node, tables: tuple[n.Expression, ...]) -> list[tuple[str, Relation]]:
        """The tables to look through, by name."""
        inputs: list[tuple[str, Relation]] = []
        if not tables:
            names = [*self.worth_reading(list(self.database.table_names())), *self.views()]
            if len(names) > MAX_SEARCHED:
                names = names[:MAX_SEARCHED]
                self.warn(
                    "KQL0306", f"Only the first {MAX_SEARCHED} tables are searched.", node, "Name the tables."
                )
            return [(name, self._named_table(node, name)) for name in names]
        for table in tables:
            if isinstance(table, n.Wildcard):
                inputs.extend((name, self._named_table(table, name)) for name in self.tables_like(table))
            else:
                rows = self.relation(table)
                inputs.append((rows.name or "union_arg0", rows))
        return inputs

    def _filtered_union(
        self,
        inputs: list[tuple[str, Relation]],
        node: n.Node,
        predicate: n.Expression,
        source_name: str,
        case_sensitive: bool,
        shape: Callable[[list[tuple[str, Relation]]], list[tuple[str, Relation]]] | None = None,
    ) -> Relation:
        if not inputs:
            self.report("KQL0131", "There is no table to search.", node)
            return Relation(self.one_row().plan, (), broken=True)
        kept: list[tuple[str, Relation]] = []
        for name, rows, scope in self._with_named_columns(inputs, predicate):
            with self.row_scope(scope):
                condition = self._search_condition(predicate, case_sensitive)
            if not isinstance(condition, Poison):
                rows = rows.with_plan(Filter(rows.plan.columns, rows.plan, condition))
            kept.append((name, rows))
        if shape is not None:
            kept = shape(kept)
        return self.union_relations(kept, inner=False, source_name=source_name)

    def _with_named_columns(
        self, inputs: list[tuple[str, Relation]], predicate: n.Expression
    ) -> list[tuple[str, Relation, Relation]]:
        """The tables that may have rows that fit: those with a column that the predicate names, if it names any.

        Each comes with the rows that the predicate sees: a column that only another table has is missing there.
        One that no table has is a problem.
        """
        named = {name for name in _names_in(predicate) if self.environment.find(name) is None}
        columns = [{column.name for column in rows.columns} for _, rows in inputs]
        everywhere = set().union(*columns)
        if not named <= everywhere:
            return [(name, rows, rows) for name, rows in inputs]
        made: list[tuple[str, Relation, Relation]] = []
        for (name, rows), own in zip(inputs, columns, strict=True):
            if named and not named & own and not rows.open and not _looks_everywhere(predicate):
                continue
            made.append((name, rows, rows if named <= own else replace(rows, open=True)))
        return made

    def _search_condition(self, node: n.Expression, case_sensitive: bool) -> Expr:
        """A search predicate: bare terms look at every column, `column:term` at one."""
        if isinstance(node, n.Literal) and node.type is _T.STRING:
            return self._term(node, None, node.value, case_sensitive)
        if isinstance(node, n.Wildcard) and node.pattern == "*":
            return Literal(_T.BOOL, True)
        if isinstance(node, n.Logical):
            parts = [self._search_condition(operand, case_sensitive) for operand in node.operands]
            return self.chain(node, OPERATORS[node.op], parts, f"`{node.op}`")
        if isinstance(node, n.Call) and node.name == "not" and len(node.arguments) == 1:
            inner = self._search_condition(node.arguments[0].value, case_sensitive)
            return self.apply(node, "not", (inner,), "`not`")
        if isinstance(node, n.Binary) and node.op == ":":
            value = node.right.value if isinstance(node.right, n.Literal) else None
            if isinstance(node.left, n.Wildcard):
                return self._term(node, None, str(value), case_sensitive)
            column = self.bind(node.left)
            if isinstance(column, Poison):
                return column
            if isinstance(value, str):
                return self._term(node, column, value, case_sensitive)
            return self.apply(node, "__equal", (column, self.bind(node.right)), "`:`")
        return self.bind_bool(node, "`search`")

    def _term(self, node: n.Node, column: Expr | None, term: str, case_sensitive: bool) -> Expr:
        """Whether a term stands in one column or in any."""
        if term == "*":
            return Literal(_T.BOOL, True)
        suffix = "_cs" if case_sensitive else ""
        body = term.strip("*")
        if "*" in body:
            pattern = ("" if case_sensitive else "(?i)") + ".*".join(
                re.escape(part) for part in term.split("*")
            )
            name, body = "matches regex", pattern
        elif term.startswith("*") and term.endswith("*"):
            name = "contains" + suffix
        elif term.startswith("*"):
            name = "hassuffix" + suffix
        elif term.endswith("*"):
            name = "hasprefix" + suffix
        else:
            name = "has" + suffix
        operands = [column] if column is not None else self._texts()
        tests = [
            self.apply(node, OPERATORS[name], (self._as_text(operand), text_literal(body)), f"`{name}`")
            for operand in operands
        ]
        return self.chain(node, "__or", tests, "`or`") if tests else Literal(_T.BOOL, False)

    def _texts(self) -> list[Expr]:
        rows = self.rows.visible if self.rows is not None else ()
        return [ref(column) for column in rows]

    @staticmethod
    def _as_text(value: Expr) -> Expr:
        return value if value.type is _T.STRING else Convert(_T.STRING, value)

    def find(self, rows: Relation | None, operator: t.Find) -> Relation:
        """`find`: the rows that fit, with the name of their table."""
        inputs = (
            [(rows.name or "union_arg0", rows)]
            if rows is not None
            else self._searched(operator, operator.tables)
        )

        def shape(kept: list[tuple[str, Relation]]) -> list[tuple[str, Relation]]:
            return self._packed(kept, operator)

        packs = operator.columns is None or operator.pack
        found = self._filtered_union(
            inputs, operator, operator.predicate, operator.source_name, False, shape if packs else None
        )
        if operator.columns is None:
            return found
        columns = [found.columns[0]]
        computed = []
        for pattern, type in operator.columns:
            for column in [c for c in found.columns if c in self.matching(found, [pattern])]:
                if type is None or column.type is type:
                    columns.append(column)
                else:
                    converted = self.new_column(column.name, type)
                    computed.append((converted, self.as_type(ref(column), type)))
                    columns.append(converted)
        if operator.pack and (packed := found.find(PACKED)) is not None and packed not in columns:
            columns.append(packed)
        return found.with_columns(self.compute(found, computed), tuple(columns))

    def _packed(self, kept: list[tuple[str, Relation]], operator: t.Find) -> list[tuple[str, Relation]]:
        """The tables with the columns that `find` shows, and all others of each in one bag.

        Without `project` it shows the columns that the predicate names and those that all tables have.
        """
        if operator.columns is not None:
            shown = {c.name for _, rows in kept for c in self._projected(rows, operator.columns)}
        else:
            shared = [{(column.name, column.type) for column in rows.visible} for _, rows in kept]
            shown = _names_in(operator.predicate) | {name for name, _ in set.intersection(*shared)}
        shaped: list[tuple[str, Relation]] = []
        for name, rows in kept:
            columns = tuple(column for column in rows.visible if column.name in shown)
            rest = [column for column in rows.visible if column.name not in shown]
            if rest or operator.pack:
                pairs = [item for column in rest for item in (text_literal(column.name), ref(column))]
                bag = self.call("bag_pack", *pairs) if pairs else Literal(_T.DYNAMIC, "{}")
                packed = self.new_column(PACKED, _T.DYNAMIC)
                rows = rows.with_columns(self.compute(rows, [(packed, bag)]), (*columns, packed))
            shaped.append((name, rows))
        return shaped

    def _projected(
        self, rows: Relation, columns: tuple[tuple[n.Expression, KustoType | None], ...]
    ) -> set[Column]:
        """The columns of one table that `project` names; another table may have those that it has not."""
        known = [p for p, _ in columns if not isinstance(p, n.Name) or rows.find(p.name) is not None]
        return self.matching(rows, known)

    def find_source(self, operator: t.Find) -> Relation:
        """`find` over the tables it names, or over all."""
        return self.find(None, operator)

    operators: Mapping[type[n.Operator], Callable[[Any, Relation, Any], Relation]] = {
        **ReducingBinder.operators,
        t.Search: search,
        t.Find: find,
    }
    sources: Mapping[type[n.Operator], Callable[[Any, Any], Relation]] = {
        **ReducingBinder.sources,
        t.Search: search_source,
        t.Find: find_source,
    }


def _looks_everywhere(node: n.Node) -> bool:
    """Whether a search predicate holds a term that any column may have."""
    if isinstance(node, n.Literal):
        return node.type is _T.STRING
    if isinstance(node, n.Logical):
        return any(_looks_everywhere(operand) for operand in node.operands)
    if isinstance(node, n.Call) and node.name == "not":
        return any(_looks_everywhere(argument.value) for argument in node.arguments)
    return isinstance(node, n.Wildcard) or (isinstance(node, n.Binary) and isinstance(node.left, n.Wildcard))


def _names_in(node: n.Node) -> set[str]:
    """Every name that stands in an expression."""
    return {item.name for item in walk(node) if isinstance(item, n.Name)}
