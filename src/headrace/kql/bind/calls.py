"""Calls of declared functions: allowed, resolved, folded; aggregates and what they stand in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from headrace.kql.bind.base import POISON, BinderBase
from headrace.kql.bind.fold import fold
from headrace.kql.bind.functions.registry import Function, Kind, Mismatch, Resolution
from headrace.kql.bind.patterns import pattern_fault, pattern_place, plain_groups
from headrace.kql.bind.scope import FunctionBinding
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Convert,
    Expr,
    Literal,
    Poison,
    Ref,
    ScalarQuery,
    missing,
    rebuild,
    ref,
)
from headrace.kql.syntax import nodes as n
from headrace.kql.types import KustoType

_T = KustoType


class CallBinder(BinderBase):
    """Binds calls."""

    aggregates: list[tuple[tuple[Column, ...], Apply]] | None = None
    """Where aggregate calls go while a `summarize` is bound; None where none may stand."""
    in_aggregate = False
    _held: tuple[tuple[Column, Expr], ...] = ()
    """Sub-queries, each as a column, that stand where no engine takes one: in an aggregate, in a step of `scan`."""

    star_excluded: frozenset[Column] = frozenset()
    """What `*` in an aggregate leaves out: the keys."""
    query_depth = 0
    """How many sub-queries (of `toscalar`, of `in`) enclose what is being bound."""

    def bind(self, node: n.Expression) -> Expr:
        """The typed expression; a problem is recorded and gives a poisoned one."""
        raise NotImplementedError

    def bind_special(self, node: n.Call) -> Expr | None:
        """A call that needs more than its arguments' values; None for an ordinary one."""
        raise NotImplementedError

    def bind_user_function(self, node: n.Call, binding: FunctionBinding) -> Expr:
        """A call of a user's scalar function."""
        raise NotImplementedError

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
        resolution = self._resolved(node, function, arguments, shown)
        if resolution is None:
            return POISON
        if not self._patterned(node, function, arguments):
            return POISON
        arguments = plain_groups(function.name, arguments)
        folded = fold(function, arguments, resolution.result)
        if folded is not None:
            return folded
        return Apply(resolution.result, function, tuple(arguments), resolution)

    def _resolved(
        self, node: n.Node, function: Function, arguments: Sequence[Expr], shown: str
    ) -> Resolution | None:
        """How a call binds; None after a problem."""
        try:
            return function.resolve([argument.argument for argument in arguments])
        except Mismatch as mismatch:
            if not self._follows(arguments):
                at = self._at_fault(node, mismatch)
                self.report("KQL0109", f"{shown} {mismatch.message}.", at, mismatch.cure)
            return None

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
        if any(isinstance(argument, Poison) for argument in arguments):
            return None
        resolution = self._resolved(node, function, arguments, f"`{node.name}`")
        return Apply(resolution.result, function, tuple(arguments), resolution) if resolution else None

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

    def star_arguments(self, given: Sequence[Expr]) -> list[Expr]:
        """The columns that `*` means in `arg_max(x, *)`: all but the keys and what is given already."""
        named = {item.column for item in given if isinstance(item, Ref)}
        rows = self.rows.visible if self.rows is not None else ()
        return [ref(column) for column in rows if column not in named and column not in self.star_excluded]

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
