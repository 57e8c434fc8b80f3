"""Conditions of a WHERE: what is only there to tell false from unknown goes away, since both drop the row.

An engine pushes `c = 5` into the scan of a file, but not `coalesce(c = 5, false)`.
"""

from __future__ import annotations

from sqlglot import exp


def as_condition(expression: exp.Expression) -> exp.Expression:
    """A condition that holds for the same rows. The tree of `expression` is used up."""
    if isinstance(expression, exp.Paren):
        return exp.Paren(this=as_condition(expression.this))
    if isinstance(expression, (exp.And, exp.Or)):
        kind = type(expression)
        return kind(this=as_condition(expression.this), expression=as_condition(expression.expression))
    if isinstance(expression, exp.Coalesce) and _never_true(expression.expressions):
        return exp.Paren(this=as_condition(expression.this))
    return expression


def _never_true(fillers: list[exp.Expression]) -> bool:
    """Whether the one filler is FALSE, or NULLIF(..., TRUE)."""
    if len(fillers) != 1:
        return False
    filler = fillers[0]
    if isinstance(filler, exp.Nullif):
        return isinstance(filler.expression, exp.Boolean) and bool(filler.expression.this)
    return isinstance(filler, exp.Boolean) and not filler.this
