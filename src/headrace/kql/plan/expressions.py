"""Typed expressions. Columns have identities, so that renaming, shadowing and joins need no qualification."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.kql.bind.functions.registry import Argument, Constant, Function, Kind, Resolution, Value
from headrace.kql.types import KustoType

if TYPE_CHECKING:
    from headrace.kql.plan.nodes import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of a plan. `id` is unique in a compilation; `name` is what the text calls it."""

    id: int
    name: str
    type: KustoType
    hidden: bool = False

    @property
    def sql_name(self) -> str:
        """The column's name in SQL."""
        return f"c{self.id}"


@dataclass(frozen=True, slots=True, eq=False)
class Expr:
    """A typed expression."""

    type: KustoType

    @property
    def constant(self) -> Constant | None:
        """The value, where it is known at compile time."""
        return None

    @property
    def argument(self) -> Argument:
        """The expression as the function registry sees it."""
        return Argument(self.type, self.constant)


@dataclass(frozen=True, slots=True, eq=False)
class Literal(Expr):
    """A value known at compile time."""

    value: Value

    @property
    def constant(self) -> Constant | None:
        """The value."""
        return Constant(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Ref(Expr):
    """The value of a column."""

    column: Column


@dataclass(frozen=True, slots=True, eq=False)
class Apply(Expr):
    """A call of a registered function or operator."""

    function: Function
    arguments: tuple[Expr, ...]
    resolution: Resolution


@dataclass(frozen=True, slots=True, eq=False)
class Nth(Expr):
    """One result of a scalar function that gives several."""

    call: Apply
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class Convert(Expr):
    """The operand brought to another type, as functions bring their arguments."""

    operand: Expr


@dataclass(frozen=True, slots=True, eq=False)
class ScalarQuery(Expr):
    """The only value of a sub-query (`toscalar`)."""

    plan: Plan
    column: Column


@dataclass(frozen=True, slots=True, eq=False)
class InQuery(Expr):
    """Whether the operand is among the values of a sub-query's column."""

    operand: Expr
    plan: Plan
    column: Column
    negated: bool
    ignore_case: bool


@dataclass(frozen=True, slots=True, eq=False)
class Poison(Expr):
    """Stands where a problem was reported, and keeps it from being reported again."""


def ref(column: Column) -> Ref:
    """A reference to a column."""
    return Ref(column.type, column)


def missing(type: KustoType) -> Literal:
    """The missing value of a type: "" for string, null otherwise."""
    return Literal(type, "" if type is KustoType.STRING else None)


def walk(expression: Expr) -> Iterator[Expr]:
    """The expression and all within it, without the plans of sub-queries."""
    stack = [expression]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, Apply):
            stack.extend(item.arguments)
        elif isinstance(item, Convert | InQuery):
            stack.append(item.operand)
        elif isinstance(item, Nth):
            stack.append(item.call)


def columns_of(expression: Expr) -> set[Column]:
    """The columns that an expression reads, those of the enclosing rows in its sub-queries included."""
    found: set[Column] = set()
    for item in walk(expression):
        if isinstance(item, Ref):
            found.add(item.column)
    return found


def has_window(expression: Expr) -> bool:
    """Whether a window function stands in the expression."""
    return any(isinstance(part, Apply) and part.function.kind is Kind.WINDOW for part in walk(expression))


def is_fixed(expression: Expr) -> bool:
    """Whether the value is the same on every row."""
    return not any(
        isinstance(part, Ref)
        or (isinstance(part, Apply) and (part.function.volatile or part.function.kind is Kind.WINDOW))
        for part in walk(expression)
    )


def rebuild(expression: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with every part that `change` gives a replacement for replaced, outermost first."""
    replaced = change(expression)
    if replaced is not None:
        return replaced
    if isinstance(expression, Apply):
        arguments = tuple(rebuild(argument, change) for argument in expression.arguments)
        if all(new is old for new, old in zip(arguments, expression.arguments, strict=True)):
            return expression
        return Apply(expression.type, expression.function, arguments, expression.resolution)
    if isinstance(expression, Nth):
        call = rebuild(expression.call, change)
        return Nth(expression.type, call, expression.place) if isinstance(call, Apply) else call
    if isinstance(expression, Convert):
        operand = rebuild(expression.operand, change)
        return expression if operand is expression.operand else Convert(expression.type, operand)
    if isinstance(expression, InQuery):
        operand = rebuild(expression.operand, change)
        if operand is expression.operand:
            return expression
        return InQuery(
            expression.type,
            operand,
            expression.plan,
            expression.column,
            expression.negated,
            expression.ignore_case,
        )
    return expression
