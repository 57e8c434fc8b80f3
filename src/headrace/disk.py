"""The disk's promises, as a narrow protocol.

All files are written with the operating system's own calls; what makes them survive a power cut is
only `sync_file` and `sync_dir`, so only these two go through a `Disk`. The power-cut filling
(`headrace.testing.powercut`) remembers what they covered and, at a cut, discards or reorders all the rest.

Each call names its `site` (for instance `journal.append`): a test takes out one site at a time and
proves that a property breaks without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """What makes files and directory entries durable."""

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        """Make the content of `path` durable; `fd`, when given, is an open descriptor of that file.

        Raises `OSError` when the disk refuses. After that the state of the file's unsynced bytes is
        unknown: the caller must not retry and carry on.
        """
        ...

    def sync_dir(self, path: Path, site: str) -> None:
        """Make the directory's entries (names made, renamed, removed in it) durable. Raises `OSError`."""
        ...


class RealDisk:
    """fsync and fdatasync of the operating system."""

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        """See `Disk.sync_file`."""
        if fd is not None:
            os.fdatasync(fd)
            return
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def sync_dir(self, path: Path, site: str) -> None:
        """See `Disk.sync_dir`."""
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def reason(error: OSError) -> str:
    """Why the disk refused, in the system's words."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def replace_durably(disk: Disk, path: Path, content: bytes, site: str, mode: int = 0o666) -> None:
    """Put `content` at `path` so that a crash leaves either the old or the new file, whole and durable."""
    write_replacement(path, content, lambda temporary: disk.sync_file(temporary, f"{site}.file"), mode)
    disk.sync_dir(path.parent, f"{site}.dir")


def write_replacement(
    path: Path, content: bytes, before_rename: Callable[[Path], None] | None = None, mode: int = 0o666
) -> None:
    """Put `content` at `path` so that a *process* crash leaves the old or the new file; no durability."""
    temporary = path.with_name(f".{path.name}.{_own_mark()}.tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    if before_rename is not None:
        before_rename(temporary)
    temporary.replace(path)


def _own_mark() -> str:
    """This process among all that share a folder: in containers of their own, several have the same number."""
    with suppress(OSError):
        return f"{os.getpid()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    return str(os.getpid())
