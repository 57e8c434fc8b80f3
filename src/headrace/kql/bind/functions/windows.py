"""Window functions: what a row sees of its neighbours in serialized rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headrace.kql.bind.functions.declare import DATETIME, LONG, NEVER, declare, same
from headrace.kql.bind.functions.registry import Argument, Kind
from headrace.kql.types import KustoType

_window = partial(declare, Kind.WINDOW, family="windows", transform=NEVER)


def _summed(arguments: Sequence[Argument]) -> KustoType:
    return LONG if arguments[0].type is KustoType.INT else arguments[0].type


FUNCTIONS = (
    _window("prev", "The value of an earlier row.", "value: any, offset?: long, default?: any", same()),
    _window("next", "The value of a later row.", "value: any, offset?: long, default?: any", same()),
    _window("row_number", "The number of the row, from 1.", "start?: long, restart?: bool", LONG),
    _window(
        "row_cumsum",
        "The sum of the values up to the row.",
        "term: number|timespan, restart?: bool",
        _summed,
    ),
    _window(
        "row_rank_dense",
        "How many different runs of values there were up to the row.",
        "term: any, restart?: bool",
        LONG,
        aliases=("row_rank",),
    ),
    _window(
        "row_rank_min",
        "The number of the first row of the run of equal values.",
        "term: any, restart?: bool",
        LONG,
    ),
    _window(
        "row_window_session",
        "The start of the session that the row belongs to.",
        "time: datetime, most_from_first: timespan, most_between: timespan, restart?: bool",
        DATETIME,
    ),
)
