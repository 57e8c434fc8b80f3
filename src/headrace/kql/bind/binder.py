"""A whole text bound: its statements in order, each tabular expression a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.kql.bind.base import BindProblem, TooLarge
from headrace.kql.bind.scope import Environment, FunctionBinding, Relation
from headrace.kql.bind.special import SpecialBinder
from headrace.kql.model import Render
from headrace.kql.plan.expressions import Column
from headrace.kql.plan.nodes import OrderKey, Plan, Rows, TableScan
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import SourceText
from headrace.kql.syntax.parser import Parser
from headrace.kql.types import KustoType, Schema


@dataclass(frozen=True, slots=True)
class Bound:
    """A tabular statement: its plan, the columns of its result in order, and the order of its rows."""

    plan: Plan
    columns: tuple[Column, ...]
    order: tuple[OrderKey, ...]
    render: Render | None


class Binder(SpecialBinder):
    """Binds a text's statements."""

    def script(self, script: n.Script) -> list[Bound]:
        """Every result of the text; problems are left in `problems`."""
        results: list[Bound] = []
        try:
            for statement in script.statements:
                if isinstance(statement, n.ExpressionStatement):
                    results.extend(self._result(statement))
                else:
                    self.statements((statement,))
        except TooLarge:
            return results
        except BindProblem:
            pass
        if not results and not self.problems:
            self.report("KQL0139", "The text has no tabular expression.", script)
        return results

    def _result(self, statement: n.ExpressionStatement) -> list[Bound]:
        self.render = None
        self.branches = []
        rows = self.relation(statement.value)
        if self.branches:
            return [self.bound(branch) for branch in self.branches]
        return [self.bound(rows)]

    def bound(self, rows: Relation) -> Bound:
        """A relation as a result."""
        return Bound(rows.plan, rows.visible, rows.order, self.render)

    def saved_function(
        self, node: n.Node, name: str, text: str, arguments: tuple[n.Argument, ...] = ()
    ) -> Relation:
        """A saved function of the workspace; problems inside it are reported at its use."""
        binding = self._saved_binding(node, name, text)
        function = binding.function

        def bind() -> Relation:
            environment = self.call_environment(node, binding, arguments)
            outer, count = self.source, len(self.problems)
            self.source = SourceText(_as_statement(text))
            try:
                with self.environment_scope(environment, body=True), self.row_scope(None):
                    self.statements(function.body.statements)
                    rows = self.relation(function.body.result) if function.body.result is not None else None
            finally:
                self.source = outer
            inner = self.problems[count:]
            if inner or rows is None:
                del self.problems[count:]
                reason = inner[0].message if inner else "it has no result."
                self.fail("KQL0140", f"The saved function `{name}` has problems: {reason}", node)
            return rows

        alone = not arguments and not function.parameters
        rows = self.rows_of_function(binding, bind) if alone else bind()
        return replace(rows, name=name)

    def _saved_binding(self, node: n.Node, name: str, text: str) -> FunctionBinding:
        """A saved function, parsed once."""
        known = self.saved_functions.get(name)
        if known is not None:
            return known
        parser = Parser(SourceText(_as_statement(text)))
        script = parser.script()
        function = script.statements[0] if script.statements else None
        if parser.problems or not isinstance(function, n.LetFunction):
            reason = parser.problems[0].message if parser.problems else "it is no function."
            self.fail("KQL0140", f"The saved function `{name}` has problems: {reason}", node)
        binding = FunctionBinding(replace(function, name=name), Environment())
        self.saved_functions[name] = binding
        return binding


def _as_statement(text: str) -> str:
    """A saved function's text as a `let`; a bare body is a function without parameters."""
    shown = text if text.lstrip().startswith("(") else "() {\n" + text + "\n}"
    return "let saved = " + shown


class TransformBinder(Binder):
    """Binds a transform: the one table is `source`, and every source is a record's."""

    record: Relation | None = None
    """The record that stands for `source`, made once and shared by every source of the text."""
    result: Relation | None = None
    """What the latest tabular expression came to."""

    def prepare(self, source: Schema, received: str) -> None:
        """Make the record's columns."""
        names = [column.name for column in source.columns]
        columns = [self.new_column(column.name, column.type) for column in source.columns]
        clock = self.new_column(received, KustoType.DATETIME, hidden=True)
        plan = TableScan((*columns, clock), None, "source", (*names, received))
        self.received = clock
        self.record = Relation(plan, tuple(columns), name="source")

    def stage(self, script: n.Script, text: SourceText) -> list[Bound]:
        """Bind a text by itself; `source` is what the text before it came to, where there was one."""
        if self.result is not None:
            self.record = Relation(self.result.plan, self.result.visible, name="source")
        self.source, self.environment, self._unnamed = text, Environment(), 0
        return self.script(script)

    def bound(self, rows: Relation) -> Bound:
        """A relation as a result, kept for the text that may follow."""
        self.result = rows
        return super().bound(rows)

    def table(self, node: n.Node, name: str, database: object, workspace: str | None) -> Relation:
        """`source`, and nothing else."""
        if name == "source" and workspace is None and self.record is not None:
            return self.record
        raise self.fail("KQL0131", f"A transform reads only the table `source`; there is no `{name}`.", node)

    def tabular_value(self, node: n.Expression) -> bool:
        """Whether an expression stands for rows; `source` does wherever nothing else bears its name."""
        if isinstance(node, n.Name) and node.name == "source" and self.environment.find("source") is None:
            return True
        return super().tabular_value(node)

    def projected(self, items: tuple[n.Named, ...]) -> Sequence[n.Named]:
        """Each item once: generated rules repeat columns, which is harmless where the expression is the same."""
        if not self.profile.repeated_columns:
            return items
        kept: dict[str, n.Named] = {}
        for item in items:
            text = self.source.text[item.start : item.end]
            if kept.setdefault(text, item) is not item:
                message = f"`{shortened(text)}` is given twice; it counts once. Azure refuses it."
                self.warn("KQL0310", message, item, "Remove one of them.")
        return tuple(kept.values())

    def one_row(self) -> Relation:
        """The record without its columns: `print` gives a row for each."""
        assert self.record is not None
        return Relation(self.record.plan, ())

    def datatable(self, operator: t.DataTable) -> Relation:
        """One row at most: a transform gives no more for a record."""
        rows = super().datatable(operator)
        width = len(operator.columns)
        if len(operator.values) > width:
            message = "A `datatable` of several rows gives more than one row for each record."
            self.fail("KQL0202", message, operator)
        base = self.one_row()
        if not operator.values:
            self.fail("KQL0202", "A `datatable` without rows gives no row for any record.", operator)
        assert isinstance(rows.plan, Rows)
        items = tuple(zip(rows.columns, rows.plan.values[0], strict=True))
        return Relation(self.compute(base, items), rows.columns)


def shortened(text: str) -> str:
    """A piece of the text for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
