"""Published files into the Delta log: put together where small, synced, committed with their positions.

The order is what makes it exact: data durable, then the log entry with files and journal positions in
one, then the entry durable, then the manifest. A crash between any two leaves a state that
`recovery` tells apart by the positions in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headrace.clock import DAY
from headrace.tables.concat import concatenate
from headrace.tables.delta import Addition, DeltaLog
from headrace.tables.durability import sync_data, sync_log
from headrace.tables.fresh import fresh_files
from headrace.tables.model import CommitError, DataFile, StoredFile
from headrace.tables.state import TableState, Tools, is_covered, last_positions
from headrace.tables.stats import read_stats

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Plan:
    """Files to commit as they are, and groups (schema version, day) that become new files.

    Rows of `rewritten` files are read and written; `copied` files lie on one day and go as bytes behind each other.
    """

    kept: list[DataFile]
    copied: dict[tuple[int, int], list[DataFile]]
    rewritten: dict[tuple[int, int], list[DataFile]]

    @property
    def replaced(self) -> tuple[str, ...]:
        """Published files that the commit does not take as they are."""
        groups = (*self.copied.values(), *self.rewritten.values())
        return tuple(dict.fromkeys(file.path for group in groups for file in group))


def commit_published(state: TableState, tools: Tools) -> bool:
    """Commit what is published now; False when there was nothing. Files published meanwhile stay so.

    Raises `CommitError` (nothing is lost: the next commit takes the files), `TableBrokenError`,
    `TableDroppedError`, and `OSError` when the manifest could not be written.
    """
    with state.commit_lock:
        state.check()
        taken = state.manifest.published
        if not taken:
            return False
        log = state.log()
        schemas = state.manifest.schemas
        positions = last_positions(taken)
        state.prime(positions)
        try:
            pending = _uncovered(taken, log)
            plan = _plan(state, tools, pending)
            with fresh_files() as made:
                additions = _additions(state, tools, plan, made)
                sync_data(state, tools, [addition.file.path for addition in additions])
            if pending:
                log.ensure_columns(schemas)
                _append(log, additions, last_positions(pending))
            sync_log(state, tools, range(state.manifest.delta_version + 1, log.version + 1))
        except BaseException:
            state.swept = False
            raise
        covered = {file.path for file in taken if file.rows} - {file.path for file in pending}
        replaced = {*plan.replaced, *covered} - {file.path for file in log.files()}
        state.committed(log.version, taken, sorted(replaced), tools.clock.monotonic())
        return True


def stored_file(state: TableState, tools: Tools, path: str, day: int | None) -> Addition:
    """A data file with the facts of its footer. Raises `CommitError` when it is not Parquet."""
    try:
        stats = read_stats(state.folder / path)
        size = (state.folder / path).stat().st_size
    except (pa.ArrowException, OSError) as error:
        raise CommitError("a data file cannot be read") from error
    low, high = stats.min_time, stats.max_time
    if low is None or high is None or not (low // DAY == day == high // DAY):
        raise CommitError("a data file does not lie on the day it was said to")
    file = StoredFile(path, stats.rows, size, low, high, day, stats.timed)
    return Addition(file, stats, tools.clock.now())


def _uncovered(files: Sequence[DataFile], log: DeltaLog) -> tuple[DataFile, ...]:
    return tuple(file for file in files if not is_covered(file.positions, log))


def _plan(state: TableState, tools: Tools, files: Sequence[DataFile]) -> _Plan:
    """Rewriting costs as much as the transform did, so only files of few rows, or of several days, are rewritten."""
    kept: list[DataFile] = []
    copied: dict[tuple[int, int], list[DataFile]] = {}
    rewritten: dict[tuple[int, int], list[DataFile]] = {}
    for file in files:
        day = file.single_day
        if not file.rows:
            continue
        if day is None:
            for each in tools.rewriter.days([state.folder / file.path]):
                rewritten.setdefault((file.schema_version, each), []).append(file)
        elif file.bytes >= tools.settings.small_file_bytes:
            kept.append(file)
        else:
            few = file.rows < tools.settings.rewrite_below_rows
            (rewritten if few else copied).setdefault((file.schema_version, day), []).append(file)
    for groups in (copied, rewritten):
        for key, group in list(groups.items()):
            if len(group) == 1 and group[0].single_day is not None:
                kept.extend(groups.pop(key))
    return _Plan(kept, copied, rewritten)


def _additions(state: TableState, tools: Tools, plan: _Plan, fresh: list[Path]) -> list[Addition]:
    """What the plan adds to the log; the files that it makes are put into `fresh`."""
    additions = []
    for file in plan.kept:
        addition = stored_file(state, tools, file.path, file.single_day)
        if addition.stats.rows != file.rows:
            raise CommitError("a published file does not have the rows it was published with")
        additions.append(addition)
    made: list[tuple[Path, int]] = []
    for (version, day), group in plan.copied.items():
        paths = [state.folder / file.path for file in group]
        joined = concatenate(paths, state.folder / f"v{version}")
        fresh += joined
        made += [(path, day) for path in joined]
    for (version, day), group in plan.rewritten.items():
        paths = [state.folder / file.path for file in group]
        fresh.append(tools.rewriter.join(paths, state.folder / f"v{version}", day=day))
        made.append((fresh[-1], day))
    new = [stored_file(state, tools, path.relative_to(state.folder).as_posix(), day) for path, day in made]
    groups = (*plan.copied.values(), *plan.rewritten.values())
    wanted = {file.path: file.rows for group in groups for file in group}
    if sum(addition.stats.rows for addition in new) != sum(wanted.values()):
        raise CommitError("putting small files together did not keep their rows")
    return [*additions, *new]


def _append(log: DeltaLog, additions: Sequence[Addition], positions: dict[str, int]) -> None:
    for _ in range(_ATTEMPTS):
        if log.append(additions, positions) or is_covered(positions, log):
            return
    raise CommitError("the commit was refused")
