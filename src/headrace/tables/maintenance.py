"""Upkeep of a table: checkpoints of its log, compaction of small files, removal of what nobody names.

A replaced file stays for `vacuum_seconds` on the monotonic clock of this process, counted anew after a
restart: a snapshot that another process pinned may still read it, whatever the wall clock does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.tables.commit import stored_file
from headrace.tables.durability import sync_checkpoint, sync_data, sync_log
from headrace.tables.model import CommitError, StoredFile
from headrace.tables.state import TableState, Tools, Trash

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Compaction:
    """When files of one day and schema version are joined. Sizes in bytes."""

    below: int = 16 * MIB
    """Files smaller than this are joined."""
    target: int = 64 * MIB
    """A joined file takes files up to this sum."""
    least: int = 8
    """So many small files of a day make a compaction worth it."""
    least_while_busy: int = 96
    """The same while the pipeline lags: rows that wait come first, as long as scans do not suffer."""

    def while_busy(self) -> Compaction:
        """What holds while the pipeline lags."""
        return replace(self, least=max(self.least, self.least_while_busy))


def maintain(state: TableState, tools: Tools, compaction: Compaction) -> None:
    """All upkeep that is due. Raises `CommitError`, `TableBrokenError` or `OSError`."""
    if state.dropped:
        _remove_dropped(state, tools)
        return
    state.check()
    if not state.swept:
        sweep(state, tools)
    compact(state, tools, compaction)
    if state.manifest.delta_version - state.manifest.checkpoint >= tools.settings.checkpoint_commits:
        checkpoint(state, tools)
    vacuum(state, tools)


def checkpoint(state: TableState, tools: Tools) -> None:
    """Write a checkpoint, make it durable, then let go of log entries past their retention.

    The log is opened anew, from the checkpoint: a handle grows slower with every commit.
    """
    with state.commit_lock:
        state.check()
        log = state.log()
        version = log.version
        if version < 0 or version == state.manifest.checkpoint:
            return
        sync_checkpoint(state, tools, log.checkpoint())
        state.checkpointed(version)
        log.forget_old_entries()
        log.reopen()


def compact(state: TableState, tools: Tools, compaction: Compaction) -> int:
    """Join small committed files day by day; how many files were replaced.

    Between two joins others may commit, so none waits longer than one join takes.
    """
    replaced = 0
    while state.manifest.delta_version >= 0:
        with state.commit_lock:
            state.check()
            group = next(iter(_groups(state.log().files(), compaction)), None)
            if group is None:
                break
            _replace_group(state, tools, group)
            replaced += len(group)
    return replaced


def sweep(state: TableState, tools: Tools) -> None:
    """Find files in the folder that nobody names, as a crash leaves them; they go when replaced ones go."""
    with state.commit_lock:
        with state.lock:
            on_disk = {path.relative_to(state.folder).as_posix() for path in state.folder.glob("v*/*")}
            on_disk -= state.named()
        orphans = on_disk - {file.path for file in state.log().files()}
        now = tools.clock.monotonic()
        with state.lock:
            state.trash.extend(Trash(path, now) for path in sorted(orphans))
            state.swept = True


def vacuum(state: TableState, tools: Tools) -> int:
    """Delete replaced files whose time has come; how many."""
    limit = tools.clock.monotonic() - tools.settings.vacuum_seconds
    with state.lock:
        due = [item for item in state.trash if item.since <= limit]
        state.trash = [item for item in state.trash if item.since > limit]
    for item in due:
        (state.folder / item.path).unlink(missing_ok=True)
    return len(due)


def remove_leftovers(root: Path) -> None:
    """Finish removals of dropped tables that a crash cut short."""
    for folder in root.glob("*/*/.*.gone"):
        shutil.rmtree(folder, ignore_errors=True)


def _groups(files: Iterable[StoredFile], compaction: Compaction) -> Iterable[list[StoredFile]]:
    days: dict[tuple[int, int | None], list[StoredFile]] = {}
    for file in files:
        if file.bytes < compaction.below:
            days.setdefault((file.schema_version, file.day), []).append(file)
    for small in days.values():
        small.sort(key=lambda file: (file.min_time or 0, file.path))
        while len(small) >= compaction.least:
            group: list[StoredFile] = []
            while small and sum(file.bytes for file in group) < compaction.target:
                group.append(small.pop(0))
            yield group


def _replace_group(state: TableState, tools: Tools, group: list[StoredFile]) -> None:
    log = state.log()
    version, day = group[0].schema_version, group[0].day
    try:
        path = tools.rewriter.join(
            [state.folder / file.path for file in group], state.folder / f"v{version}", in_order=True
        )
        addition = stored_file(state, tools, path.relative_to(state.folder).as_posix(), day)
        if addition.stats.rows != sum(file.rows for file in group):
            raise CommitError("compaction did not keep the rows")
        sync_data(state, tools, [addition.file.path])
        if not log.replace(group, [addition], tools.clock.now(), data_change=False) and addition.file not in (
            log.files()
        ):
            raise CommitError("the compaction was refused")
        sync_log(state, tools, range(state.manifest.delta_version + 1, log.version + 1))
    except BaseException:
        state.swept = False
        raise
    state.committed(log.version, (), [file.path for file in group], tools.clock.monotonic())


def _remove_dropped(state: TableState, tools: Tools) -> None:
    """Remove a dropped table's folder once no running query can read it."""
    now = tools.clock.monotonic()
    with state.lock:
        if state.oldest is None:
            state.oldest = now
        if now - state.oldest < tools.settings.vacuum_seconds:
            return
    gone = state.folder.with_name(f".{state.key.incarnation}.gone")
    if state.folder.exists():
        state.folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
