"""Pipelines and their sources: tables, names, calls, sub-queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.kql.bind.base import POISON, BindProblem, TooLarge
from headrace.kql.bind.functions.registry import OPERATORS
from headrace.kql.bind.operators import glob
from headrace.kql.bind.scope import (
    Binding,
    Environment,
    FunctionBinding,
    QueryBinding,
    Relation,
    RelationBinding,
    SharedBinding,
)
from headrace.kql.bind.statements import ELSEWHERE, StatementBinder
from headrace.kql.model import Database
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Expr,
    InQuery,
    Poison,
    ScalarQuery,
    ref,
)
from headrace.kql.plan.nodes import Aggregate, Expand, ExpandItem, Plan, Rows, TableScan
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType, Schema

_T = KustoType
MAX_TABLES = 2000
"""How many tables a pattern may name."""
MANY_TABLES = 30
"""A pattern that more tables fit leaves out those that nothing was ever sent to."""
UNKNOWN = Relation(Rows((), ()), (), broken=True)


class QueryBinder(StatementBinder):
    """Binds tabular expressions."""

    operators: Mapping[type[n.Operator], Callable[[Any, Relation, Any], Relation]] = {}
    sources: Mapping[type[n.Operator], Callable[[Any, Any], Relation]] = {}

    def relation(self, node: n.Expression) -> Relation:
        """A tabular expression; a problem is recorded and gives rows whose columns nobody knows."""
        self.charge(5)
        try:
            return self._relation(node)
        except TooLarge:
            raise
        except BindProblem:
            return UNKNOWN

    def _relation(self, node: n.Expression) -> Relation:
        if isinstance(node, n.Pipeline):
            size = self._size
            rows = self._source(node.source)
            for place, operator in enumerate(node.operators):
                if isinstance(operator, t.As) and self.profile.operator(operator)[0] == "allow":
                    rows = self._as(rows, operator, node, place, self._size - size)
                else:
                    rows = self.operate(rows, operator)
            return rows
        if isinstance(node, n.Name):
            return self._named_table(node, node.name)
        if isinstance(node, n.Call):
            return self._tabular_call(node)
        if isinstance(node, n.Wildcard):
            return self._table_pattern(node)
        if isinstance(node, n.MethodCall | n.Member):
            return self._elsewhere(node)
        raise self.fail("KQL0130", "A table or a query is expected here.", node)

    def _as(self, rows: Relation, operator: t.As, node: n.Pipeline, place: int, size: int) -> Relation:
        """`as`: the rows up to here get a name that the rest of the text may use."""
        earlier = n.Pipeline(node.start, operator.start, node.source, node.operators[:place])
        binding = QueryBinding(earlier, self.environment.snapshot(), self.input_rows)
        self.environment.names[operator.name] = binding
        if self.input_rows is None:
            rows = self.readable_again(binding, rows, size)
        return replace(rows, name=operator.name)

    def operate(self, rows: Relation, operator: n.Operator) -> Relation:
        """The rows after one operator; after a problem the pipeline goes on with what is known."""
        self.charge(5)
        verdict, message = self.profile.operator(operator)
        if verdict == "refuse":
            self.report("KQL0202", message, operator)
            return replace(rows, broken=True)
        if verdict == "warn":
            self.warn("KQL0302", message, operator)
        try:
            method = self.operators.get(type(operator))
            if method is None:
                return self._refused(rows, operator)
            before = len(self.problems)
            made = method(self, rows, operator)
            return _broken(made, operator) if len(self.problems) > before else made
        except TooLarge:
            raise
        except BindProblem:
            return _broken(rows, operator)

    def _refused(self, rows: Relation, operator: n.Operator) -> Relation:
        name = operator.name if isinstance(operator, t.Refused) else type(operator).__name__.lower()
        reason = operator.reason if isinstance(operator, t.Refused) else "it is not supported"
        self.report("KQL0203", f"`{name}` is refused: {reason}.", operator)
        return replace(rows, broken=True)

    # Sources.

    def _source(self, source: n.Expression | n.Operator) -> Relation:
        if isinstance(source, n.Expression):
            return self.relation(source)
        if isinstance(source, t.Input):
            return self.input_rows if self.input_rows is not None else UNKNOWN
        verdict, message = self.profile.operator(source)
        if verdict == "refuse":
            self.fail("KQL0202", message, source)
        if isinstance(source, t.Print):
            return self.print_source(source)
        if isinstance(source, t.RangeSource):
            return self.range_source(source)
        if isinstance(source, t.DataTable):
            return self.datatable(source)
        if isinstance(source, t.ExternalData):
            return self.external_data(source)
        method = self.sources.get(type(source))
        if method is not None:
            return method(self, source)
        self._refused(UNKNOWN, source)
        return UNKNOWN

    def scan(self, name: str, schema: Schema, workspace: str | None) -> Relation:
        """All columns of a table."""
        columns = tuple(self.new_column(column.name, column.type, column.hidden) for column in schema.columns)
        plan = TableScan(columns, workspace, name, tuple(column.name for column in schema.columns))
        return Relation(plan, columns, name=name)

    def _named_table(self, node: n.Node, name: str) -> Relation:
        binding = self.environment.find(name)
        if binding is not None:
            return self._bound(node, name, binding)
        return self.table(node, name, self.database, None)

    def table(self, node: n.Node, name: str, database: Database, workspace: str | None) -> Relation:
        """A table of a database by its exact name."""
        schema = database.find_table(name)
        if schema is None:
            saved = self.options.functions.get(name)
            if saved is not None and workspace is None:
                return self.saved_function(node, name, saved)
            known = [*database.table_names(), *self.environment.all_names()]
            self.fail("KQL0131", f"There is no table `{name}`.", node, self.did_you_mean(name, known))
        return self.scan(name, schema, workspace)

    def saved_function(
        self, node: n.Node, name: str, text: str, arguments: tuple[n.Argument, ...] = ()
    ) -> Relation:
        """A saved function of the workspace, used as a table."""
        raise NotImplementedError

    def _bound(self, node: n.Node, name: str, binding: Binding) -> Relation:
        if isinstance(binding, QueryBinding):
            return replace(self.rows_of_name(binding), name=name)
        if isinstance(binding, RelationBinding):
            return self._tabular_argument(binding, name)
        if isinstance(binding, SharedBinding):
            return self.bound_rows(binding, name)
        if isinstance(binding, FunctionBinding):
            rows = self.call_tabular(node, binding, ())
            return replace(rows, name=name) if binding.function.view else rows
        raise self.fail("KQL0132", f"`{name}` is a value, not a table.", node)

    def _tabular_argument(self, binding: RelationBinding, name: str) -> Relation:
        with self.environment_scope(binding.environment), self.row_scope(None):
            rows = self.relation(binding.value)
        wanted = binding.parameter.columns
        if wanted is None:
            return replace(rows, name=name)
        for declared in wanted:
            column = rows.find(declared.name)
            if column is None and not rows.open and not rows.broken:
                message = f"The table given as `{name}` has no column `{declared.name}`."
                self.report("KQL0133", message, binding.value)
            elif column is not None and column.type is not declared.type:
                message = (
                    f"`{declared.name}` is {column.type} in the table given as `{name}`, not {declared.type}."
                )
                self.report("KQL0133", message, binding.value)
        # What the parameter declares must be there; the other columns come along.
        return replace(rows, name=name)

    def _table_pattern(self, node: n.Wildcard) -> Relation:
        inputs = [(name, self._named_table(node, name)) for name in self.tables_like(node)]
        return self.union_relations(inputs, inner=False, source_name=None)

    def tables_like(self, node: n.Wildcard) -> list[str]:
        """The names of tables and views that fit a pattern."""
        names = self.worth_reading([n for n in self.database.table_names() if glob(node.pattern, n)])
        names.extend(name for name in self.views() if glob(node.pattern, name) and name not in names)
        if not names:
            self.fail("KQL0131", f"No table fits `{node.pattern}`.", node)
        if len(names) > MAX_TABLES:
            self.fail("KQL0004", f"More than {MAX_TABLES} tables fit `{node.pattern}`.", node)
        return names

    def worth_reading(self, names: list[str]) -> list[str]:
        """Of many tables, those that may hold rows; where none does, some of them for their columns."""
        filled = self.options.filled
        if filled is None or len(names) <= MANY_TABLES:
            return names
        return [name for name in names if name in filled] or names[:MANY_TABLES]

    def views(self) -> list[str]:
        """The `let` functions declared as views."""
        found: list[str] = []
        scope: Environment | None = self.environment
        while scope is not None:
            for name, binding in scope.names.items():
                if isinstance(binding, FunctionBinding) and binding.function.view:
                    found.append(name)
            scope = scope.outer
        return found

    def _elsewhere(self, node: n.MethodCall | n.Member) -> Relation:
        """`workspace("w").T`, `database("d").table("T")` and the like."""
        database, workspace = self._database(node.operand)
        if isinstance(node, n.Member):
            return self.table(node, node.name, database, workspace)
        call = node.call
        if call.name == "table" and call.arguments:
            return self.table(node, self._text(call, "table"), database, workspace)
        raise self.fail("KQL0106", f"`.{call.name}()` is not supported.", node)

    def _database(self, node: n.Expression) -> tuple[Database, str | None]:
        if isinstance(node, n.MethodCall) and node.call.name == "database":
            return self._database(node.operand)
        if isinstance(node, n.Call):
            if node.name == "database":
                return self.database, None
            if node.name in ("workspace", "app"):
                name = self._text(node, node.name)
                database = self.database.workspace(name)
                if database is None:
                    self.fail("KQL0134", f"There is no workspace `{name}`.", node)
                return database, name
            if node.name in ("cluster", "adx", "arg"):
                self.fail("KQL0203", f"`{node.name}()` is refused: it would reach another service.", node)
        raise self.fail("KQL0130", "A table or a query is expected here.", node)

    def _text(self, call: n.Call, what: str) -> str:
        value = self.bind(call.arguments[0].value) if call.arguments else POISON
        constant = value.constant
        if constant is None or not isinstance(constant.value, str):
            self.fail("KQL0114", f"`{what}()` needs a constant name.", call)
        return constant.value

    def _tabular_call(self, node: n.Call) -> Relation:
        binding = self.environment.find(node.name)
        if isinstance(binding, FunctionBinding):
            return self.call_tabular(node, binding, node.arguments)
        if binding is not None and not node.arguments:
            return self._bound(node, node.name, binding)
        if node.name == "table":
            return self._named_table(node, self._text(node, "table"))
        if node.name in ("materialize", "materialized_view", "view", "evaluate") and node.arguments:
            return self._materialize(node.arguments[0].value)
        if node.name in ELSEWHERE:
            self._database(node)
            self.fail("KQL0130", f'`{node.name}()` needs a table, as in `{node.name}("name").Table`.', node)
        saved = self.options.functions.get(node.name)
        if saved is not None:
            return self.saved_function(node, node.name, saved, node.arguments)
        if self.functions.find(node.name) is not None:
            self.fail("KQL0130", f"`{node.name}()` gives a value, not a table.", node)
        known = [*self.environment.all_names(), *self.options.functions]
        self.no_function(node, known)
        raise BindProblem

    def _materialize(self, node: n.Expression) -> Relation:
        return self.share(self.relation(node))

    # Sub-queries in expressions.

    def in_query(self, node: n.Membership, operand: Expr) -> Expr:
        """Membership in the rows of a sub-query."""
        if not self.profile.sub_queries:
            self.report("KQL0202", "A sub-query sees more than one row; a transform works row by row.", node)
            return POISON
        with self.sub_query():
            rows = self.relation(node.items[0])
        if isinstance(operand, Poison):
            return POISON
        if not rows.visible:
            if not rows.open and not rows.broken:
                self.report("KQL0130", f"The sub-query of `{node.op}` has no column.", node.items[0])
            return POISON
        if len(rows.visible) > 1:
            self.warn(
                "KQL0305", f"Only the first column of the sub-query of `{node.op}` is used.", node.items[0]
            )
        column = rows.visible[0]
        base = node.op.lstrip("!").rstrip("~")
        if base != "in":
            return self._over_list(node, operand, rows, column)
        plan = rows.plan
        if column.type is _T.DYNAMIC:
            plan, column = self._spread(plan, column, operand.type)
        value = operand if operand.type is column.type else self.as_type(operand, column.type)
        return InQuery(_T.BOOL, value, plan, column, node.op.startswith("!"), node.op.endswith("~"))

    def _spread(self, plan: Plan, column: Column, type: KustoType) -> tuple[Plan, Column]:
        """The elements of dynamic arrays as rows, each brought to `type`."""
        element = self.new_column(column.name, type)
        item = ExpandItem(element, ref(column), type)
        return Expand((*plan.columns, element), plan, (item,), None, False, None), element

    def _over_list(self, node: n.Membership, operand: Expr, rows: Relation, column: Column) -> Expr:
        """`has_any (query)`: the query's values as one array."""
        values = self.call("make_list", ref(column))
        made = self.new_column("", _T.DYNAMIC)
        plan = self.aggregate_plan(rows, made, values)
        listed = ScalarQuery(_T.DYNAMIC, plan, made)
        return self.apply(node, OPERATORS[node.op], (operand, listed), f"`{node.op}`")

    def aggregate_plan(self, rows: Relation, column: Column, applied: Apply) -> Plan:
        """One aggregate over all rows."""
        return Aggregate((column,), rows.plan, (), (((column,), applied),), rows.order)


_KEEP_COLUMNS = (t.Where, t.Sort, t.Take, t.Top)
"""What follows these sees the same columns even when they have a problem, so its own problems are told too."""


def _broken(rows: Relation, operator: n.Operator) -> Relation:
    return rows if isinstance(operator, _KEEP_COLUMNS) else replace(rows, broken=True)
