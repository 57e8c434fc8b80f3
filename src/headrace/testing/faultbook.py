"""The faults that tests of clients have asked for, in a file that all processes of a server share.

Each call that meets a fault is counted under a lock, so that `times` holds over several gateways.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from headrace.disk import write_replacement
from headrace.errors import Problem, ProblemError
from headrace.ids import new_guid

STATUSES = (401, 403, 404, 408, 413, 429, 500, 502, 503, 504)
"""What a call can be answered with in place of its answer."""
_RETRY_LATER = (429, 503)
MOST_FAULTS = 100


class _Asked(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", tag_field="fault"
):
    """`times`: how many calls meet it, None for all until it is cleared. `after`: the call is kept first."""

    times: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = 1
    after: bool = False


class Answer(_Asked, frozen=True, tag="answer"):
    """An error in place of the answer. `retry_after` are seconds, for 429 and 503, where they are 1 by default."""

    status: int
    retry_after: Annotated[int, msgspec.Meta(ge=0, le=3600)] | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(map(str, STATUSES))}")
        if self.retry_after is not None and self.status not in _RETRY_LATER:
            raise ValueError("retryAfter goes with status 429 and 503 alone")


class Delay(_Asked, frozen=True, tag="delay"):
    """The call, or with `after` its answer, waits for `seconds`."""

    seconds: Annotated[float, msgspec.Meta(gt=0, le=600)]


class Cut(_Asked, frozen=True, tag="cut"):
    """The connection is reset in place of the answer."""


Fault = Answer | Delay | Cut


class Armed(msgspec.Struct, frozen=True):
    """A fault in the book; `hits` are the calls that have met it."""

    id: str
    fault: Fault
    hits: int = 0

    @property
    def live(self) -> bool:
        """Whether further calls meet it."""
        return self.fault.times is None or self.hits < self.fault.times

    def document(self) -> dict[str, Any]:
        """The fault as it was asked for, with its id and hits."""
        return {"id": self.id, "hits": self.hits, **msgspec.to_builtins(self.fault)}


class FaultBook:
    """The faults in `folder`, which is made where it is not there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / "armed.json"
        self._lock = folder / "lock"

    def armed(self) -> tuple[Armed, ...]:
        """All faults, oldest first, also those that no further call meets; none where the file is damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=tuple[Armed, ...])
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return ()

    def arm(self, fault: Fault) -> Armed:
        """Let calls meet `fault` from now on. Raises `ProblemError` when there are too many."""
        added = Armed(new_guid(), fault)
        with self._locked():
            known = self.armed()
            if len(known) >= MOST_FAULTS:
                known = tuple(one for one in known if one.live)
            if len(known) >= MOST_FAULTS:
                message = f"{MOST_FAULTS} faults are armed already: clear those that are not needed."
                raise ProblemError(Problem("FaultLimitReached", message))
            self._write((*known, added))
        return added

    def clear(self, id: str | None = None) -> None:
        """Remove the fault of that id, if it is there; without one, all."""
        with self._locked():
            self._write([one for one in self.armed() if id is not None and one.id != id])

    def take(self, *, after: bool) -> Fault | None:
        """The fault that a call meets now, counted: the oldest that is live, of those `after` it is kept or not."""
        # Mostly there is none, and that needs no lock: the file is only ever replaced.
        if _met(self.armed(), after) is None:
            return None
        with self._locked():
            armed = list(self.armed())
            place = _met(armed, after)
            if place is None:
                return None
            met = armed[place]
            armed[place] = msgspec.structs.replace(met, hits=met.hits + 1)
            self._write(armed)
            return met.fault

    def _write(self, armed: Sequence[Armed]) -> None:
        write_replacement(self._path, msgspec.json.encode(armed), mode=0o600)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _met(armed: Sequence[Armed], after: bool) -> int | None:
    found = (place for place, one in enumerate(armed) if one.live and one.fault.after == after)
    return next(found, None)
