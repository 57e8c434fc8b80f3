"""How much disk a journal takes, kept below its bound; and how soon there will be room again."""

from __future__ import annotations

import math
import os
import re
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from headrace.clock import Clock
from headrace.journal.format import HEADER_BYTES
from headrace.journal.model import JournalFullError
from headrace.journal.segments import segment_name

_SEGMENT = re.compile(r"\d{20}\.seg")
_RATE_SECONDS: Final = 60.0
_SHORTEST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_UNKNOWN_RETRY: Final = 10.0
_LOOK_SECONDS: Final = 1.0
_SETTLED_NANOSECONDS: Final = 50_000_000
"""Two changes of a folder within so short a time may leave the same time stamp on it."""


class Room:
    """Bytes in segments plus bytes on their way; for one thread."""

    def __init__(self, folder: Path, limit: int, segment_bytes: int, clock: Clock) -> None:
        """`limit` is the most bytes; `segment_bytes` what one trim usually frees."""
        self._folder = folder
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._waiting = 0
        self._active = ""
        self._position = 0
        self._segments: dict[str, int] = {}
        self._sealed_bytes = 0
        self._listed: tuple[int, int] = (0, 0)
        self._looked = -math.inf
        self._trims: deque[tuple[float, int]] = deque()
        self._began = clock.monotonic()

    def enter(self, size: int) -> None:
        """Take room for an entry. Raises `JournalFullError`."""
        # Others only ever take segments away: what was known is never too little.
        known = self._sealed_bytes + self._position
        if (
            known + self._waiting + size > self._limit
            or self._clock.monotonic() - self._looked >= _LOOK_SECONDS
        ):
            known = self._used()
        missing = known + self._waiting + size - self._limit
        if missing > 0:
            raise JournalFullError(self._retry_after(missing))
        self._waiting += size

    def leave(self, size: int) -> None:
        """Entries are no longer on their way: refused."""
        self._waiting -= size

    def roll(self, first: int) -> None:
        """A new segment begins."""
        self._looked = -math.inf
        self._active = segment_name(first)
        self._position = HEADER_BYTES
        self._add_up()

    def fill(self, position: int, size: int) -> None:
        """Entries of `size` bytes are written; the active segment is now filled up to `position`."""
        self._position = position
        self._waiting -= size

    def used(self) -> int:
        """Bytes in segments."""
        return self._used()

    def _used(self) -> int:
        self._looked = self._clock.monotonic()
        changed = self._folder.stat().st_mtime_ns
        listed_at, seen = self._listed
        if changed != seen or listed_at - changed < _SETTLED_NANOSECONDS:
            self._listed = (time.time_ns(), changed)
            self._list()
        return self._sealed_bytes + self._position

    def _list(self) -> None:
        with os.scandir(self._folder) as entries:
            files = [entry for entry in entries if _SEGMENT.fullmatch(entry.name)]
        segments: dict[str, int] = {}
        for entry in files:
            # A reader in another process may be trimming right now.
            with suppress(FileNotFoundError):
                segments[entry.name] = entry.stat().st_size
        freed = sum(size for name, size in self._segments.items() if name not in segments)
        if freed:
            self._trims.append((self._clock.monotonic(), freed))
        self._segments = segments
        self._add_up()

    def _add_up(self) -> None:
        self._sealed_bytes = sum(size for name, size in self._segments.items() if name != self._active)

    def _retry_after(self, missing: int) -> float:
        now = self._clock.monotonic()
        while self._trims and self._trims[0][0] < now - _RATE_SECONDS:
            self._trims.popleft()
        freed = sum(size for _, size in self._trims)
        if not freed:
            return _UNKNOWN_RETRY
        rate = freed / max(min(now - self._began, _RATE_SECONDS), 1.0)
        wanted = max(missing, self._segment_bytes)
        return min(max(wanted / rate, _SHORTEST_RETRY), _LONGEST_RETRY)
