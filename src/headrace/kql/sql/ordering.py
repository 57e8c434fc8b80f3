"""Orders that an engine can push into the scan of files."""

from __future__ import annotations

from sqlglot import exp

from headrace.kql.sql.layers import Layer


def by_raw_time(key: exp.Expression, layer: Layer) -> exp.Expression:
    """The key of an order; one by the ticks of a stored time is one by the time itself.

    While an engine looks for the first rows by a plain column it skips what lies behind those it has. The
    column is named with its table, since its bare name would mean the ticks that the select makes of it.
    """
    time = _stored_time(key.this) if isinstance(key, exp.Ordered) else None
    if time is None or layer.joins or not isinstance(layer.source, exp.Subquery):
        return key
    table = exp.Identifier(this=layer.source.alias, quoted=False)
    key.set("this", exp.Column(this=exp.Identifier(this=time.name, quoted=False), table=table))
    return key


def _stored_time(value: exp.Expression) -> exp.Column | None:
    """The column whose ticks the expression gives."""
    if not isinstance(value, exp.Mul) or not isinstance(value.this, exp.Anonymous):
        return None
    called = value.this
    if called.name.lower() != "epoch_us" or len(called.expressions) != 1:
        return None
    column = called.expressions[0]
    return column if isinstance(column, exp.Column) else None
