"""Upkeep of a table: checkpoints of its log, compaction of small files, removal of what nobody names.

A replaced file stays for `vacuum_seconds` on the monotonic clock of this process, counted anew after a
restart: a snapshot that another process pinned may still read it, whatever the wall clock does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.clock import Clock
from headrace.tables.commit import stored_file
from headrace.tables.concat import concatenate
from headrace.tables.durability import sync_checkpoint, sync_data, sync_log
from headrace.tables.fresh import fresh_files
from headrace.tables.model import CommitError, StoredFile
from headrace.tables.state import TableState, Tools, Trash

MIB = 1024 * 1024
OVERLAP = 2
"""How many times over a group's files may cover their time before it is sorted: sorting costs as much again."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """When files of one day and schema version are joined. Sizes in bytes.

    Joined files are written densely (zstd), which costs more than the transform did. So raw files, as the pipeline
    writes them, are made dense within a share of one processor, and while the pipeline is busy not at all.
    """

    below: int = 16 * MIB
    """Dense files smaller than this are joined."""
    target: int = 64 * MIB
    """A joined file takes files up to this sum; so many raw bytes of a day are made dense."""
    least: int = 8
    """So many small files of a day make a compaction worth it."""
    least_while_busy: int = 96
    """The same while the pipeline is busy: then files are only put together, as far as scans would suffer."""
    share: float = 0.25
    """Of one processor, on the average, for what is not urgent."""


class Effort:
    """Spreads work that is not urgent, so that it takes no more than a share of one processor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rests_until = clock.monotonic()

    def is_free(self) -> bool:
        """Whether the share allows more now."""
        return self._clock.monotonic() >= self._rests_until

    @contextmanager
    def spending(self, share: float) -> Iterator[None]:
        """Work in this context is followed by as much rest as makes it `share` of the time."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            ended = self._clock.monotonic()
            self._rests_until = ended + (ended - began) * (1 / share - 1)


def maintain(state: TableState, tools: Tools, compaction: Compaction, effort: Effort, *, busy: bool) -> bool:
    """All upkeep that is due; whether files were joined.

    Raises `CommitError`, `TableBrokenError` or `OSError`.
    """
    if state.dropped:
        _remove_dropped(state, tools)
        return False
    state.check()
    if not state.swept:
        sweep(state, tools)
    joined = compact(state, tools, compaction, effort, busy=busy)
    if state.manifest.delta_version - state.manifest.checkpoint >= tools.settings.checkpoint_commits:
        checkpoint(state, tools)
    vacuum(state, tools)
    return bool(joined)


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


def compact(state: TableState, tools: Tools, compaction: Compaction, effort: Effort, *, busy: bool) -> int:
    """Join committed files day by day, as far as `effort` allows; how many files were replaced.

    Between two joins others may commit, so none waits longer than one join takes.
    """
    replaced = 0
    while state.manifest.delta_version >= 0 and effort.is_free():
        with state.commit_lock:
            state.check()
            group = next(iter(_groups(state.log().files(), compaction, busy=busy)), None)
            if group is None:
                break
            with effort.spending(compaction.share):
                _replace_group(state, tools, group, busy=busy)
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


def _groups(files: Iterable[StoredFile], compaction: Compaction, *, busy: bool) -> Iterator[list[StoredFile]]:
    """Files to be joined, a day's oldest first: many small ones, and raw ones when there is the time."""
    days: dict[tuple[int, int | None], list[StoredFile]] = {}
    for file in files:
        if file.bytes < compaction.below or not (file.dense or busy):
            days.setdefault((file.schema_version, file.day), []).append(file)
    least = max(compaction.least, compaction.least_while_busy) if busy else compaction.least
    for found in days.values():
        found.sort(key=lambda file: (file.min_time or 0, file.path))
        while len(found) >= least or _raw_bytes(found) >= compaction.target:
            group: list[StoredFile] = []
            while found and sum(file.bytes for file in group) < compaction.target:
                group.append(found.pop(0))
            if len(group) > 1 or not group[0].dense:
                yield group


def _raw_bytes(files: Iterable[StoredFile]) -> int:
    return sum(file.bytes for file in files if not file.dense)


def _replace_group(state: TableState, tools: Tools, group: list[StoredFile], *, busy: bool) -> None:
    log = state.log()
    day = group[0].day
    try:
        with fresh_files() as made:
            made += _joined(state, tools, group, busy=busy)
            additions = [
                stored_file(state, tools, path.relative_to(state.folder).as_posix(), day) for path in made
            ]
            if sum(addition.stats.rows for addition in additions) != sum(file.rows for file in group):
                raise CommitError("compaction did not keep the rows")
            sync_data(state, tools, [addition.file.path for addition in additions])
        if not log.replace(group, additions, tools.clock.now(), data_change=False) and not (
            {addition.file for addition in additions} <= set(log.files())
        ):
            raise CommitError("the compaction was refused")
        sync_log(state, tools, range(state.manifest.delta_version + 1, log.version + 1))
    except BaseException:
        state.swept = False
        raise
    state.committed(log.version, (), [file.path for file in group], tools.clock.monotonic())


def _joined(state: TableState, tools: Tools, group: Sequence[StoredFile], *, busy: bool) -> list[Path]:
    """New files with the rows of `group`: copied while busy, else rewritten, and sorted where that helps scans."""
    paths = [state.folder / file.path for file in group]
    folder = state.folder / f"v{group[0].schema_version}"
    rows = sum(file.rows for file in group)
    if busy and rows >= tools.settings.rewrite_below_rows * len(group):
        return concatenate(paths, folder)
    return [tools.rewriter.join(paths, folder, in_order=not _overlap(group))]


def _overlap(files: Sequence[StoredFile]) -> bool:
    """Whether the files, by their first time, tell of times again that those before told of already."""
    covered = sum((file.max_time or 0) - (file.min_time or 0) for file in files)
    first = min(file.min_time or 0 for file in files)
    last = max(file.max_time or 0 for file in files)
    return covered > OVERLAP * (last - first)


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
