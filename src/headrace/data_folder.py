"""The data folder: its layout, the versions of what is in it, and the lock that keeps a second server out."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from headrace.disk import Disk, write_replacement
from headrace.errors import Problem, ProblemError

FORMATS: Mapping[str, int] = {"journal": 1, "tables": 1, "store": 1}
"""The version of each on-disk format that this release writes."""

Part = Literal["pipeline", "query", "gateway"]
"""A part of a server that runs by itself: the pipeline's has the control plane with it."""

# A unix socket's path is bounded (108 bytes on Linux), the data folder's is not.
_SOCKET_PATH_LIMIT = 100
_LONGEST_SOCKET = "engine"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where everything is, below `root`."""

    root: Path

    @property
    def store(self) -> Path:
        """The resource store's database."""
        return self.root / "store.db"

    @property
    def journals(self) -> Path:
        """One folder a journal."""
        return self.root / "journal"

    @property
    def own_journals(self) -> Path:
        """The journal of what the server says of itself."""
        return self.root / "own-journal"

    @property
    def query_journals(self) -> Path:
        """The journal of what the query process notes of queries."""
        return self.root / "query-journal"

    @property
    def checkpoints(self) -> Path:
        """How far each journal is settled."""
        return self.root / "checkpoints"

    @property
    def usage(self) -> Path:
        """What each table took in the hours that are not told yet."""
        return self.root / "usage.json"

    @property
    def metrics(self) -> Path:
        """The rules' metrics by the minute."""
        return self.root / "metrics"

    @property
    def tables(self) -> Path:
        """`{customerId}/{table}/{incarnation}` folders of table files."""
        return self.root / "tables"

    @property
    def dead_letters(self) -> Path:
        """Rows and payloads that could not be stored, with the reason."""
        return self.root / "dead-letters"

    @property
    def receipts(self) -> Path:
        """What became of each call, for about a day."""
        return self.root / "receipts"

    @property
    def seen(self) -> Path:
        """Which calls came within the window of repeats."""
        return self.root / "seen"

    @property
    def faults(self) -> Path:
        """What tests of clients asked for, where they may."""
        return self.root / "faults"

    @property
    def audit(self) -> Path:
        """The signed heads of the audit log, and the key that signs them."""
        return self.root / "audit"

    @property
    def issuers(self) -> Path:
        """The keys of outside issuers, as they were last fetched."""
        return self.root / "issuers"

    @property
    def tls(self) -> Path:
        """The local CA and the server's certificate."""
        return self.root / "tls"

    @property
    def spill(self) -> Path:
        """Scratch space of the query engine; emptied at start."""
        return self.root / "spill"

    @property
    def sample(self) -> Path:
        """What the env file is made from, readable by the owner alone."""
        return self.root / "sample.json"

    @property
    def env_file(self) -> Path:
        """The env file of the running server; removed when it stops."""
        return self.root / "headrace.env"

    @property
    def sockets(self) -> Path:
        """The folder of the processes' unix sockets."""
        return self.root / "run"

    def socket(self, name: str) -> Path:
        """The unix socket of a process."""
        path = self.root / "run" / f"{name}.sock"
        if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
            raise ProblemError(
                Problem(
                    "DataFolderPathTooLong",
                    f"The data folder's path is too long for a local socket: {path}.",
                    hint="Choose a data folder with a shorter path.",
                )
            )
        return path


def open_data_folder(root: Path, disk: Disk, part: Part | None = None) -> tuple[DataFolder, tuple[int, ...]]:
    """Make or open the data folder, take its lock and check the versions of what it holds.

    A whole server has the folder to itself. A `part` of one shares it with the others; of pipelines and query
    processes there is one each. Returns the folder and the locks' descriptors: child processes inherit them,
    so that the locks last until the last of them has ended. Raises `ProblemError` when the folder cannot be
    made or written, its path is too long, another server uses it, or a newer release wrote it.
    """
    folder = DataFolder(root)
    folder.socket(_LONGEST_SOCKET)
    kind = fcntl.LOCK_EX if part is None else fcntl.LOCK_SH
    locks = [_take_lock(root, "lock", kind, disk)]
    if part in ("pipeline", "query"):
        locks.append(_take_lock(root, f"lock.{part}", fcntl.LOCK_EX, disk))
    _check_formats(root / "format.json", disk)
    for path in (
        folder.journals,
        folder.own_journals,
        folder.query_journals,
        folder.tables,
        folder.dead_letters,
        folder.root / "run",
    ):
        path.mkdir(mode=0o700, exist_ok=True)
    disk.sync_dir(root, "folder.entries")
    return folder, tuple(locks)


def _take_lock(root: Path, name: str, kind: int, disk: Disk) -> int:
    lock = _open_lock(root, name, disk)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ProblemError(
            Problem(
                "DataFolderInUse",
                f"Another Headrace server uses {root}.",
                hint="Stop it first, or give another --data-dir.",
            )
        ) from None
    os.set_inheritable(lock, True)
    return lock


def _open_lock(root: Path, name: str, disk: Disk) -> int:
    missing = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            disk.sync_dir(path.parent, "folder.root")
        return os.open(root / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ProblemError(
            Problem(
                "DataFolderUnusable",
                f"Cannot use {root} as data folder: {error.strerror or error}.",
                hint="Choose another with --data-dir.",
            )
        ) from None


def _check_formats(path: Path, disk: Disk) -> None:
    if not path.exists():
        # Its name becomes durable with the folder's other entries.
        write_replacement(
            path, msgspec.json.encode(FORMATS), before_rename=lambda new: disk.sync_file(new, "folder.format")
        )
        return
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(
            Problem(
                "FormatUnreadable",
                f"{path} cannot be read: {error}.",
                hint=f"Where this release made the data folder, put back: {msgspec.json.encode(FORMATS).decode()}",
            )
        ) from None
    for name, version in found.items():
        if version > FORMATS.get(name, 0):
            raise ProblemError(
                Problem(
                    "FormatTooNew",
                    f"The data folder's {name} format is version {version}; this release knows up to "
                    f"{FORMATS.get(name, 0)}.",
                    hint="Use the newer release that wrote it.",
                )
            )
