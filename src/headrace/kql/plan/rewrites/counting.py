"""Counting: where rows are only counted, a scan may give one row for many, and how many they are.

It may where the statement tells those rows apart by nothing: of a table's columns it reads such as have one value
throughout, and of `TimeGenerated` only in which of some steps it lies (a comparison with a moment, a bin), and which
is the least and the greatest. Then a file whose times all lie in one step need not be read: how many rows it has, and
its first and last time, are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.registry import Kind, Resolution
from headrace.kql.model import Steps
from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import (
    Apply,
    Column,
    Convert,
    Expr,
    InQuery,
    Literal,
    Nth,
    Poison,
    Ref,
    ScalarQuery,
    ref,
    walk,
)
from headrace.kql.plan.rewrites.time_range import TIME_COLUMN, constant_tick, time_column
from headrace.kql.plan.tree import replaced
from headrace.kql.types import LEAST_DATETIME, KustoType

ROWS = Column(0, "rows", KustoType.LONG, hidden=True)
"""How many rows of a table a row stands for. The binder's columns count from 1."""

_HOUR = 36_000_000_000
_DAY = 24 * _HOUR
_COMPARISONS = frozenset(
    ["__equal", "__not_equal", "__less", "__less_or_equal", "__greater", "__greater_or_equal"]
)
_GRAINS = {
    "hourofday": _HOUR,
    **dict.fromkeys(["startofday", "startofweek", "startofmonth", "startofyear"], _DAY),
    **dict.fromkeys(["endofday", "endofweek", "endofmonth", "endofyear"], _DAY),
    **dict.fromkeys(["dayofweek", "dayofmonth", "dayofyear", "weekofyear"], _DAY),
    **dict.fromkeys(["getmonth", "monthofyear", "getyear"], _DAY),
}
"""Functions that have one value for all times of a bin, whose size in ticks this is."""

_Look = tuple[str, int, int]
"""How a column is read: against a moment, by bins of a size from a start, for its ends, or its very value."""
_VALUE: _Look = ("value", 0, 0)
_ENDS: _Look = ("ends", 0, 0)
_Looks = Mapping[Column, frozenset[_Look]]


def count_by_files(plan: p.Plan, constants: Collection[str], shared: Sequence[p.SharedPlan] = ()) -> p.Plan:
    """The plan, and those in `shared`, whose counts add up what rows stand for where scans can say it.

    `constants` are the names of columns that have one value throughout a table.
    """
    counting = _Counting(constants)
    for each in shared:
        each.plan = replaced(each.plan, counting.change)
    return replaced(plan, counting.change)  # type: ignore[no-any-return]


class _Counting:
    def __init__(self, constants: Collection[str]) -> None:
        self.constants = constants

    def change(self, plan: p.Plan) -> p.Plan | None:
        """Aggregates over rows that stand for many; None where they are not to be."""
        if not isinstance(plan, p.Aggregate | p.Series):
            return None
        weighed = [one for _, applied in plan.aggregates if (one := _weighed(applied)) is not None]
        axis = _axis_looks(plan) if isinstance(plan, p.Series) else []
        if len(weighed) < len(plan.aggregates) or axis is None:
            return None
        values = [value for _, value in plan.keys]
        ends: list[tuple[Column, _Look]] = []
        for applied in weighed:
            for argument in applied.arguments:
                if isinstance(argument, Ref) and applied.function.name in _EXTREMES:
                    ends.append((argument.column, _ENDS))
                else:
                    values.append(argument)
        if not all(map(_steady, values)):
            return None
        input = self.counted(plan.input, _added(_merged({}, [*axis, *ends]), values))
        if input is None:
            return None
        made = [columns for columns, _ in plan.aggregates]
        return replace(plan, input=input, aggregates=tuple(zip(made, weighed, strict=True)))

    def counted(self, plan: p.Plan, looks: _Looks) -> p.Plan | None:
        """The plan with `ROWS` among its columns, which are read as `looks` says; None where it has to be read."""
        if isinstance(plan, p.TableScan):
            return self.scan(plan, looks)
        if isinstance(plan, p.Filter) and _steady(plan.predicate):
            input = self.counted(plan.input, _added(looks, [plan.predicate]))
            return None if input is None else p.Filter((*plan.columns, ROWS), input, plan.predicate)
        if isinstance(plan, p.Compute) and all(_steady(value) for _, value in plan.items):
            made = dict(plan.items)
            kept = {column: look for column, look in looks.items() if column not in made}
            input = self.counted(plan.input, _through(kept, looks, made))
            return None if input is None else replace(plan, columns=(*plan.columns, ROWS), input=input)
        return self.union(plan, looks) if isinstance(plan, p.Union) else None

    def union(self, plan: p.Union, looks: _Looks) -> p.Plan | None:
        """Inputs that have to be read give rows that stand for themselves."""
        inputs: list[tuple[p.Plan, Mapping[Column, Expr]]] = []
        some = False
        for input, values in plan.inputs:
            steady = all(map(_steady, values.values()))
            counted = self.counted(input, _through({}, looks, values)) if steady else None
            some = some or counted is not None
            rows = Literal(KustoType.LONG, 1) if counted is None else ref(ROWS)
            rest = replaced(input, self.change) if counted is None else counted
            inputs.append((rest, {**values, ROWS: rows}))
        return p.Union((*plan.columns, ROWS), tuple(inputs)) if some else None

    def scan(self, plan: p.TableScan, looks: _Looks) -> p.Plan | None:
        seen: frozenset[_Look] = frozenset()
        for column, name in zip(plan.columns, plan.names, strict=True):
            if name == TIME_COLUMN:
                seen = looks.get(column, frozenset())
            elif name not in self.constants:
                return None
        if _VALUE in seen:
            return None
        moments = sorted(value for kind, value, _ in seen if kind == "moment")
        bins = sorted((size, start) for kind, size, start in seen if kind == "bin")
        return replace(plan, columns=(*plan.columns, ROWS), rows=ROWS, steps=Steps((*moments,), (*bins,)))


def _weighed(applied: Apply) -> Apply | None:
    """An aggregate over rows that stand for many; None where what they stand for cannot tell it.

    Counts add up `ROWS`; to what asks only which values there are, it is all one how often each occurs.
    """
    if applied.function.name in _EXTREMES or applied.function.name in _DISTINCT:
        return applied
    types = tuple(argument.type for argument in applied.arguments)
    if (applied.function.name, types) not in _COUNTS:
        return None
    function = FUNCTIONS.find("sumif" if types else "sum")
    assert function is not None
    long = KustoType.LONG
    return Apply(long, function, (ref(ROWS), *applied.arguments), Resolution((long, *types), (long,)))


_COUNTS = frozenset([("count", ()), ("count", (KustoType.BOOL,)), ("countif", (KustoType.BOOL,))])
_EXTREMES = frozenset(["min", "max", "minif", "maxif"])
_DISTINCT = frozenset(["dcount", "dcountif", "count_distinct", "count_distinctif"])


def _axis_looks(plan: p.Series) -> list[tuple[Column, _Look]] | None:
    """How the bins of `make-series` read a time; None where they are not those of a constant size and start."""
    column, size = time_column(plan.axis), constant_tick(plan.step)
    low = LEAST_DATETIME if plan.low is None else constant_tick(plan.low)
    high = LEAST_DATETIME if plan.high is None else constant_tick(plan.high)
    if column is None or size is None or size <= 0 or low is None or high is None:
        return None
    # A bin ends where the rows begin; they end before `high`.
    return [(column, ("bin", size, low)), (column, ("moment", high - 1, 0))]


def _steady(expression: Expr) -> bool:
    """Whether an expression's value follows from the row's columns alone."""
    for part in walk(expression):
        if isinstance(part, ScalarQuery | InQuery | Poison):
            return False
        if isinstance(part, Apply):
            function = part.function
            if function.volatile or function.context or function.kind is not Kind.SCALAR:
                return False
    return True


def _through(looks: _Looks, above: _Looks, values: Mapping[Column, Expr]) -> _Looks:
    """`looks` and how the inputs of `values` are read, whose columns are read as `above` says."""
    for column, value in values.items():
        if isinstance(value, Ref):
            looks = _merged(looks, [(value.column, look) for look in above.get(column, ())])
        else:
            looks = _added(looks, [value])
    return looks


def _added(looks: _Looks, expressions: Iterable[Expr]) -> _Looks:
    return _merged(looks, (look for expression in expressions for look in _looks(expression)))


def _merged(looks: _Looks, more: Iterable[tuple[Column, _Look]]) -> _Looks:
    merged = dict(looks)
    for column, look in more:
        merged[column] = merged.get(column, frozenset()) | {look}
    return merged


def _looks(expression: Expr) -> Iterator[tuple[Column, _Look]]:
    """The columns that a steady expression reads, and how."""
    stack = [expression]
    while stack:
        item = stack.pop()
        if isinstance(item, Apply):
            steps = [*_steps(item)]
            yield from steps
            if not steps:
                stack.extend(item.arguments)
        elif isinstance(item, Ref):
            yield item.column, _VALUE
        elif isinstance(item, Convert):
            stack.append(item.operand)
        elif isinstance(item, Nth):
            stack.append(item.call)


def _steps(call: Apply) -> Iterator[tuple[Column, _Look]]:
    """What a call sees of a time, where it is nothing but the step that it lies in; else nothing."""
    name, arguments = call.function.name, call.arguments
    if not arguments:
        return
    columns, ticks = [*map(time_column, arguments)], [*map(constant_tick, arguments)]
    column, first, *others = columns[0], *ticks
    if name in _COMPARISONS:
        column, other = (column, others[0]) if column is not None else (columns[1], first)
        if column is not None and other is not None:
            yield column, ("moment", other, 0)
    elif column is None or None in others:
        return
    elif name in ("__between", "__not_between"):
        low, high = ticks[1] or 0, ticks[2] or 0
        yield column, ("moment", low, 0)
        yield column, ("moment", low + high if arguments[2].type is KustoType.TIMESPAN else high, 0)
    elif name == "bin" and ticks[1] and ticks[1] > 0:
        yield column, ("bin", ticks[1], LEAST_DATETIME)
    elif name in _GRAINS:
        yield column, ("bin", _GRAINS[name], LEAST_DATETIME)
