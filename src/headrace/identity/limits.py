"""How often one client address may ask for tokens, and fail. Nobody can use up what is another address's."""

from __future__ import annotations

import threading
from collections import OrderedDict

from headrace.clock import Clock
from headrace.identity.errors import SignInError

MOST_REMEMBERED = 20_000
_WINDOW_SECONDS = 60.0


class SignInLimits:
    """Counts by minute. Thread-safe; bounded in memory: the longest unseen addresses are forgotten first."""

    def __init__(self, requests: int, failures: int, clock: Clock, *, most: int = MOST_REMEMBERED) -> None:
        """`requests` a minute for an address, `failures` a minute for an address and an app."""
        self._requests = requests
        self._failures = failures
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def enter(self, address: str) -> None:
        """Count a request. Raises `SignInError` 90055 with the seconds to wait when there were too many."""
        if self._count((address, "")) > self._requests:
            self._refuse((address, ""), "This address asks for tokens too often")

    def check(self, address: str, app_id: str) -> None:
        """Raises `SignInError` 90055 while there were too many failures of the app from the address."""
        with self._lock:
            began, count = self._counts.get((address, app_id), (0.0, 0))
            over = count >= self._failures and self._clock.monotonic() - began < _WINDOW_SECONDS
        if over:
            self._refuse((address, app_id), "Too many sign-ins of this app failed from this address")

    def failed(self, address: str, app_id: str) -> None:
        """Count a failure."""
        self._count((address, app_id))

    def _count(self, key: tuple[str, str]) -> int:
        now = self._clock.monotonic()
        with self._lock:
            began, count = self._counts.pop(key, (now, 0))
            if now - began >= _WINDOW_SECONDS:
                began, count = now, 0
            self._counts[key] = (began, count + 1)
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
            return count + 1

    def _refuse(self, key: tuple[str, str], what: str) -> None:
        with self._lock:
            began, _ = self._counts.get(key, (self._clock.monotonic(), 0))
        wait = max(1, round(began + _WINDOW_SECONDS - self._clock.monotonic()))
        raise SignInError(90055, f"{what}: try again in {wait} seconds.", retry_after=wait)
