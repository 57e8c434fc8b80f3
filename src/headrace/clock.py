"""Time, injectable. Wall-clock time is UTC microseconds since 1970-01-01, as everywhere in Headrace."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The bounds of the years 1 to 9999."""


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """UTC microseconds since 1970-01-01; may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """See `Clock.now`."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told: for tests and replays."""

    def __init__(self, now: int = 1_700_000_000 * SECOND) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> int:
        """See `Clock.now`."""
        return self._now

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._monotonic

    def advance(self, microseconds: int) -> None:
        """Let time pass."""
        self._now += microseconds
        self._monotonic += microseconds / SECOND

    def set(self, now: int) -> None:
        """Set the wall clock, as an operator might; monotonic time is untouched."""
        self._now = now


STEADY_SECONDS = 600.0
"""How long the clock must have gone like the monotonic one."""
_JUMP_SECONDS = 60.0


class SteadyClock:
    """Tells whether the wall clock has not been set for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._gap = self._now_gap()

    def now(self) -> int | None:
        """UTC microseconds; None while the clock is too new to be trusted, or was set."""
        gap = self._now_gap()
        if abs(gap - self._gap) > _JUMP_SECONDS:
            self._since = self._clock.monotonic()
        # Small corrections of a clock that is kept by a time service add up to no jump.
        self._gap = gap
        steady = self._clock.monotonic() - self._since >= STEADY_SECONDS
        return self._clock.now() if steady else None

    def _now_gap(self) -> float:
        return self._clock.now() / SECOND - self._clock.monotonic()


def to_datetime(microseconds: int) -> datetime:
    """UTC microseconds as an aware `datetime`."""
    seconds, micros = divmod(microseconds, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def from_datetime(moment: datetime) -> int:
    """The reverse of `to_datetime`; a moment without a time zone is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def from_iso(text: str) -> int:
    """UTC microseconds of an ISO 8601 time; UTC unless it says otherwise.

    Raises `ValueError`, also for a time that is not within the years 1 to 9999 of UTC.
    """
    microseconds = from_datetime(datetime.fromisoformat(text))
    if not FIRST <= microseconds <= LAST:
        raise ValueError(f"a time beyond the years 1 to 9999: {text}")
    return microseconds


def iso(microseconds: int) -> str:
    """UTC microseconds as ISO 8601 with `Z` and six decimals, the form of ARM's documents."""
    # `strftime` leaves out the zeros before a short year.
    return to_datetime(microseconds).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
