"""Lowerings of window functions.

The order of the serialized rows becomes a row number first, in a select below; all that builds on it orders
by that number, so ties cannot fall differently in two windows.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Context, ContextLowering, Typed, lowers_in_context
from headrace.kql.sql.functions.convert import STRING, converted
from headrace.kql.sql.functions.strings import constant_long


def _over(
    function: exp.Expression,
    order: Sequence[exp.Expression],
    partition: exp.Expression | None = None,
    *,
    running: bool = False,
) -> exp.Expression:
    spec = None
    if running:
        spec = exp.WindowSpec(
            kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW", end_side=None
        )
    return exp.Window(
        this=function,
        partition_by=[partition] if partition is not None else [],
        order=exp.Order(expressions=list(order)) if order else None,
        spec=spec,
        over="OVER",
    )


def _position(context: Context) -> exp.Expression:
    """The number of the row, from 1."""
    return context.hoist(_over(b.call("row_number"), context.order()))


def _group(context: Context, position: exp.Expression, restart: Typed | None) -> exp.Expression | None:
    """How often the count has been restarted up to the row."""
    if restart is None or (restart.constant is not None and not restart.constant.value):
        return None
    flag = b.when(restart.sql, b.number(1), b.number(0))
    return context.hoist(_over(b.call("sum", flag), [b.again(position)], running=True))


def _copy(group: exp.Expression | None) -> exp.Expression | None:
    return b.again(group) if group is not None else None


def _neighbour(engine: str, opposite: str) -> ContextLowering:
    def lowering(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
        value = arguments[0]
        offset = constant_long(arguments[1]) if len(arguments) > 1 else 1
        distance = 1 if offset is None else offset
        name = engine if distance >= 0 else opposite
        parts = [value.sql, b.number(abs(distance))]
        if len(arguments) > 2:
            parts.append(converted(arguments[2].sql, arguments[2].type, value.type))
        # In a select below, so that other window functions can build on it.
        made = context.hoist(_over(b.call(name, *parts), context.order()))
        return b.coalesce(made, "") if value.type is STRING else made

    return lowering


lowers_in_context("prev")(_neighbour("lag", "lead"))
lowers_in_context("next")(_neighbour("lead", "lag"))


@lowers_in_context("row_number")
def row_number(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """From the start, anew where the restart holds."""
    start = arguments[0].sql if arguments else b.number(1)
    position = _position(context)
    group = _group(context, position, arguments[1] if len(arguments) > 1 else None)
    counted = position
    if group is not None:
        counted = _over(b.call("row_number"), [b.again(position)], group)
    return b.add(b.subtract(counted, 1), start)


@lowers_in_context("row_cumsum")
def row_cumsum(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """A null counts as nothing."""
    term = arguments[0]
    position = _position(context)
    group = _group(context, position, arguments[1] if len(arguments) > 1 else None)
    total = _over(b.call("sum", b.coalesce(term.sql, 0)), [b.again(position)], _copy(group), running=True)
    kind = "BIGINT" if term.type.value in ("int", "long", "timespan") else b.SQL_TYPES[term.type]
    return b.try_cast(total, kind)


def _changed(
    context: Context, term: Typed, position: exp.Expression, group: exp.Expression | None
) -> exp.Expression:
    """1 in each row whose value differs from the row before, and in the first row."""
    before = _over(b.call("lag", term.sql), [b.again(position)], _copy(group))
    number = _over(b.call("row_number"), [b.again(position)], _copy(group))
    differs = exp.NullSafeNEQ(this=b.wrap(b.again(term.sql)), expression=before)
    first = b.equals(number, 1)
    return context.hoist(b.when(b.either(first, differs), b.number(1), b.number(0)))


@lowers_in_context("row_rank_dense")
def row_rank_dense(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """One more at each change of value."""
    position = _position(context)
    group = _group(context, position, arguments[1] if len(arguments) > 1 else None)
    changed = _changed(context, arguments[0], position, group)
    return b.cast(_over(b.call("sum", changed), [b.again(position)], _copy(group), running=True), "BIGINT")


@lowers_in_context("row_rank_min")
def row_rank_min(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """The number of the row at the last change of value."""
    position = _position(context)
    group = _group(context, position, arguments[1] if len(arguments) > 1 else None)
    changed = _changed(context, arguments[0], position, group)
    number = context.hoist(_over(b.call("row_number"), [b.again(position)], _copy(group)))
    at_change = b.when(b.equals(changed, 1), number)
    return b.cast(_over(b.call("max", at_change), [b.again(position)], _copy(group), running=True), "BIGINT")


@lowers_in_context("row_window_session")
def row_window_session(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """Gaps and restarts cut the rows first; inside, a session ends past its most from the first."""
    time, most, between = arguments[:3]
    position = _position(context)
    gap = b.subtract(b.again(time.sql), _over(b.call("lag", b.again(time.sql)), [b.again(position)]))
    cut = exp.GT(this=b.wrap(gap), expression=b.wrap(between.sql))
    conditions: list[exp.Expression] = [cut]
    if len(arguments) == 4:
        conditions.append(arguments[3].sql)
    flag = context.hoist(b.when(b.either(*conditions), b.number(1), b.number(0)))
    group = context.hoist(_over(b.call("sum", flag), [b.again(position)], running=True))
    times = context.hoist(
        _over(b.call("list", b.again(time.sql)), [b.again(position)], b.again(group), running=True)
    )
    start, moment = b.name_("kql_s"), b.name_("kql_t")
    past = exp.GT(this=b.wrap(b.subtract(moment, start)), expression=b.wrap(most.sql))
    step = exp.Lambda(
        this=b.when(past, b.again(moment), b.again(start)),
        expressions=[exp.to_identifier("kql_s"), exp.to_identifier("kql_t")],
    )
    return b.call("list_reduce", times, step)
