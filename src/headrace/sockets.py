"""Unix sockets at paths of any length: the system takes about 100 bytes, data folders may lie deeper."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BACKLOG = 128
LONGEST = 107 if sys.platform == "linux" else 103


@contextmanager
def usable_path(path: Path) -> Iterator[str]:
    """`path`, or while the block runs a short name for the same place, to bind or connect to.

    Raises `OSError` when the folder does not exist or the file name alone is too long.
    """
    text = str(path.absolute())
    if len(os.fsencode(text)) <= LONGEST:
        yield text
        return
    with _short_folder(path.absolute().parent) as folder:
        short = f"{folder}/{path.name}"
        if len(os.fsencode(short)) > LONGEST:
            raise OSError(f"the name of the socket {path} is too long: at most {LONGEST} bytes fit")
        yield short


@contextmanager
def _short_folder(folder: Path) -> Iterator[str]:
    if sys.platform == "linux" and Path("/proc/self/fd").is_dir():
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="hr-") as temporary:
        link = Path(temporary, "d")
        link.symlink_to(folder, target_is_directory=True)
        yield str(link)


def bind(path: Path) -> socket.socket:
    """A listening unix socket at `path`, mode 0600, replacing one left behind there.

    Raises `OSError` when something else than a socket lies there or the folder does not exist.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is in the way: it is no socket")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with usable_path(path) as short:
            listener.bind(short)
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def remove(path: Path) -> None:
    """Remove a socket that nobody listens to any more; where the disk does not allow it, the next `bind` does."""
    with suppress(OSError):
        path.unlink()


def connect(path: Path, *, timeout: float = 2.0) -> socket.socket:
    """A stream connected to the unix socket at `path`, non-blocking. Raises `OSError`."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(timeout)
        with usable_path(path) as short:
            stream.connect(short)
        stream.setblocking(False)
    except BaseException:
        stream.close()
        raise
    return stream
