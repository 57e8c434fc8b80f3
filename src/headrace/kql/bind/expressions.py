"""Scalar expressions: names, paths, operators and conditions; calls are in `calls.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace.kql.bind.base import POISON, text_literal
from headrace.kql.bind.calls import CallBinder
from headrace.kql.bind.functions.operators import condition_cure
from headrace.kql.bind.functions.registry import OPERATORS, Constant, Mismatch
from headrace.kql.bind.scope import FunctionBinding, ScalarBinding
from headrace.kql.plan.expressions import (
    Apply,
    Convert,
    Expr,
    Literal,
    Nth,
    Poison,
    missing,
    ref,
)
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax.literals import typed_value
from headrace.kql.types import KustoType

_T = KustoType
_COMPARING = frozenset(["==", "!=", "<>", "<", "<=", ">", ">="])
_NEVER_AS_TEXT = frozenset([_T.DYNAMIC, _T.DATETIME, _T.TIMESPAN])


class ExpressionBinder(CallBinder):
    """Binds scalar expressions against the rows at hand."""

    def bind(self, node: n.Expression) -> Expr:
        """The typed expression; a problem is recorded and gives a poisoned one."""
        self.charge()
        try:
            method = _METHODS[type(node)]
        except KeyError:
            self.report("KQL0101", "A scalar value is expected here.", node)
            return POISON
        try:
            return method(self, node)
        except Mismatch as mismatch:  # pragma: no cover - calls report their own
            self.report("KQL0102", mismatch.message, node)
            return POISON

    def tabular_value(self, node: n.Expression) -> bool:
        """Whether an expression is tabular; the relation binder knows."""
        raise NotImplementedError

    def in_query(self, node: n.Membership, operand: Expr) -> Expr:
        """Membership in the rows of a sub-query."""
        raise NotImplementedError

    # Names and paths.

    def _literal(self, node: n.Literal) -> Expr:
        return Literal(node.type, node.value)

    def _name(self, node: n.Name) -> Expr:
        if self.rows is not None:
            column = self.rows.find(node.name)
            if column is not None and column in self.untyped:
                return Literal(_T.DYNAMIC, None)
            if column is not None:
                return POISON if column in self.poisoned else ref(column)
        binding = self.environment.find(node.name)
        if isinstance(binding, ScalarBinding):
            if binding.depth is not None and binding.depth < self.query_depth:
                self.report(
                    "KQL0143",
                    f"`{node.name}` differs from row to row; the sub-query runs once for all rows.",
                    node,
                    "Use a `join`.",
                )
                return POISON
            return binding.value
        if isinstance(binding, FunctionBinding) and not binding.function.parameters:
            return self.bind_user_function(n.Call(node.start, node.end, node.name, (), node.end), binding)
        if binding is not None and self.rows is not None and self.rows.broken:
            return POISON
        if binding is not None:
            self.report("KQL0103", f"`{node.name}` is a table or function, not a value.", node)
            return POISON
        return self.unknown_name(node, node.name)

    def unknown_name(self, node: n.Node, name: str) -> Expr:
        """What an unknown name comes to: a problem, or a missing value where columns are not known."""
        if self.rows is not None and self.rows.broken:
            return POISON
        if self.rows is not None and self.rows.open:
            return Literal(_T.DYNAMIC, None)
        known = [column.name for column in self.rows.columns] if self.rows is not None else []
        known.extend(self.environment.all_names())
        if self.functions.find(name) is not None:
            hint: str | None = f"`{name}` is a function: write `{name}()`."
        else:
            hint = self.did_you_mean(name, known)
        if name == "Timestamp" and "TimeGenerated" in known:
            hint = "In the tables of a workspace it is `TimeGenerated`."
        self.report("KQL0104", f"There is no column `{name}` here.", node, hint)
        return POISON

    def _member(self, node: n.Member) -> Expr:
        if isinstance(node.operand, n.Name) and node.operand.name in ("$left", "$right"):
            rows = self.rows if node.operand.name == "$left" else self.other_rows
            column = rows.find(node.name) if rows is not None else None
            if column is not None:
                return ref(column)
            with self.row_scope(rows):
                return self.unknown_name(node, node.name)
        special = self.special_member(node)
        if special is not None:
            return special
        operand = self.bind(node.operand)
        if isinstance(operand, Poison):
            return POISON
        return self._path(node, operand, text_literal(node.name))

    def special_member(self, node: n.Member) -> Expr | None:
        """A member that is no property, such as a column of a step; None for an ordinary one."""
        return None

    def _index(self, node: n.Index) -> Expr:
        operand, index = self.bind(node.operand), self.bind(node.index)
        if isinstance(operand, Poison) or isinstance(index, Poison):
            return POISON
        return self._path(node, operand, index)

    def _path(self, node: n.Member | n.Index, operand: Expr, key: Expr) -> Expr:
        if isinstance(operand, Apply) and len(operand.resolution.results) > 1:
            place = key.constant.value if key.constant is not None else None
            if isinstance(place, int) and 0 <= place < len(operand.resolution.results):
                return Nth(operand.resolution.results[place], operand, place)
        if operand.type is not _T.DYNAMIC:
            what = "property" if isinstance(node, n.Member) else "element"
            hint = "Use `parse_json()` first." if operand.type is _T.STRING else None
            self.report("KQL0105", f"A {operand.type} has no {what}; only a dynamic value has.", node, hint)
            return POISON
        return self.apply(node, "__index", (operand, key), "the index")

    # Operators.

    def _unary(self, node: n.Unary) -> Expr:
        operand = self.bind(node.operand)
        name = "__negate" if node.op == "-" else "__plus"
        return self.apply(node, name, (operand,), f"`{node.op}`")

    def _binary(self, node: n.Binary) -> Expr:
        if isinstance(node.left, n.Wildcard) and node.op in OPERATORS:
            return self._any_column(node)
        left, right = self.bind(node.left), self.bind(node.right)
        if node.op in _COMPARING:
            left, right = self.compared(node, left, right)
        if node.op.lstrip("!") == "contains" and isinstance(right, Literal):
            self.warn_of_contains(node, right)
        return self.apply(node, OPERATORS[node.op], (left, right), f"`{node.op}`")

    def warn_of_contains(self, node: n.Binary, term: Literal) -> None:
        """`contains` reads every character where `has` could go by terms."""
        text = term.value
        if isinstance(text, str) and len(text) > 3 and text.isalnum():
            better = node.op.replace("contains", "has")
            self.warn(
                "KQL0308", f"`{node.op}` looks inside words.", node, f"For a whole word `{better}` is faster."
            )

    def compared(self, node: n.Node, left: Expr, right: Expr) -> tuple[Expr, Expr]:
        """Text beside a constant of another type, or the other way round: the constant takes the other's type."""
        if (left.type is _T.STRING) == (right.type is _T.STRING) or {left.type, right.type} & _NEVER_AS_TEXT:
            return left, right
        if (left.constant is None) == (right.constant is None):
            return left, right
        if right.constant is not None:
            changed = left, self.converted_constant(right, left.type)
        else:
            changed = self.converted_constant(left, right.type), right
        self.warn("KQL0307", f"A {left.type} is compared with a {right.type}.", node, "Convert one of them.")
        return changed

    def converted_constant(self, value: Expr, type: KustoType) -> Expr:
        """A constant as another type."""
        constant = value.constant
        if constant is None or constant.value is None:
            return missing(type)
        if type is _T.STRING:
            known = constant.value
            return text_literal(str(known).lower() if isinstance(known, bool) else str(known))
        valid, found = typed_value(type, str(constant.value).strip() or "null")
        return Literal(type, found if valid else None)

    def _any_column(self, node: n.Binary) -> Expr:
        """`* has "x"`: whether any column of text matches."""
        right = self.bind(node.right)
        tests: list[Expr] = []
        for column in self.rows.visible if self.rows is not None else ():
            operand: Expr = ref(column)
            if column.type is not _T.STRING and right.type is _T.STRING:
                operand = Convert(_T.STRING, operand)
            elif column.type is not right.type:
                continue
            tests.append(self.apply(node, OPERATORS[node.op], (operand, right), f"`{node.op}`"))
        if not tests:
            return Literal(_T.BOOL, False)
        return self.chain(node, "__or", tests, "`or`")

    def _logical(self, node: n.Logical) -> Expr:
        operands = [self.bind(operand) for operand in node.operands]
        return self.chain(node, OPERATORS[node.op], operands, f"`{node.op}`")

    def chain(self, node: n.Node, name: str, operands: Sequence[Expr], shown: str) -> Expr:
        """`and` or `or` of many operands, as a balanced tree: its depth stays small."""
        items = list(operands)
        while len(items) > 1:
            items = [
                self.apply(node, name, items[i : i + 2], shown) if i + 1 < len(items) else items[i]
                for i in range(0, len(items), 2)
            ]
        return items[0]

    def _between(self, node: n.Between) -> Expr:
        parts = (self.bind(node.operand), self.bind(node.low), self.bind(node.high))
        name = "!between" if node.negated else "between"
        return self.apply(node, OPERATORS[name], parts, f"`{name}`")

    def _membership(self, node: n.Membership) -> Expr:
        if isinstance(node.operand, n.Wildcard):
            self.report("KQL0106", f"`* {node.op}` is not supported.", node)
            return POISON
        operand = self.bind(node.operand)
        if len(node.items) == 1 and self.tabular_value(node.items[0]):
            return self.in_query(node, operand)
        items = [self.compared(node, operand, self.bind(item))[1] for item in node.items]
        if not items:
            return Literal(_T.BOOL, node.op.startswith("!"))
        return self.apply(node, OPERATORS[node.op], (operand, *items), f"`{node.op}`")

    def _typeof(self, node: n.TypeOf) -> Expr:
        return text_literal(node.type.value if node.type is not None else "")

    def _wildcard(self, node: n.Wildcard) -> Expr:
        self.report("KQL0106", f"`{node.pattern}` cannot stand here.", node)
        return POISON

    def _tabular(self, node: n.Expression) -> Expr:
        self.report(
            "KQL0101",
            "A table stands where a single value is expected.",
            node,
            "Use `toscalar()` to take one value of it.",
        )
        return POISON

    def _method(self, node: n.MethodCall) -> Expr:
        self.report("KQL0106", f"`.{node.call.name}()` is not supported here.", node)
        return POISON

    # Helpers of the operators.

    def bind_bool(self, node: n.Expression, what: str) -> Expr:
        """A condition."""
        value = self.bind(node)
        if isinstance(value, Poison) or value.type is _T.BOOL:
            return value
        if value.argument.untyped:
            return missing(_T.BOOL)
        message = f"{what} needs a condition, not a {value.type}."
        self.report("KQL0113", message, node, condition_cure(value.type))
        return POISON

    def bind_as(self, node: n.Expression, type: KustoType) -> Expr:
        """A value brought to `type`."""
        value = self.bind(node)
        return self.as_type(value, type)

    def own_name(self, node: n.Expression) -> str | None:
        """The name an expression brings along: a column's, or a path's `a_b`; None if it has none."""
        if isinstance(node, n.Name):
            return node.name
        if isinstance(node, n.Member):
            if isinstance(node.operand, n.Name) and node.operand.name in ("$left", "$right"):
                return node.name
            outer = self.own_name(node.operand)
            return f"{outer}_{node.name}" if outer else node.name
        if isinstance(node, n.Index):
            outer = self.own_name(node.operand)
            index = node.index.value if isinstance(node.index, n.Literal) else None
            if outer and index is not None and not isinstance(index, float):
                return f"{outer}_{index}"
        if isinstance(node, n.Call) and node.name in ("column_ifexists", "columnifexists"):
            return self._own_name_of_choice(node)
        if isinstance(node, n.Call):
            names = self.call_names(node)
            return names[0] if len(names) == 1 and names[0] else None
        return None

    def _own_name_of_choice(self, node: n.Call) -> str | None:
        """The name of the column that `column_ifexists` comes to."""
        if len(node.arguments) != 2:
            return None
        first, default = (argument.value for argument in node.arguments)
        name = (
            first.name if isinstance(first, n.Name) else first.value if isinstance(first, n.Literal) else None
        )
        found = self.rows is not None and isinstance(name, str) and self.rows.find(name) is not None
        return name if found else self.own_name(default)

    def call_names(self, node: n.Call) -> tuple[str, ...]:
        """The automatic column names of a call; "" where the place decides."""
        function = self.functions.find(node.name)
        if function is None or isinstance(self.environment.find(node.name), FunctionBinding):
            return ("",)
        constants = [_constant(argument.value) for argument in node.arguments]
        own = [argument.name or self.own_name(argument.value) for argument in node.arguments]
        return function.auto_names(own, constants)


def _constant(node: n.Expression) -> Constant | None:
    return Constant(node.value) if isinstance(node, n.Literal) else None


_METHODS: dict[type[n.Expression], Callable[[ExpressionBinder, Any], Expr]] = {
    n.Literal: ExpressionBinder._literal,
    n.Name: ExpressionBinder._name,
    n.Member: ExpressionBinder._member,
    n.Index: ExpressionBinder._index,
    n.Unary: ExpressionBinder._unary,
    n.Binary: ExpressionBinder._binary,
    n.Logical: ExpressionBinder._logical,
    n.Between: ExpressionBinder._between,
    n.Membership: ExpressionBinder._membership,
    n.TypeOf: ExpressionBinder._typeof,
    n.Wildcard: ExpressionBinder._wildcard,
    n.Call: ExpressionBinder._call,
    n.MethodCall: ExpressionBinder._method,
    n.Pipeline: ExpressionBinder._tabular,
}
