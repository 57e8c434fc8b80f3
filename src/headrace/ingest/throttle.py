"""Limits of requests and bytes a minute per rule. Soft: the request that reaches a limit still passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace.clock import Clock

WINDOW_SECONDS = 60.0


@dataclass(slots=True)
class _Window:
    began: float
    requests: int = 0
    bytes: int = 0


class Throttle:
    """Counts requests and JSON bytes of each rule in windows of a minute, begun by a rule's first call.

    Counted is what this gateway takes, so the limits are divided by the number of `gateways`.
    """

    def __init__(
        self, requests: int | None, payload_bytes: int | None, clock: Clock, *, gateways: int = 1
    ) -> None:
        self._requests = _share(requests, gateways)
        self._bytes = _share(payload_bytes, gateways)
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    @property
    def active(self) -> bool:
        """Whether there is any limit at all."""
        return self._requests is not None or self._bytes is not None

    def enter(self, rule: str) -> int | None:
        """Count a request of the rule: None if it may pass, else the whole seconds until it may."""
        if not self.active:
            return None
        now = self._clock.monotonic()
        window = self._windows.get(rule)
        if window is None or now - window.began >= WINDOW_SECONDS:
            self._forget_old(now)
            window = self._windows[rule] = _Window(now)
        spent = (self._requests is not None and window.requests >= self._requests) or (
            self._bytes is not None and window.bytes >= self._bytes
        )
        if spent:
            return max(1, math.ceil(window.began + WINDOW_SECONDS - now))
        window.requests += 1
        return None

    def add(self, rule: str, payload_bytes: int) -> None:
        """Count the JSON bytes of a request that passed."""
        window = self._windows.get(rule)
        if window is not None:
            window.bytes += payload_bytes

    def _forget_old(self, now: float) -> None:
        if len(self._windows) < 1024:
            return
        self._windows = {
            rule: window for rule, window in self._windows.items() if now - window.began < WINDOW_SECONDS
        }


def _share(limit: int | None, gateways: int) -> int | None:
    return None if limit is None else max(1, limit // gateways)
