"""What a statement sees of times: two of one step are the same to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.kql.model import Steps
from headrace.kql.types import LEAST_DATETIME

_TICKS = st.integers(-40, 40)


_BINS = st.lists(st.tuples(st.integers(1, 30), _TICKS), max_size=2)


@given(moments=st.lists(_TICKS, max_size=3), bins=_BINS, times=st.data())
def test_times_of_one_step_are_alike(
    moments: list[int], bins: list[tuple[int, int]], times: st.DataObject
) -> None:
    steps = Steps(tuple(sorted(moments)), tuple(bins))
    first, last = sorted((times.draw(_TICKS), times.draw(_TICKS)))
    if steps.of(first) != steps.of(last):
        assert steps.of(first) < steps.of(last)
        return
    for time in range(first, last + 1):
        for moment in moments:
            assert (time < moment, time > moment) == (first < moment, first > moment)
        for size, start in bins:
            assert (time - start) // size == (first - start) // size


def test_times_on_both_sides_of_a_moment_or_of_a_bin_are_told_apart() -> None:
    moment = Steps((10,))
    assert len({moment.of(time) for time in (9, 10, 11)}) == 3
    week = Steps((), ((7 * 864_000_000_000, LEAST_DATETIME),))
    monday = 638_000_000_000_000_000 + LEAST_DATETIME
    day = 864_000_000_000
    assert len({week.of(monday + place * day) for place in range(7)}) == 2
