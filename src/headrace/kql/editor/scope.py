"""What names mean at a place of a text: the text up to there is bound, problems and all."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.kql.api import RECEIVED
from headrace.kql.bind.base import BindProblem
from headrace.kql.bind.binder import Binder, TransformBinder
from headrace.kql.bind.scope import Environment, FunctionBinding, QueryBinding, Relation, ScalarBinding
from headrace.kql.editor.model import Target
from headrace.kql.plan.expressions import Expr, missing
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import SourceText
from headrace.kql.syntax.parser import Parser
from headrace.kql.types import KustoType

MARKER = "__cursor"
"""The name that `as` gives to the rows that are asked for."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows at a place (None where there are none) and the names that may be used there."""

    rows: Relation | None
    environment: Environment


@dataclass(frozen=True, slots=True)
class Meaning:
    """What binding found of a text: types of values and rows of tables by their places."""

    values: dict[tuple[int, int], Expr]
    tables: dict[tuple[int, int], Relation]
    inputs: dict[tuple[int, int], Relation]
    """The rows that come into each operator."""
    environment: Environment


class _Recorder(Binder):
    """A binder that remembers what it meets."""

    captured: Scope | None = None
    values: dict[tuple[int, int], Expr]
    tables: dict[tuple[int, int], Relation]
    inputs: dict[tuple[int, int], Relation]
    main: SourceText

    def watch(self) -> None:
        """Begin to remember."""
        self.values, self.tables, self.inputs, self.main = {}, {}, {}, self.source

    def bind(self, node: n.Expression) -> Expr:
        """Remember the value."""
        value = super().bind(node)
        if self.source is self.main and not isinstance(node, n.Pipeline):
            self.values[node.start, node.end] = value
        return value

    def relation(self, node: n.Expression) -> Relation:
        """Remember the rows."""
        rows = super().relation(node)
        if self.source is self.main and not isinstance(node, n.Pipeline):
            self.tables[node.start, node.end] = rows
        return rows

    def operate(self, rows: Relation, operator: n.Operator) -> Relation:
        """Take the marker's rows; another operator does what it does."""
        if isinstance(operator, t.As) and operator.name == MARKER:
            self.captured = Scope(rows, self.environment.snapshot())
            return rows
        if self.source is self.main:
            self.inputs[operator.start, operator.end] = rows
        return super().operate(rows, operator)

    def _as(self, rows: Relation, operator: t.As, node: n.Pipeline, place: int, size: int) -> Relation:
        if operator.name == MARKER:
            return self.operate(rows, operator)
        return super()._as(rows, operator, node, place, size)

    def unused(self, statement: n.Statement) -> None:
        """Bind what only a use would bind: a named query, or a function's body."""
        try:
            if isinstance(statement, n.Let):
                value = statement.value
                if isinstance(value, n.Call) and value.name == "materialize" and value.arguments:
                    value = value.arguments[0].value
                if self.tabular_value(value):
                    self.relation(value)
            elif isinstance(statement, n.LetFunction):
                self._body(statement)
        except BindProblem:
            return

    def _body(self, function: n.LetFunction) -> None:
        environment = Environment(self.environment.snapshot())
        for parameter in function.parameters:
            if parameter.tabular:
                columns = parameter.columns or ()
                source = t.DataTable(parameter.start, parameter.end, columns, ())
                rows = n.Pipeline(parameter.start, parameter.end, source, ())
                environment.names[parameter.name] = QueryBinding(rows, environment)
            else:
                environment.names[parameter.name] = ScalarBinding(
                    missing(parameter.type or KustoType.DYNAMIC)
                )
        with self.environment_scope(environment), self.row_scope(None):
            self.statements(function.body.statements)
            for statement in function.body.statements:
                self.unused(statement)
            if function.body.result is not None:
                if self.tabular_value(function.body.result):
                    self.relation(function.body.result)
                else:
                    self.bind(function.body.result)


class _TransformRecorder(_Recorder, TransformBinder):
    """The same over a transform's one table."""


def recorder(target: Target, source: SourceText) -> _Recorder:
    """A binder for a target that remembers."""
    if target.source is None:
        made = _Recorder(source, target.database, target.options, target.profile, target.options.now or 0)
    else:
        made = _TransformRecorder(source, target.database, target.options, target.profile, 0)
        made.prepare(target.source, RECEIVED)
    made.watch()
    return made


def scope_at(target: Target, text: str) -> Scope:
    """The scope at the marker in a text, or at the text's end where it has none."""
    source = SourceText(text)
    script = Parser(source).script()
    binder = recorder(target, source)
    binder.script(script)
    for statement in reversed(script.statements):
        if binder.captured is not None:
            break
        binder.unused(statement)
    return binder.captured or Scope(None, binder.environment)


def meaning_of(target: Target, text: str) -> Meaning:
    """Everything that binding a whole text finds, also in what nothing uses."""
    source = SourceText(text)
    script = Parser(source).script()
    binder = recorder(target, source)
    binder.script(script)
    for statement in script.statements:
        binder.unused(statement)
    return Meaning(binder.values, binder.tables, binder.inputs, binder.environment)


def parameter_text(parameter: n.Parameter) -> str:
    """A user function's parameter as it was written."""
    if parameter.tabular:
        columns = ", ".join(f"{column.name}: {column.type}" for column in parameter.columns or ())
        return f"{parameter.name}: ({columns or '*'})"
    return f"{parameter.name}: {parameter.type}"


def function_text(binding: FunctionBinding) -> str:
    """The head of a user's function."""
    parameters = ", ".join(parameter_text(parameter) for parameter in binding.function.parameters)
    return f"{binding.function.name}({parameters})"
