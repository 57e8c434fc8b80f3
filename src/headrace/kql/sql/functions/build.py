"""Short words for building SQL expression trees of the DuckDB dialect.

Calls are `exp.Anonymous`, so a name reaches the engine as it is written here, whatever the builder of the
SQL text would make of it.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from decimal import Decimal

from sqlglot import exp

from headrace.kql.types import KustoType

DECIMAL_SCALE = 12

SQL_TYPES = {
    KustoType.STRING: "VARCHAR",
    KustoType.INT: "INT",
    KustoType.LONG: "BIGINT",
    KustoType.REAL: "DOUBLE",
    KustoType.BOOL: "BOOLEAN",
    KustoType.DATETIME: "BIGINT",
    KustoType.TIMESPAN: "BIGINT",
    KustoType.DYNAMIC: "VARCHAR",
    KustoType.GUID: "VARCHAR",
    KustoType.DECIMAL: "DECIMAL",
}

_ATOMS = (
    exp.Column,
    exp.Literal,
    exp.Anonymous,
    exp.Paren,
    exp.Cast,
    exp.TryCast,
    exp.Boolean,
    exp.Null,
    exp.Case,
    exp.Coalesce,
    exp.Nullif,
    exp.Identifier,
    exp.Array,
    exp.Window,
    exp.Func,
)


def call(name: str, *arguments: exp.Expression | str | int | float) -> exp.Expression:
    """A call of an engine's function; plain Python values become literals."""
    return exp.Anonymous(this=name, expressions=[value(argument) for argument in arguments])


def value(item: exp.Expression | str | int | float) -> exp.Expression:
    """An expression as it is, a Python value as a literal."""
    if isinstance(item, exp.Expression):
        return item
    if isinstance(item, bool):
        return exp.Boolean(this=item)
    if isinstance(item, str):
        return text(item)
    if isinstance(item, float):
        return real(item)
    return number(item)


def text(content: str) -> exp.Expression:
    """A string literal. A NUL, which SQL text cannot carry, is spelled as chr(0)."""
    if "\0" not in content:
        return exp.Literal(this=content, is_string=True)
    parts: list[exp.Expression] = []
    for index, piece in enumerate(content.split("\0")):
        if index:
            parts.append(call("chr", 0))
        parts.append(exp.Literal(this=piece, is_string=True))
    return call("concat", *parts)


def number(content: int) -> exp.Expression:
    """An integer literal; a negative one in parentheses."""
    literal = exp.Literal(this=str(abs(content)), is_string=False)
    return literal if content >= 0 else exp.Paren(this=exp.Neg(this=literal))


def long(content: int) -> exp.Expression:
    """An integer literal that is a BIGINT, so that arithmetic cannot narrow it."""
    if content == -(2**63):
        return cast(text(str(content)), "BIGINT")
    return cast(number(content), "BIGINT")


def real(content: float) -> exp.Expression:
    """A DOUBLE literal, exact, infinities and NaN included."""
    return cast(text(repr(content)), "DOUBLE")


def decimal(content: Decimal) -> exp.Expression:
    """A DECIMAL literal."""
    return cast(text(format(content, "f")), "DECIMAL")


def null(name: str) -> exp.Expression:
    """The null of an SQL type."""
    return cast(exp.Null(), name)


def true() -> exp.Expression:
    """The literal TRUE."""
    return exp.Boolean(this=True)


def false() -> exp.Expression:
    """The literal FALSE."""
    return exp.Boolean(this=False)


def data_type(name: str) -> exp.DataType:
    """The type node of an SQL type's name; DECIMAL is of the scale that decimals have throughout."""
    if name == "DECIMAL":
        params = [
            exp.DataTypeParam(this=number(38)),
            exp.DataTypeParam(this=number(DECIMAL_SCALE)),
        ]
        return exp.DataType(this=exp.DataType.Type.DECIMAL, expressions=params)
    if name.endswith("[]"):
        inner = data_type(name[:-2])
        return exp.DataType(this=exp.DataType.Type.ARRAY, expressions=[inner], nested=True)
    return exp.DataType(this=exp.DataType.Type[name])


def cast(expression: exp.Expression, name: str) -> exp.Cast:
    """CAST, which ends the statement where a value does not fit."""
    return exp.Cast(this=expression, to=data_type(name))


def try_cast(expression: exp.Expression, name: str) -> exp.TryCast:
    """TRY_CAST: NULL where a value does not fit."""
    return exp.TryCast(this=expression, to=data_type(name))


def attempt(expression: exp.Expression) -> exp.Expression:
    """TRY(...): NULL where the expression fails on a row. It must hold no aggregate and no window."""
    return call("try", expression)


def again(expression: exp.Expression) -> exp.Expression:
    """A copy, for the second use of an expression in one tree."""
    return expression.copy()


def wrap(expression: exp.Expression) -> exp.Expression:
    """The expression, in parentheses unless it needs none as an operand."""
    if isinstance(expression, (exp.Connector, exp.Binary, exp.Unary)) or not isinstance(expression, _ATOMS):
        return expression if isinstance(expression, exp.Paren) else exp.Paren(this=expression)
    return expression


def binary(kind: type[exp.Binary], left: exp.Expression, right: exp.Expression | int | str) -> exp.Expression:
    """Two operands joined by an operator, each in parentheses where it needs them."""
    return typing.cast("exp.Expression", kind(this=wrap(left), expression=wrap(value(right))))


def add(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """`left + right`."""
    return binary(exp.Add, left, right)


def subtract(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """`left - right`."""
    return binary(exp.Sub, left, right)


def multiply(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """`left * right`."""
    return binary(exp.Mul, left, right)


def whole(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """Integer division, cut towards zero; NULL by zero."""
    return call("divide", left, value(right))


def ratio(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """Division of doubles."""
    return exp.Div(this=wrap(left), expression=wrap(value(right)), typed=False, safe=False)


def modulo(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """The remainder, with the sign of the left side; NULL by zero."""
    return exp.Mod(this=wrap(left), expression=wrap(value(right)))


def floor_multiple(number_: exp.Expression, size: exp.Expression | int) -> exp.Expression:
    """The greatest multiple of a size that is no more than the integer; NULL for a size of zero."""
    size = value(size)
    remainder = modulo(exp.Paren(this=add(modulo(number_, size), again(size))), again(size))
    return subtract(again(number_), remainder)


def equals(left: exp.Expression, right: exp.Expression | int | str) -> exp.Expression:
    """`left = right`."""
    return binary(exp.EQ, left, right)


def less(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """`left < right`."""
    return binary(exp.LT, left, right)


def at_least(left: exp.Expression, right: exp.Expression | int) -> exp.Expression:
    """`left >= right`."""
    return binary(exp.GTE, left, right)


def both(*conditions: exp.Expression) -> exp.Expression:
    """All conditions joined with AND."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = exp.And(this=wrap(result), expression=wrap(condition))
    return result


def either(*conditions: exp.Expression) -> exp.Expression:
    """All conditions joined with OR."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = exp.Or(this=wrap(result), expression=wrap(condition))
    return result


def negation(condition: exp.Expression) -> exp.Expression:
    """NOT condition."""
    return exp.Not(this=wrap(condition))


def is_null(expression: exp.Expression) -> exp.Expression:
    """`expression IS NULL`."""
    return exp.Is(this=wrap(expression), expression=exp.Null())


def is_not_null(expression: exp.Expression) -> exp.Expression:
    """`expression IS NOT NULL`."""
    return exp.Not(this=exp.Is(this=wrap(expression), expression=exp.Null()))


def coalesce(first: exp.Expression, *rest: exp.Expression | str | int) -> exp.Expression:
    """COALESCE."""
    return exp.Coalesce(this=first, expressions=[value(item) for item in rest])


def null_if(expression: exp.Expression, other: exp.Expression | str | int) -> exp.Expression:
    """NULLIF."""
    return exp.Nullif(this=expression, expression=value(other))


def choose(
    pairs: Sequence[tuple[exp.Expression, exp.Expression]], default: exp.Expression | None = None
) -> exp.Expression:
    """CASE WHEN ... THEN ... ELSE ... END."""
    branches = [exp.If(this=condition, true=result) for condition, result in pairs]
    return exp.Case(ifs=branches, default=default)


def when(
    condition: exp.Expression, then: exp.Expression, otherwise: exp.Expression | None = None
) -> exp.Expression:
    """CASE with one branch."""
    return choose([(condition, then)], otherwise)


def array(items: Sequence[exp.Expression]) -> exp.Expression:
    """A list literal."""
    return exp.Array(expressions=list(items))


def lambda_(name: str, body: exp.Expression) -> exp.Expression:
    """`name -> body`, for the engine's list functions."""
    return exp.Lambda(this=body, expressions=[exp.to_identifier(name)])


def name_(name: str) -> exp.Expression:
    """A reference to a lambda's parameter or a generated column."""
    return exp.column(name)


def python(name: str, *arguments: exp.Expression | str | int) -> exp.Expression:
    """A call of a Python function of `session`: takes VARCHARs, gives a VARCHAR (see `udf`).

    The engine's COALESCE can outlive the memory of such a result, so it is copied by joining nothing to it.
    """
    made = call("kql_call", text(name), *[as_text(value(argument)) for argument in arguments])
    return exp.Paren(this=exp.DPipe(this=made, expression=text(""), safe=True))


def as_text(expression: exp.Expression) -> exp.Expression:
    """The expression as VARCHAR."""
    if isinstance(expression, exp.Literal) and expression.is_string:
        return expression
    return cast(expression, "VARCHAR")
