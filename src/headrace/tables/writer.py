"""The table writer: publishes files to readers at once, commits them to Delta Lake in groups.

One `TableStore` in one process writes under a root folder. Pipeline threads publish, a committer thread
calls `commit_due` and `maintain`; readers in any process use `headrace.tables.reader`.
"""

from __future__ import annotations

import logging
import stat
import threading
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from headrace.catalog.model import Table
from headrace.clock import Clock, SteadyClock
from headrace.disk import Disk
from headrace.settings import TableSettings
from headrace.tables.commit import commit_published
from headrace.tables.maintenance import Compaction, Effort, maintain, remove_leftovers
from headrace.tables.manifest import checksum
from headrace.tables.model import CommitError, DataFile, FileSchema, TableKey, TablesError, version_of
from headrace.tables.recovery import Recovered, recover_state, stored_tables, unreadable
from headrace.tables.retention import RetentionOf, expire
from headrace.tables.rewrite import Rewriter
from headrace.tables.state import DROPPED_MARK, TableState, Tools
from headrace.tables.stats import read_stats

_LOG = logging.getLogger(__name__)

MAX_PUBLISHED = 96
"""Published files that make a table commit, whatever their size: many small ones slow queries down."""

FAILED_COMMIT_SECONDS = 1.0
"""So long a table rests after a commit that failed: each try may leave files behind until the next sweep."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Work on one table that did not succeed and will be tried again."""

    key: TableKey
    error: TablesError | OSError


@dataclass(frozen=True, slots=True)
class Round:
    """What one round over all tables did."""

    done: tuple[TableKey, ...]
    failures: tuple[Failure, ...]


class TableStore:
    """All tables of one data folder, for their one writing process. Safe from several threads."""

    def __init__(
        self,
        root: Path,
        disk: Disk,
        settings: TableSettings,
        clock: Clock,
        compaction: Compaction | None = None,
    ) -> None:
        if not root.exists():
            root.mkdir(parents=True)
            disk.sync_dir(root.parent, "tables.root")
        self._tools = Tools(root, disk, settings, clock, Rewriter(root))
        self._compaction = compaction or Compaction()
        self._effort = Effort(clock)
        self._turn = 0
        self._steady = SteadyClock(clock)
        self._lock = threading.Lock()
        self._states: dict[TableKey, TableState] = {}
        self._gone: set[TableKey] = set()
        """Dropped tables whose folders are removed: of them no more than this is remembered."""

    def recover(self) -> tuple[Recovered, ...]:
        """Mend every table after a crash; call it once, before anything else. What was done, by table.

        A table that cannot be mended is reported as `failed` and takes nothing until `repair` succeeds.
        """
        remove_leftovers(self._tools.root)
        return tuple(self._recover(key) for key in stored_tables(self._tools.root))

    def repair(self, table: Table) -> Recovered:
        """Mend one table after `TableBrokenError`. Its positions may have gone back: replay from there.

        It takes nothing until `resume`: rows that come after some which are to be replayed would leave a gap.
        """
        state = self._state(TableKey.of(table))
        with state.commit_lock:
            state.held = True
            return self._recover_state(state)

    def resume(self, table: Table) -> None:
        """Open a mended table again; call it when nobody publishes who knows its positions from before."""
        self._state(TableKey.of(table)).held = False

    def stored(self) -> tuple[TableKey, ...]:
        """Every table incarnation with a folder, for comparing with the catalog."""
        return tuple(stored_tables(self._tools.root))

    def new_file(self, table: Table) -> Path:
        """A path to write a Parquet file to, in the folder of the table's current schema version.

        Publish it or `discard` it. Raises `TableDroppedError`, `TableBrokenError` or `OSError`.
        """
        state = self._state(TableKey.of(table))
        path = f"v{table.schema.version}/{uuid.uuid4()}.parquet"
        state.issue(path)
        (state.folder / path).parent.mkdir(parents=True, exist_ok=True)
        return state.folder / path

    def discard(self, table: Table, path: Path) -> None:
        """Give up a file from `new_file`, whether it was written or not."""
        state = self._state(TableKey.of(table))
        path.unlink(missing_ok=True)
        state.discard(path.relative_to(state.folder).as_posix())

    def data_file(self, table: Table, path: Path, positions: Mapping[str, int]) -> DataFile:
        """Describe a file written at `path` by its footer: rows, bytes, bounds of TimeGenerated.

        Raises `TablesError` when it is not a Parquet file of a table, `ValueError` when it has rows
        without TimeGenerated, and `OSError`.
        """
        relative = path.relative_to(self._state(TableKey.of(table)).folder).as_posix()
        try:
            stats = read_stats(path)
        except pa.ArrowException as error:
            raise TablesError("the file is not a Parquet file") from error
        version = version_of(relative)
        if not stats.rows:
            return DataFile("", 0, 0, version, None, None, positions)
        if not stats.timed:
            raise ValueError("a data file has rows without TimeGenerated")
        size = path.stat().st_size
        return DataFile(relative, stats.rows, size, version, stats.min_time, stats.max_time, positions)

    def publish(self, table: Table, file: DataFile) -> None:
        """Make the file's rows visible to readers at once; durable they are only after a commit.

        A file without rows (empty path) records only its positions. Files of one application id must come
        in offset order. Raises `PositionError` when the table has these rows already, `KeyError` when the
        table has no such schema version, `TableDroppedError`, `TableBrokenError`, and `OSError` when the
        disk is full: nothing was published then.
        """
        state = self._state(TableKey.of(table))
        if file.rows and file.checksum is None:
            file = replace(file, checksum=checksum(state.folder / file.path))
        state.folder.mkdir(parents=True, exist_ok=True)
        schema = FileSchema.of(table.schema_version(file.schema_version))
        state.publish(file, schema, self._tools.clock.monotonic())

    def position(self, table: Table, app_id: str) -> int:
        """The highest offset of `app_id` whose rows are published or committed; -1 when unknown.

        Of a table that is broken it may be unknown; any other log that cannot be read raises `CommitError`.
        """
        state = self._state(TableKey.of(table))
        return _known(state, lambda: state.position(app_id))

    def durable(self, table: Table, app_id: str) -> int:
        """The highest offset of `app_id` that no crash and no power cut can take away; else as `position`."""
        state = self._state(TableKey.of(table))
        return _known(state, lambda: state.durable(app_id))

    def commit(self, table: Table) -> bool:
        """Commit what is published now; False when nothing was.

        Raises `CommitError` (tried again by the next commit), `TableBrokenError`, `TableDroppedError`
        or `OSError`.
        """
        return commit_published(self._state(TableKey.of(table)), self._tools)

    def commit_due(self, *, everything: bool = False) -> Round:
        """Commit each table whose published files are many, large or old enough; or `everything`."""
        done: list[TableKey] = []
        failures: list[Failure] = []
        for state in self._all():
            closed = state.dropped or state.broken or state.held
            if closed or not (everything or self._is_due(state)):
                continue
            try:
                if commit_published(state, self._tools):
                    done.append(state.key)
            except (TablesError, OSError) as error:
                state.rests_until = self._tools.clock.monotonic() + FAILED_COMMIT_SECONDS
                failures.append(Failure(state.key, error))
        return Round(tuple(done), tuple(failures))

    def maintain(self, *, busy: bool = False, retention: RetentionOf = lambda _: None) -> Round:
        """Removal of old days, checkpoints, compaction and vacuum where they are due; call it every few seconds.

        While `busy` files are only put together, and only where they are very many.
        """
        now = self._steady.now()
        done: list[TableKey] = []
        failures: list[Failure] = []
        states = self._all()
        # The table behind the one that was compacted last comes first: none waits for the others for ever.
        turn = self._turn % max(len(states), 1)
        for place, state in [*enumerate(states)][turn:] + [*enumerate(states)][:turn]:
            if state.broken or state.held:
                continue
            try:
                days = None if now is None or state.dropped else retention(state.key)
                if now is not None and days is not None:
                    expire(state, self._tools, now, days)
                if maintain(state, self._tools, self._compaction, self._effort, busy=busy):
                    self._turn = place + 1
                if state.dropped and not state.folder.exists():
                    self._forget(state)
                done.append(state.key)
            except (TablesError, OSError) as error:
                failures.append(Failure(state.key, error))
        return Round(tuple(done), tuple(failures))

    def drop(self, key: TableKey) -> None:
        """Delete a table incarnation: it takes nothing from now on.

        Its folder goes after `vacuum_seconds`, by `maintain`. Dropping it again changes nothing.
        """
        state = self._state(key)
        with state.commit_lock, state.lock:
            if state.dropped:
                return
            state.dropped = True
            state.oldest = None
            if state.folder.exists():
                (state.folder / DROPPED_MARK).touch()

    def stored_bytes(self, workspace: str) -> int:
        """Bytes on disk of everything in a workspace's tables. Raises `OSError`."""
        return sum(map(_size, (self._tools.root / workspace).rglob("*")))

    def close(self) -> None:
        """Close the engine that rewrites files. Published files stay published."""
        self._tools.rewriter.close()

    def _forget(self, state: TableState) -> None:
        with self._lock:
            self._states.pop(state.key, None)
            self._gone.add(state.key)

    def _all(self) -> tuple[TableState, ...]:
        with self._lock:
            return tuple(self._states.values())

    def _state(self, key: TableKey) -> TableState:
        with self._lock:
            state = self._states.get(key)
            if state is not None:
                return state
            state = TableState(key, key.folder(self._tools.root))
            if key in self._gone:
                state.dropped = True
                return state
            if state.folder.exists():
                self._recover_state(state)
            self._states[key] = state
            return state

    def _recover(self, key: TableKey) -> Recovered:
        state = TableState(key, key.folder(self._tools.root))
        recovered = self._recover_state(state)
        with self._lock:
            self._states[key] = state
        return recovered

    def _recover_state(self, state: TableState) -> Recovered:
        try:
            return recover_state(state, self._tools)
        except (TablesError, OSError) as error:
            if not state.broken:
                _tell_broken(state, error)
            state.broken = True
            return Recovered(state.key, failed=True)

    def _is_due(self, state: TableState) -> bool:
        """Tables that are only old are staggered, each by its own share of the age limit."""
        settings = self._tools.settings
        with state.lock:
            published, oldest = state.manifest.published, state.oldest
        if not published or oldest is None:
            return False
        if self._tools.clock.monotonic() < state.rests_until:
            return False
        if len(published) >= MAX_PUBLISHED or sum(file.bytes for file in published) >= settings.commit_bytes:
            return True
        share = 0.75 + 0.25 * (zlib.crc32(state.key.incarnation.encode()) / 2**32)
        return self._tools.clock.monotonic() - oldest >= settings.commit_seconds * share


def _tell_broken(state: TableState, error: TablesError | OSError) -> None:
    damaged = unreadable(state.folder)
    cure = (
        f"damaged: {', '.join(map(str, damaged))}: put back a copy and start again, or delete the table"
        if damaged
        else "it is tried again and again"
    )
    _LOG.error(
        "table %s takes nothing, its rows wait in the journal: %s (%s); %s",
        state.key.name,
        error,
        state.folder,
        cure,
    )


def _size(path: Path) -> int:
    """A file's bytes; none where it has just gone, or is a folder."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _known(state: TableState, ask: Callable[[], int]) -> int:
    try:
        return ask()
    except CommitError:
        if state.broken:
            return -1
        raise
