"""`let` and the other statements, and calls of the functions that a text declares."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from headrace.kql.bind.base import AUTO_BIN, POISON, BindProblem, TooLarge, text_literal
from headrace.kql.bind.scope import (
    Binding,
    Environment,
    FunctionBinding,
    QueryBinding,
    Relation,
    RelationBinding,
    ScalarBinding,
)
from headrace.kql.bind.shared import SharedRowsBinder
from headrace.kql.plan.expressions import Expr, Literal, Poison, columns_of
from headrace.kql.syntax import nodes as n
from headrace.kql.types import KustoType

_T = KustoType
ELSEWHERE = frozenset(["workspace", "app", "database", "cluster", "adx", "arg"])
"""Calls that name where a table is."""
_LITERAL = re.compile(
    r"(?:bool|boolean|datetime|date|dynamic|guid|int|long|real|double|decimal|timespan|time)\((.*)\)",
    re.DOTALL,
)
_Result = TypeVar("_Result")


class StatementBinder(SharedRowsBinder):
    """Binds what gives names a meaning."""

    def call_tabular(
        self, node: n.Node, binding: FunctionBinding, arguments: tuple[n.Argument, ...]
    ) -> Relation:
        """A user's function that gives a table."""

        def bind() -> Relation:
            return self._result_of_call(node, binding, arguments, self.relation)

        if arguments or binding.function.parameters:
            return bind()
        return self.rows_of_function(binding, bind)

    def bind_user_function(self, node: n.Call, binding: FunctionBinding) -> Expr:
        """A user's function that gives a value."""
        try:
            return self._result_of_call(node, binding, node.arguments, self.bind)
        except TooLarge:
            raise
        except BindProblem:
            return POISON

    def _result_of_call(
        self,
        node: n.Node,
        binding: FunctionBinding,
        arguments: tuple[n.Argument, ...],
        bind: Callable[[n.Expression], _Result],
    ) -> _Result:
        """What `bind` makes of a function's result, with its arguments and its own names in place."""
        environment = self.call_environment(node, binding, arguments)
        body = binding.function.body
        with self.environment_scope(environment, body=True), self.row_scope(None):
            self.statements(body.statements)
            if body.result is None:
                self.fail("KQL0135", f"The function `{binding.function.name}` has no result.", node)
            return bind(body.result)

    def call_environment(
        self, node: n.Node, binding: FunctionBinding, arguments: tuple[n.Argument, ...]
    ) -> Environment:
        """The parameters' values by name, over the names where the function was written."""
        function = binding.function
        environment = Environment(binding.environment)
        given: dict[str, n.Expression] = {}
        for parameter, argument in zip(function.parameters, arguments, strict=False):
            if argument.name is None:
                given[parameter.name] = argument.value
        for argument in arguments:
            if argument.name is not None:
                if argument.name not in {parameter.name for parameter in function.parameters}:
                    self.fail("KQL0136", f"`{function.name}` has no parameter `{argument.name}`.", argument)
                given[argument.name] = argument.value
        if len(arguments) > len(function.parameters):
            count = len(function.parameters)
            self.fail("KQL0136", f"`{function.name}` takes {count} arguments, not {len(arguments)}.", node)
        for parameter in function.parameters:
            value = given.get(parameter.name)
            if parameter.tabular:
                if value is None:
                    self.fail("KQL0136", f"`{function.name}` needs a table as `{parameter.name}`.", node)
                environment.names[parameter.name] = RelationBinding(value, self.environment, parameter)
                continue
            bound = self._scalar_argument(node, function, parameter, value)
            depth = self.query_depth if columns_of(bound) else None
            environment.names[parameter.name] = ScalarBinding(bound, depth)
        return environment

    def _scalar_argument(
        self, node: n.Node, function: n.LetFunction, parameter: n.Parameter, value: n.Expression | None
    ) -> Expr:
        assert parameter.type is not None
        if value is not None:
            bound = self.bind(value)
        elif parameter.default is not None:
            bound = self.bind(parameter.default)
        else:
            self.fail("KQL0136", f"`{function.name}` needs a value for `{parameter.name}`.", node)
        if isinstance(bound, Poison) or bound.type is parameter.type:
            return bound
        if (
            bound.type is not _T.DYNAMIC
            and _T.STRING in (bound.type, parameter.type)
            and bound.constant is None
        ):
            message = f"`{parameter.name}` of `{function.name}` is {parameter.type}, not {bound.type}."
            self.report("KQL0136", message, value or node)
            return POISON
        return self.as_type(bound, parameter.type)

    # Statements.

    def statements(self, statements: tuple[n.Statement, ...]) -> None:
        """`let` statements and their like, into the environment at hand."""
        for statement in statements:
            if isinstance(statement, n.Let):
                self._declare_name(statement, statement.name, self._let(statement))
            elif isinstance(statement, n.LetFunction):
                binding = FunctionBinding(statement, self.environment.snapshot())
                self._declare_name(statement, statement.name, binding)
            elif isinstance(statement, n.SetStatement):
                self._set(statement)
            elif isinstance(statement, n.Declare):
                self._declare(statement)
            elif isinstance(statement, n.Unsupported):
                self.report("KQL0106", f"`{statement.name}` statements are not supported.", statement)

    def _declare_name(self, node: n.Node, name: str, binding: Binding) -> None:
        """A name for what is bound; a text, or the body of a function, gives each name once."""
        if name in self.environment.names:
            self.report("KQL0144", f"The name `{name}` is declared twice.", node, "Choose another name.")
        self.environment.names[name] = binding

    def _set(self, statement: n.SetStatement) -> None:
        if statement.option in AUTO_BIN and statement.value is not None:
            self.auto_bin[statement.option] = self.bind(statement.value)
            return
        self.warn("KQL0304", f"`set {statement.option}` has no effect.", statement)

    def _let(self, statement: n.Let) -> Binding:
        value = statement.value
        if isinstance(value, n.Call) and value.name == "materialize" and value.arguments:
            return self.share_binding(self.relation(value.arguments[0].value))
        if self.tabular_value(value):
            return QueryBinding(value, self.environment.snapshot(), self.input_rows)
        return ScalarBinding(self.bind(value))

    def _declare(self, statement: n.Declare) -> None:
        for parameter in statement.parameters:
            value: Expr
            if parameter.name in self.options.parameters:
                given = _given(self.options.parameters[parameter.name], parameter.type)
                value = self.as_type(_python_literal(given), parameter.type)
            elif parameter.default is not None:
                value = self.bind_as(parameter.default, parameter.type)
            else:
                self.report("KQL0137", f"The query parameter `{parameter.name}` has no value.", parameter)
                value = POISON
            self._declare_name(parameter, parameter.name, ScalarBinding(value))

    def tabular_value(self, node: n.Expression) -> bool:
        """Whether an expression stands for rows."""
        if isinstance(node, n.Pipeline):
            return True
        if isinstance(node, n.Name):
            binding = self.environment.find(node.name)
            if isinstance(binding, FunctionBinding):
                return self._gives_table(binding)
            if binding is not None:
                return not isinstance(binding, ScalarBinding)
            if self.rows is not None and self.rows.find(node.name) is not None:
                return False
            return self.database.find_table(node.name) is not None or node.name in self.options.functions
        if isinstance(node, n.Call):
            binding = self.environment.find(node.name)
            if isinstance(binding, FunctionBinding):
                return self._gives_table(binding)
            if node.name in ("table", "materialize", "workspace", "app", "database", "view"):
                return True
            return node.name in self.options.functions
        if isinstance(node, n.MethodCall):
            return True
        if isinstance(node, n.Member):
            return isinstance(node.operand, n.MethodCall | n.Call) and self._is_database(node.operand)
        return False

    @staticmethod
    def _is_database(node: n.Expression) -> bool:
        call = node.call if isinstance(node, n.MethodCall) else node
        return isinstance(call, n.Call) and call.name in ELSEWHERE

    def _gives_table(self, binding: FunctionBinding) -> bool:
        """Whether a user's function gives rows, by its result's shape."""
        result = binding.function.body.result
        if result is None:
            return False
        environment = Environment(binding.environment)
        for parameter in binding.function.parameters:
            if parameter.tabular:
                environment.names[parameter.name] = QueryBinding(n.Name(0, 0, ""), environment)
            else:
                environment.names[parameter.name] = ScalarBinding(POISON)
        with self.environment_scope(environment), self.row_scope(None):
            for statement in binding.function.body.statements:
                if isinstance(statement, n.Let):
                    tabular = self.tabular_value(statement.value)
                    environment.names[statement.name] = (
                        QueryBinding(statement.value, environment) if tabular else ScalarBinding(POISON)
                    )
                elif isinstance(statement, n.LetFunction):
                    environment.names[statement.name] = FunctionBinding(statement, environment)
            return self.tabular_value(result)


def _given(value: Any, kusto: KustoType) -> Any:
    """A query parameter's value: clients may write one that is no string as a literal, `long(7)`."""
    literal = _LITERAL.fullmatch(value.strip()) if isinstance(value, str) and kusto is not _T.STRING else None
    return literal[1] if literal else value


def _python_literal(value: Any) -> Literal:
    if isinstance(value, bool):
        return Literal(_T.BOOL, value)
    if isinstance(value, int):
        return Literal(_T.LONG, value)
    if isinstance(value, float):
        return Literal(_T.REAL, value)
    return text_literal(str(value))
