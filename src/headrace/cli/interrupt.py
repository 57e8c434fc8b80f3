"""Stopping between two steps: the first Ctrl-C ends the work at the next safe place, the second at once."""

from __future__ import annotations

import signal
import time
from types import FrameType


class Interrupt:
    """Asked for by SIGINT or SIGTERM inside its `with` block (main thread only)."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def sleep(self, seconds: float) -> None:
        """Sleep, but not on when the end is asked for."""
        end = time.monotonic() + seconds
        while not self.asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
