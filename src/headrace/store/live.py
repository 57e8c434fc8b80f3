"""A snapshot of something in the store that is loaded again when the change number has moved."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from headrace.clock import Clock, SystemClock
from headrace.store.database import Database, change_number

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Loaded(Generic[T]):
    change: int
    value: T


class LiveView(Generic[T]):
    """What `load(connection, change)` made of the store at its newest looked-at change.

    `load` returns something immutable. Reading `current` costs nothing and never touches the disk; `refresh`
    looks at the store. Thread-safe. Making a view loads it; raises what `load` raises.
    """

    def __init__(
        self, database: Database, load: Callable[[Connection, int], T], *, clock: Clock | None = None
    ) -> None:
        self._database = database
        self._load = load
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._loaded, self._looked = self._read(None)

    @property
    def current(self) -> T:
        """The loaded value."""
        return self._loaded.value

    @property
    def change(self) -> int:
        """The change number that `current` belongs to."""
        return self._loaded.change

    def refresh(self) -> bool:
        """Look at the change number and load again if it moved; whether it did.

        Raises `sqlalchemy.exc.SQLAlchemyError` when the store cannot be read and what `load` raises; the
        value loaded before then stays.
        """
        with self._lock:
            before = self._loaded
            self._loaded, self._looked = self._read(before)
            return self._loaded is not before

    def age(self) -> float:
        """Seconds since `current` was last known to be the newest."""
        return self._clock.monotonic() - self._looked

    def _read(self, before: _Loaded[T] | None) -> tuple[_Loaded[T], float]:
        looked = self._clock.monotonic()
        with self._database.read() as connection:
            change = change_number(connection)
            if before is not None and before.change == change:
                return before, looked
            return _Loaded(change, self._load(connection, change)), looked
