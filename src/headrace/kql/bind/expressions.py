"""Scalar expressions: names to columns, calls to registered functions, constants folded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headrace.kql.bind.base import BinderBase, text_literal
from headrace.kql.bind.fold import fold
from headrace.kql.bind.functions.operators import condition_cure
from headrace.kql.bind.functions.registry import OPERATORS, Constant, Function, Kind, Mismatch
from headrace.kql.bind.patterns import pattern_fault, pattern_place, plain_groups
from headrace.kql.bind.scope import FunctionBinding, ScalarBinding
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Convert,
    Expr,
    Literal,
    Nth,
    Poison,
    Ref,
    ScalarQuery,
    missing,
    rebuild,
    ref,
)
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax.literals import typed_value
from headrace.kql.types import KustoType

_T = KustoType
_COMPARING = frozenset(["==", "!=", "<>", "<", "<=", ">", ">="])
_NEVER_AS_TEXT = frozenset([_T.DYNAMIC, _T.DATETIME, _T.TIMESPAN])
POISON = Poison(_T.DYNAMIC)


class ExpressionBinder(BinderBase):
    """Binds scalar expressions against the rows at hand."""

    aggregates: list[tuple[tuple[Column, ...], Apply]] | None = None
    """Where aggregate calls go while a `summarize` is bound; None where none may stand."""
    in_aggregate = False
    _held: tuple[tuple[Column, Expr], ...] = ()
    """Sub-queries, each as a column, that stand where no engine takes one: in an aggregate, in a step of `scan`."""

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

    def bind_special(self, node: n.Call) -> Expr | None:
        """A call that needs more than its arguments' values; None for an ordinary one."""
        raise NotImplementedError

    def bind_user_function(self, node: n.Call, binding: FunctionBinding) -> Expr:
        """A call of a user's scalar function."""
        raise NotImplementedError

    def in_query(self, node: n.Membership, operand: Expr) -> Expr:
        """Membership in the rows of a sub-query."""
        raise NotImplementedError

    query_depth: int = 0
    """How many sub-queries (of `toscalar`, of `in`) enclose what is being bound."""

    @contextmanager
    def sub_query(self) -> Iterator[None]:
        """The inside of a sub-query: it sees no rows of those around it, nor the aggregate that it stands in."""
        before = self.aggregates, self.in_aggregate, self._held
        self.aggregates, self.in_aggregate, self._held = None, False, ()
        self.query_depth += 1
        try:
            with self.row_scope(None):
                yield
        finally:
            self.query_depth -= 1
            self.aggregates, self.in_aggregate, self._held = before

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

    # Calls.

    def _call(self, node: n.Call) -> Expr:
        binding = self.environment.find(node.name)
        if isinstance(binding, FunctionBinding):
            return self.bind_user_function(node, binding)
        special = self.bind_special(node)
        if special is not None:
            return special
        function = self.functions.find(node.name)
        if function is None:
            known = [*self.functions.names(), *self.environment.all_names()]
            self.no_function(node, known)
            for argument in node.arguments:
                if not isinstance(argument.value, n.Wildcard):
                    self.bind(argument.value)
            return POISON
        if function.kind is Kind.AGGREGATE:
            return self._aggregate(node, function)
        return self._function(node, function, self._arguments(node))

    def _arguments(self, node: n.Call) -> list[Expr]:
        bound: list[Expr] = []
        for argument in node.arguments:
            if argument.name is not None:
                message = (
                    f"`{node.name}` goes by its arguments' places; the name `{argument.name}` has no effect."
                )
                self.warn("KQL0309", message, argument, "Leave the name out.")
            bound.append(self.bind(argument.value))
        return bound

    def _function(self, node: n.Call, function: Function, arguments: Sequence[Expr]) -> Expr:
        if function.kind is Kind.WINDOW and self.rows is not None and not self.rows.serialized:
            self.warn(
                "KQL0301",
                f"`{node.name}` depends on the order of rows, and these have none.",
                node,
                "Put `sort` or `serialize` before.",
            )
        return self.apply(
            node, function.name, arguments, f"`{node.name}`", function=function, spelled=node.name
        )

    def allowed(self, node: n.Node, function: Function, spelled: str) -> bool:
        """Whether the profile takes the function; a refusal is reported, a doubt warned about."""
        verdict, message = self.profile.function(function, spelled)
        if verdict == "refuse":
            self.report("KQL0201", message, node)
            return False
        if verdict == "warn":
            self.warn("KQL0302", message, node)
        return True

    def apply(
        self,
        node: n.Node,
        name: str,
        arguments: Sequence[Expr],
        shown: str,
        *,
        function: Function | None = None,
        spelled: str | None = None,
    ) -> Expr:
        """A call of the declared function `name`, folded where its value is known."""
        if any(isinstance(argument, Poison) for argument in arguments):
            return POISON
        function = function or self.functions.find(name)
        if function is None:
            self.report("KQL0106", f"{shown} is not supported.", node)
            return POISON
        if not self.allowed(node, function, spelled or shown.strip("`")):
            return POISON
        try:
            resolution = function.resolve([argument.argument for argument in arguments])
        except Mismatch as mismatch:
            if not self._follows(arguments):
                at = self._at_fault(node, mismatch)
                self.report("KQL0109", f"{shown} {mismatch.message}.", at, mismatch.cure)
            return POISON
        if not self._patterned(node, function, arguments):
            return POISON
        arguments = plain_groups(function.name, arguments)
        folded = fold(function, arguments, resolution.result)
        if folded is not None:
            return folded
        return Apply(resolution.result, function, tuple(arguments), resolution)

    def _follows(self, arguments: Sequence[Expr]) -> bool:
        """Whether wrong arguments say nothing new: a problem was reported before, and left them without a type."""
        broken = self.rows is not None and self.rows.broken
        return broken and any(argument.type is _T.DYNAMIC for argument in arguments)

    def _patterned(self, node: n.Node, function: Function, arguments: Sequence[Expr]) -> bool:
        """Whether a call's constant pattern is one; a wrong one is reported."""
        place = pattern_place(function.name, arguments)
        constant = arguments[place].constant if place is not None else None
        if constant is None or not isinstance(constant.value, str):
            return True
        fault = pattern_fault(constant.value)
        if fault is not None:
            at = node.arguments[place] if isinstance(node, n.Call) and place is not None else node
            self.report("KQL0121", f"This is no regular expression (RE2): {fault}.", at)
        return fault is None

    @staticmethod
    def _at_fault(node: n.Node, mismatch: Mismatch) -> n.Node:
        if (
            isinstance(node, n.Call)
            and mismatch.argument is not None
            and mismatch.argument < len(node.arguments)
        ):
            return node.arguments[mismatch.argument]
        if isinstance(node, n.Membership) and mismatch.argument:
            return node.items[min(mismatch.argument, len(node.items)) - 1]
        return node

    def _aggregate(self, node: n.Call, function: Function) -> Expr:
        if self.aggregates is None or self.in_aggregate:
            # Some aggregates have a scalar namesake, declared under a name that no text can spell.
            scalar = self.functions.find("__scalar_" + function.name)
            if scalar is not None:
                return self._function(node, scalar, self._arguments(node))
        applied = self.aggregate_call(node, function)
        if applied is None or self.aggregates is None:
            return POISON
        if len(applied.resolution.results) > 1:
            self.report(
                "KQL0110", f"`{node.name}` makes several columns; it cannot stand in an expression.", node
            )
            return POISON
        column = self.new_column(node.name, applied.type)
        self.aggregates.append(((column,), applied))
        return ref(column)

    def aggregate_call(self, node: n.Call, function: Function) -> Apply | None:
        """An aggregate's call with its arguments bound over the input rows; None after a problem."""
        if self.aggregates is None:
            hint = "Put it in a `summarize`."
            self.report("KQL0111", f"`{node.name}` is an aggregate; it cannot stand here.", node, hint)
            return None
        if self.in_aggregate:
            self.report("KQL0112", f"`{node.name}` is an aggregate inside an aggregate.", node)
            return None
        if not self.allowed(node, function, node.name):
            return None
        self.in_aggregate = True
        try:
            arguments: list[Expr] = []
            for argument in node.arguments:
                if isinstance(argument.value, n.Wildcard) and argument.value.pattern == "*":
                    if self.rows is not None and self.rows.broken and not self.rows.columns:
                        return None
                    arguments.extend(self.star_arguments(arguments))
                else:
                    arguments.append(self.without_queries(self.bind(argument.value)))
        finally:
            self.in_aggregate = False
        bound = self.apply_aggregate(node, function, arguments)
        return bound if isinstance(bound, Apply) else None

    def without_queries(self, value: Expr) -> Expr:
        """The value with a column in the place of each sub-query, which `held_columns` computes before."""

        def change(part: Expr) -> Expr | None:
            if not isinstance(part, ScalarQuery):
                return None
            column = self.new_column("", part.type)
            self._held += ((column, part),)
            return ref(column)

        return rebuild(value, change)

    def held_columns(self) -> tuple[tuple[Column, Expr], ...]:
        """What must be computed below what was bound since this was last asked."""
        held, self._held = self._held, ()
        return held

    star_excluded: frozenset[Column] = frozenset()

    def star_arguments(self, given: Sequence[Expr]) -> list[Expr]:
        """The columns that `*` means in `arg_max(x, *)`: all but the keys and what is given already."""
        named = {item.column for item in given if isinstance(item, Ref)}
        rows = self.rows.visible if self.rows is not None else ()
        return [ref(column) for column in rows if column not in named and column not in self.star_excluded]

    def apply_aggregate(self, node: n.Call, function: Function, arguments: Sequence[Expr]) -> Expr:
        """An aggregate's typed call."""
        if any(isinstance(argument, Poison) for argument in arguments):
            return POISON
        try:
            resolution = function.resolve([argument.argument for argument in arguments])
        except Mismatch as mismatch:
            if not self._follows(arguments):
                at = self._at_fault(node, mismatch)
                self.report("KQL0109", f"`{node.name}` {mismatch.message}.", at, mismatch.cure)
            return POISON
        return Apply(resolution.result, function, tuple(arguments), resolution)

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

    @staticmethod
    def as_type(value: Expr, type: KustoType) -> Expr:
        """The value converted, constants at once where that is plain."""
        if value.type is type or isinstance(value, Poison):
            return value
        constant = value.constant
        if constant is not None and constant.value is None:
            return missing(type)
        if constant is not None and isinstance(constant.value, int) and not isinstance(constant.value, bool):
            if value.type in (_T.LONG, _T.INT) and type in (_T.LONG, _T.INT):
                return Literal(type, constant.value)
            if value.type in (_T.LONG, _T.INT) and type is _T.REAL:
                return Literal(type, float(constant.value))
        return Convert(type, value)

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
