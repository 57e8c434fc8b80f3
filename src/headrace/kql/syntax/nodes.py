"""The syntax tree of expressions and statements. `start` and `end` are character offsets into the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.kql.types import KustoType


@dataclass(frozen=True, slots=True)
class Node:
    """Anything with a place in the text."""

    start: int
    end: int


class Expression(Node):
    """A scalar expression, or a tabular one in a place that takes either."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A constant. Datetime and timespan values are ticks, dynamic values JSON text; None is null."""

    value: Any
    type: KustoType


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A reference to a column, a `let` name, a table or a function without arguments."""

    name: str


@dataclass(frozen=True, slots=True)
class Wildcard(Expression):
    """A name pattern: `*`, `abc*`, `*_CL`."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Member(Expression):
    """`operand.name`."""

    operand: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """`operand[index]`."""

    operand: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Argument(Node):
    """One argument of a call; `name` is set in `f(name=value)`."""

    name: str | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """`name(arguments)`; `name_end` is where the name stops."""

    name: str
    arguments: tuple[Argument, ...]
    name_end: int


@dataclass(frozen=True, slots=True)
class MethodCall(Expression):
    """`operand.name(arguments)`: a function or table of what `operand` names, as in `workspace("x").table("T")`."""

    operand: Expression
    call: Call


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """`-operand` or `+operand`."""

    op: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """`left op right`, arithmetic, comparison or string operator."""

    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Logical(Expression):
    """A chain of `and` or of `or`."""

    op: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Membership(Expression):
    """`operand in (items)` and its kin: `!in in~ !in~ has_any has_all`."""

    op: str
    operand: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Between(Expression):
    """`operand between (low .. high)`."""

    negated: bool
    operand: Expression
    low: Expression
    high: Expression


@dataclass(frozen=True, slots=True)
class TypeOf(Expression):
    """`typeof(type)`; a schema where several columns stand in the parentheses."""

    type: KustoType | None
    columns: tuple[ColumnDeclaration, ...] = ()


@dataclass(frozen=True, slots=True)
class Named(Expression):
    """`name = value` or `(a, b) = value` in a list of columns; no names where the text gives none."""

    names: tuple[str, ...]
    value: Expression


@dataclass(frozen=True, slots=True)
class ColumnDeclaration(Node):
    """`name: type`, with a default in functions and scans."""

    name: str
    type: KustoType
    default: Expression | None = None


class Operator(Node):
    """A tabular operator; see `tabular.py`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Pipeline(Expression):
    """`source | operator | ...`; the source is an expression, or an operator that needs no input."""

    source: Expression | Operator
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """A function's parameter: scalar with `type`, tabular with `columns` (None: any columns)."""

    name: str
    type: KustoType | None
    columns: tuple[ColumnDeclaration, ...] | None
    default: Expression | None
    tabular: bool


class Statement(Node):
    """A statement; statements are parted by `;`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Let(Statement):
    """`let name = value`."""

    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class LetFunction(Statement):
    """`let name = [view] (parameters) { body }`."""

    name: str
    parameters: tuple[Parameter, ...]
    body: Body
    view: bool


@dataclass(frozen=True, slots=True)
class Body(Node):
    """What stands in a function's braces: statements and, last, the result."""

    statements: tuple[Statement, ...]
    result: Expression | None


@dataclass(frozen=True, slots=True)
class ExpressionStatement(Statement):
    """A tabular expression whose rows are a result."""

    value: Expression


@dataclass(frozen=True, slots=True)
class SetStatement(Statement):
    """`set option [= value]`."""

    option: str
    value: Expression | None = None


@dataclass(frozen=True, slots=True)
class Declare(Statement):
    """`declare query_parameters(name: type = default, ...)`."""

    parameters: tuple[ColumnDeclaration, ...]


@dataclass(frozen=True, slots=True)
class Unsupported(Statement):
    """A statement that is recognised and refused, such as `alias` or `restrict`."""

    name: str


@dataclass(frozen=True, slots=True)
class Script(Node):
    """A whole text."""

    statements: tuple[Statement, ...]
