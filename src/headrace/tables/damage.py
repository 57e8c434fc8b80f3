"""Files of a table that are not as they were written, for who looks after the disk. Nothing is changed."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.tables.delta import LOG, files_at
from headrace.tables.manifest import read_manifest
from headrace.tables.model import CommitError, Manifest, ManifestError, StoredFile
from headrace.tables.recovery import unreadable
from headrace.tables.state import DROPPED_MARK

_MAGIC = b"PAR1"


def damaged_files(folder: Path) -> tuple[Path, ...]:
    """What of a table's folder keeps rows from being read, as far as that shows without reading all of them.

    What a start mends by itself is not among it. Raises `OSError`.
    """
    if (folder / DROPPED_MARK).exists():
        return ()
    try:
        manifest = read_manifest(folder) or Manifest()
    except ManifestError:
        # The next start takes what the log has, and the rest from the journal.
        return ()
    try:
        files = files_at(folder, manifest.delta_version) if manifest.delta_version >= 0 else ()
    except CommitError:
        return unreadable(folder) or (folder / LOG,)
    return tuple(folder / file.path for file in files if not _seems_whole(folder, file))


def _seems_whole(folder: Path, file: StoredFile) -> bool:
    """By its size, and by what a Parquet file begins and ends with."""
    try:
        with (folder / file.path).open("rb") as opened:
            begins = opened.read(len(_MAGIC))
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(size - len(_MAGIC), 0))
            return size == file.bytes and begins == opened.read() == _MAGIC
    except FileNotFoundError:
        return False
