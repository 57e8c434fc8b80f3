"""A table folder after a crash: what can be trusted, what is dropped and comes again from the journal.

The Delta log is the truth. The manifest adds published files to it, as far as their checksums hold: the
first one that is not whole ends the list, because rows of one application id come back from the journal
from a position on, never from between. Everything else in the folder is rubbish.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.tables.delta import LOG, DeltaLog, checkpoint_file, log_file, read_entry
from headrace.tables.durability import sync_log
from headrace.tables.manifest import NAME, is_whole, read_manifest
from headrace.tables.model import CommitError, DataFile, Manifest, ManifestError, TableKey
from headrace.tables.state import BROKEN_MARK, DROPPED_MARK, TableState, Tools, is_covered

_HINT = "_last_checkpoint"
_CHECKPOINT = ".checkpoint.parquet"


class _Hint(msgspec.Struct, frozen=True):
    version: int


_HINTS = msgspec.json.Decoder(_Hint)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did to one table. `lost` files were named and not whole: their rows are replayed."""

    key: TableKey
    published: int = 0
    covered: int = 0
    lost: int = 0
    torn_entries: int = 0
    failed: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything had to be mended."""
        return bool(self.covered or self.lost or self.torn_entries or self.failed)


def recover_state(state: TableState, tools: Tools) -> Recovered:
    """Bring a table to a state that is right and, as far as the log goes, durable.

    Raises `CommitError` when the log cannot be read, and `TableBrokenError` when the disk refuses a sync.
    """
    folder = state.folder
    if (folder / DROPPED_MARK).exists():
        state.dropped = True
        return Recovered(state.key)
    for stale in folder.glob(f".{NAME}.*.tmp"):
        stale.unlink(missing_ok=True)
    found = _trusted_manifest(folder)
    manifest = found or Manifest()
    # The mark is missing where the disk took no write at all.
    broken = state.distrusted or (folder / BROKEN_MARK).exists()
    torn = _repair_log(folder, manifest, roll_back=broken and found is not None)
    log = _open_log(folder)
    if log.version > manifest.delta_version:
        unproven = [
            version for version in _versions(folder / LOG, ".json") if version > manifest.delta_version
        ]
        sync_log(state, tools, unproven, "tables.recover")
    published = () if broken or log.version < manifest.delta_version else manifest.published
    waiting = tuple(file for file in published if not is_covered(file.positions, log))
    whole = _whole_prefix(folder, waiting)
    versions = {file.schema_version for file in whole if file.rows}
    recovered = replace(
        manifest,
        delta_version=log.version,
        checkpoint=min(manifest.checkpoint, max(_versions(folder / LOG, _CHECKPOINT), default=-1)),
        published=whole,
        schemas=tuple(schema for schema in manifest.schemas if schema.version in versions),
    )
    write = found is None or recovered != found
    state.adopt(recovered, log, tools.clock.monotonic(), write=write)
    (folder / BROKEN_MARK).unlink(missing_ok=True)
    covered = len(published) - len(waiting)
    return Recovered(state.key, len(whole), covered, len(manifest.published) - covered - len(whole), torn)


def unreadable(folder: Path) -> tuple[Path, ...]:
    """Files of a table's log that are not as they were written, as far as that can be told."""
    log = folder / LOG
    entries = (log_file(folder, version) for version in _versions(log, ".json"))
    checkpoints = (checkpoint_file(folder, version) for version in _versions(log, _CHECKPOINT))
    damaged = [path for path in entries if read_entry(folder, int(path.stem)) is None]
    return (*damaged, *(path for path in checkpoints if not _is_parquet(path)))


def stored_tables(root: Path) -> Iterator[TableKey]:
    """Every table incarnation that has a folder."""
    for folder in sorted(root.glob("*/*/*")):
        key = TableKey(folder.parent.parent.name, folder.parent.name, folder.name)
        if folder.is_dir() and _is_key(key, root):
            yield key


def _is_key(key: TableKey, root: Path) -> bool:
    try:
        key.folder(root)
    except ValueError:
        return False
    return True


def _trusted_manifest(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except ManifestError:
        return None


def _open_log(folder: Path) -> DeltaLog:
    """The log; a checkpoint that keeps it from being read goes, if log entries can stand in for it."""
    try:
        return DeltaLog(folder)
    except CommitError:
        checkpoints = _versions(folder / LOG, _CHECKPOINT)
        _drop_unsafe_checkpoints(folder, Manifest(), {*_versions(folder / LOG, ".json")})
        if _versions(folder / LOG, _CHECKPOINT) == checkpoints:
            raise
        return DeltaLog(folder)


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_table(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def _whole_prefix(folder: Path, files: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
    for place, file in enumerate(files):
        if not is_whole(folder, file):
            return files[:place]
    return files


def _repair_log(folder: Path, manifest: Manifest, *, roll_back: bool) -> int:
    """Take away what a power cut tore: checkpoints and entries that were never made durable."""
    log = folder / LOG
    if not log.is_dir():
        return 0
    versions = _versions(log, ".json")
    _drop_unsafe_checkpoints(folder, manifest, set(versions))
    checkpoints = _versions(log, _CHECKPOINT)
    following = max(manifest.delta_version, *checkpoints, -1) + 1
    while not roll_back and (entry := read_entry(folder, following)) is not None and entry.whole:
        following += 1
    torn = [version for version in versions if version >= following]
    for version in reversed(torn):
        log_file(folder, version).unlink(missing_ok=True)
    return len(torn)


def _drop_unsafe_checkpoints(folder: Path, manifest: Manifest, entries: set[int]) -> None:
    """A checkpoint that was not recorded as durable goes, as long as log entries can stand in for it."""
    checkpoints = _versions(folder / LOG, _CHECKPOINT)
    kept = set(checkpoints)
    for version, before in zip(reversed(checkpoints), reversed([-1, *checkpoints][:-1]), strict=True):
        if version > manifest.checkpoint and entries.issuperset(range(before + 1, version + 1)):
            checkpoint_file(folder, version).unlink(missing_ok=True)
            kept.discard(version)
    if _hinted(folder) not in kept:
        (folder / LOG / _HINT).unlink(missing_ok=True)


def _hinted(folder: Path) -> int | None:
    """The checkpoint that the log's hint leads readers to; a hint to none would keep them from the table."""
    try:
        return _HINTS.decode((folder / LOG / _HINT).read_bytes()).version
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _versions(log: Path, suffix: str) -> list[int]:
    names = (path.name.removesuffix(suffix) for path in log.glob(f"*{suffix}"))
    return sorted(int(name) for name in names if len(name) == 20 and name.isdigit())
