"""What the writing process knows of one table incarnation, and the only places where that changes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.clock import Clock
from headrace.disk import Disk
from headrace.settings import TableSettings
from headrace.tables.delta import DeltaLog
from headrace.tables.manifest import write_manifest
from headrace.tables.model import (
    DataFile,
    FileSchema,
    Manifest,
    PositionError,
    TableBrokenError,
    TableDroppedError,
    TableKey,
)
from headrace.tables.rewrite import Rewriter

DROPPED_MARK = "DROPPED"
BROKEN_MARK = "BROKEN"


@dataclass(frozen=True, slots=True)
class Tools:
    """What works on any table: handed to commits, maintenance and recovery."""

    root: Path
    disk: Disk
    settings: TableSettings
    clock: Clock
    rewriter: Rewriter


@dataclass(frozen=True, slots=True)
class Trash:
    """A file that no manifest names any more, since `since` (monotonic seconds)."""

    path: str
    since: float


class TableState:
    """One table incarnation in the writing process.

    `lock` guards every field and is held only briefly; `commit_lock` is held by whoever changes the Delta
    log, and is taken before `lock`.
    """

    def __init__(self, key: TableKey, folder: Path) -> None:
        self.key = key
        self.folder = folder
        self.lock = threading.RLock()
        self.commit_lock = threading.Lock()
        self.manifest = Manifest()
        self.dropped = False
        self.broken = False
        self.held = False
        """Mended, but closed until all who publish have begun again: their rows would leave a gap."""
        self.distrusted = False
        """Whether the disk refused a sync, so that files published since the last commit may not be what they seem."""
        self.swept = True
        """Whether the folder is known to hold no file that nobody names."""
        self.expired_before = 0
        """Days (from 1970-01-01) below this were removed for their age."""
        self.oldest: float | None = None
        """When the oldest published file came, in monotonic seconds."""
        self.rests_until = 0.0
        """After a commit that failed: when to try again, in monotonic seconds."""
        self.trash: list[Trash] = []
        self.synced: set[Path] = set()
        """Paths whose entry in their parent folder this process has made durable."""
        self._issued: set[str] = set()
        self._published: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._log: DeltaLog | None = None

    def check(self) -> None:
        """Raises `TableDroppedError` or `TableBrokenError` when the table takes nothing."""
        if self.dropped:
            raise TableDroppedError(f"table {self.key.name} was deleted")
        if self.broken or self.held:
            raise TableBrokenError(f"the disk refused to make table {self.key.name} durable")

    def log(self) -> DeltaLog:
        """The table's Delta log. Raises `CommitError` when it cannot be read."""
        with self.lock:
            if self._log is None:
                self._log = DeltaLog(self.folder)
            return self._log

    def issue(self, path: str) -> None:
        """Remember a file that is being written, so that no sweep takes it."""
        with self.lock:
            self.check()
            self._issued.add(path)

    def discard(self, path: str) -> None:
        """Forget a file that was issued and will not be published."""
        with self.lock:
            self._issued.discard(path)

    def named(self) -> set[str]:
        """Paths that are published, being written, or waiting for their removal."""
        with self.lock:
            published = {file.path for file in self.manifest.published}
            return published | self._issued | {item.path for item in self.trash}

    def publish(self, file: DataFile, schema: FileSchema, now: float) -> None:
        """Make a file's rows visible: one manifest. Raises `PositionError`, `OSError`, and as `check`."""
        with self.lock:
            self.check()
            for app_id, offset in file.positions.items():
                if offset <= self.position(app_id):
                    raise PositionError(f"rows up to offset {offset} of {app_id} are in the table already")
            schemas = self.manifest.schemas
            if file.rows and all(known.version != schema.version for known in schemas):
                schemas = (*schemas, schema)
            self._replace(replace(self.manifest, published=(*self.manifest.published, file), schemas=schemas))
            self._issued.discard(file.path)
            self._published.update(file.positions)
            if self.oldest is None:
                self.oldest = now

    def committed(self, version: int, taken: Iterable[DataFile], replaced: Iterable[str], now: float) -> None:
        """Move to a durable Delta version that holds `taken`; `replaced` files go to the trash."""
        with self.lock:
            gone = {id(file) for file in taken}
            rest = tuple(file for file in self.manifest.published if id(file) not in gone)
            versions = {file.schema_version for file in rest if file.rows}
            schemas = tuple(schema for schema in self.manifest.schemas if schema.version in versions)
            self._replace(replace(self.manifest, delta_version=version, published=rest, schemas=schemas))
            for file in taken:
                for app_id, offset in file.positions.items():
                    self._durable[app_id] = max(offset, self._durable.get(app_id, -1))
            self._published = last_positions(rest)
            self.oldest = now if rest else None
            self.trash.extend(Trash(path, now) for path in replaced)

    def checkpointed(self, version: int) -> None:
        """Record that a Delta checkpoint is durable."""
        with self.lock:
            self._replace(replace(self.manifest, checkpoint=version))

    def adopt(self, manifest: Manifest, log: DeltaLog | None, now: float, *, write: bool) -> None:
        """Start from a recovered manifest."""
        with self.lock:
            if write:
                self._replace(manifest)
            else:
                self.manifest = manifest
            self._log = log
            self._durable.clear()
            self._published = last_positions(manifest.published)
            self.oldest = now if manifest.published else None
            self.broken = self.distrusted = False
            self.swept = False

    def position(self, app_id: str) -> int:
        """The highest offset of `app_id` that is published or committed, -1 for none."""
        with self.lock:
            published = self._published.get(app_id)
            return self.durable(app_id) if published is None else published

    def durable(self, app_id: str) -> int:
        """The highest offset of `app_id` that survives a power cut, -1 for none."""
        with self.lock:
            if app_id not in self._durable:
                self._durable[app_id] = self.log().transaction(app_id)
            return self._durable[app_id]

    def prime(self, app_ids: Iterable[str]) -> None:
        """Fix what is durable of `app_ids` before a commit that is not durable at once."""
        for app_id in app_ids:
            self.durable(app_id)

    def break_off(self) -> None:
        """The disk refused a sync: nothing written since the last commit can be trusted any more."""
        with self.lock:
            self.broken = self.distrusted = True
            try:
                (self.folder / BROKEN_MARK).touch()
            except OSError:
                return

    def _replace(self, manifest: Manifest) -> None:
        numbered = replace(manifest, serial=self.manifest.serial + 1)
        write_manifest(self.folder, numbered)
        self.manifest = numbered


def last_positions(files: Sequence[DataFile]) -> dict[str, int]:
    """The last offset of each application id over files in the order of publishing."""
    positions: dict[str, int] = {}
    for file in files:
        positions.update(file.positions)
    return positions


def is_covered(positions: Mapping[str, int], log: DeltaLog) -> bool:
    """Whether the log has all these positions already."""
    return all(log.transaction(app_id) >= offset for app_id, offset in positions.items())
