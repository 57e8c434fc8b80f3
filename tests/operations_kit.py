"""Every change that Python makes to files below a folder is a moment at which a process may end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink"})
"""No links: Headrace makes none, and the power-cut disk holds files by them."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class StoppedError(Exception):
    """The process ended: no later change comes about."""


class Operations:
    """Changes below `root` in their order.

    The one numbered `stop_at` and all later ones are not made: the process ended. With `refusal`, an error's number,
    only that one is not made: the disk refused it.
    """

    def __init__(self, root: Path, stop_at: int | None = None, refusal: int | None = None) -> None:
        self.done: list[str] = []
        self._root = str(root)
        self._stop_at = stop_at
        self._refusal = refusal
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """Whether the process has ended."""
        return self._stop_at is not None and len(self.done) >= self._stop_at

    def told(self, event: str, path: object) -> None:
        """A change is about to be made."""
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else self._root
        if name.startswith(self._root):
            with self._lock:
                if self.stopped and self._refusal is None:
                    raise StoppedError(event)
                self.done.append(f"{event} {name.removeprefix(self._root)}")
                if self._refusal is not None and len(self.done) - 1 == self._stop_at:
                    raise OSError(self._refusal, os.strerror(self._refusal), name)


_watching: list[Operations] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITING:
            _watching[-1].told(event, path)
    elif event in _CHANGES:
        _watching[-1].told(event, arguments[0])


@contextmanager
def operations(root: Path, stop_at: int | None = None, refusal: int | None = None) -> Iterator[Operations]:
    """Watch the changes below `root` that are made in this block, by any thread."""
    if not _hooked:
        # An audit hook stays for good.
        sys.addaudithook(_hook)
        _hooked.append(True)
    watched = Operations(root, stop_at, refusal)
    _watching.append(watched)
    try:
        yield watched
    finally:
        _watching.remove(watched)


_hooked: list[bool] = []
