"""A power cut, on a real folder: what was not covered by a completed sync is kept, lost or mixed at random.

`PowerCutDisk` is a `Disk`. Files are written below its root with the operating system's own calls, by
whatever code; at each sync it remembers what the disk now guarantees. `cut` then puts the folder into one
of the states that a machine may find after its power failed:

- the content of a file: as last synced, as last written, sector by sector from the one or the other, and of
  any length between the two;
- the entries of a directory: names made, removed or renamed since its last sync are so or not, each by
  itself. A rename moves a file at one stroke: its old or its new name has it, and the name it replaced has
  the old or the new file.

Syncing a file does not make its name durable, and syncing a directory not the content of its files, nor the
names in the directories below.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

SECTOR = 512


class PowerCut(Exception):
    """The power failed at an armed sync. Every later sync fails likewise, until `cut` or `restart`."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes: its size and the stretches that are not holes, by position."""

    size: int = 0
    data: tuple[tuple[int, bytes], ...] = ()

    def sector(self, number: int) -> bytes:
        """The bytes of a sector, zeros where there are none."""
        start = number * SECTOR
        block = bytearray(SECTOR)
        for position, data in self.data:
            low, high = max(position, start), min(position + len(data), start + SECTOR)
            if low < high:
                block[low - start : high - start] = data[low - position : high - position]
        return bytes(block)

    def sectors(self) -> Iterator[int]:
        """Numbers of the sectors that may hold something other than zeros."""
        for position, data in self.data:
            yield from range(position // SECTOR, (position + len(data) + SECTOR - 1) // SECTOR)


@dataclass(slots=True)
class _File:
    """A regular file by inode. `link` is a name of it outside the root, which keeps the inode from reuse."""

    link: Path
    durable: Content = field(default_factory=Content)


@dataclass(slots=True)
class _Directory:
    """A directory by inode; `handle` keeps the inode from reuse, `entries` are the durable names."""

    handle: int
    entries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Symlink:
    target: str


class PowerCutDisk:
    """See the module. One machine's disk: use one object for all that lives below `root`.

    `without` names sites whose syncs are left out, to prove that each is needed. A folder beside the root
    holds what is needed to bring files back; `close` removes it.
    """

    def __init__(self, root: Path, *, without: frozenset[str] = frozenset()) -> None:
        """What is below `root` now counts as durable."""
        self.root = root = root.resolve()
        self.without = without
        self.sites: list[str] = []
        """Sites of the syncs so far, in order; those left out too."""
        self._guard = threading.RLock()
        self._files: dict[int, _File] = {}
        self._directories: dict[int, _Directory] = {}
        self._symlinks: dict[int, _Symlink] = {}
        self._links = 0
        self._armed: int | None = None
        self._after = False
        self._off = False
        self._shadow = root.parent / f".{root.name}.powercut"
        self._shadow.mkdir()
        self._settle()

    def __enter__(self) -> Self:
        """Closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Forget everything; the folder below `root` stays as it is."""
        with self._guard:
            self._forget()
            shutil.rmtree(self._shadow, ignore_errors=True)

    def arm(self, syncs: int, *, after: bool = False) -> None:
        """Let the power fail (`PowerCut`) at a coming sync: before it has an effect, or right `after`.

        `syncs` counts the syncs until then: 0 is the very next one.
        """
        with self._guard:
            self._armed, self._after = syncs, after

    def restart(self) -> None:
        """End an armed failure without a loss: only the process died, the machine went on."""
        with self._guard:
            self._armed, self._off = None, False

    def sync_file(self, path: Path, site: str, fd: int | None = None) -> None:
        """See `Disk.sync_file`."""
        with self._guard:
            if self._begin(site) and self._mine(path):
                opened = os.open(path, os.O_RDONLY) if fd is None or not _readable(fd) else fd
                try:
                    self._sync_content(opened, path)
                finally:
                    if opened != fd:
                        os.close(opened)
            self._finish()

    def sync_dir(self, path: Path, site: str) -> None:
        """See `Disk.sync_dir`."""
        with self._guard:
            if self._begin(site) and self._mine(path):
                self._sync_entries(path)
            self._finish()

    def cut(self, seed: int) -> None:
        """Cut the power and start again: the folder is in a state that this may leave; all of it is durable.

        Who held files open before must be gone, or at least write no more. Every file is a new one.
        """
        with self._guard:
            rng = random.Random(seed)
            rebuilt = self._shadow / "rebuilt"
            rebuilt.mkdir()
            current = self._look()
            self._rebuild(rebuilt, self.root.stat().st_ino, self._outcome(current, rng), rng, {})
            for path in self.root.iterdir():
                _remove(path)
            for path in rebuilt.iterdir():
                path.rename(self.root / path.name)
            rebuilt.rmdir()
            self._forget()
            self._settle()
            self.restart()

    # Syncs.

    def _mine(self, path: Path) -> bool:
        path = path.resolve()
        return path == self.root or self.root in path.parents

    def _begin(self, site: str) -> bool:
        if self._off:
            raise PowerCut(site)
        self.sites.append(site)
        if self._armed == 0 and not self._after:
            self._off = True
            raise PowerCut(site)
        return site not in self.without

    def _finish(self) -> None:
        if self._armed is None:
            return
        if self._armed == 0:
            self._off = True
            raise PowerCut("after a sync")
        self._armed -= 1

    def _sync_content(self, opened: int, path: Path) -> None:
        status = os.fstat(opened)
        if status.st_nlink == 0:
            return
        file = self._hold(status.st_ino, path)
        if file is not None:
            file.durable = read_content(opened)

    def _sync_entries(self, path: Path) -> None:
        directory = self._hold_directory(path)
        directory.entries = {}
        for entry in _entries(path):
            inode = self._hold_entry(entry)
            if inode is not None:
                directory.entries[entry.name] = inode

    def _hold_entry(self, entry: os.DirEntry[str]) -> int | None:
        """Hold what a name stands for, and its inode; None for what a disk does not keep (a socket)."""
        inode = entry.stat(follow_symlinks=False).st_ino
        if entry.is_symlink():
            self._symlinks[inode] = _Symlink(str(Path(entry.path).readlink()))
        elif entry.is_dir(follow_symlinks=False):
            self._hold_directory(Path(entry.path))
        elif not entry.is_file() or self._hold(inode, Path(entry.path)) is None:
            return None
        return inode

    def _hold(self, inode: int, path: Path) -> _File | None:
        file = self._files.get(inode)
        if file is None:
            self._links += 1
            link = self._shadow / str(self._links)
            try:
                os.link(path, link)
            except FileNotFoundError:
                return None
            if link.stat().st_ino != inode:
                link.unlink()
                return None
            file = self._files[inode] = _File(link)
        return file

    def _hold_directory(self, path: Path) -> _Directory:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        inode = os.fstat(handle).st_ino
        known = self._directories.get(inode)
        if known is not None:
            os.close(handle)
            return known
        directory = self._directories[inode] = _Directory(handle)
        return directory

    # The cut.

    def _look(self) -> dict[int, dict[str, int]]:
        """Hold everything there is now; the entries of each directory by inode."""
        current: dict[int, dict[str, int]] = {}
        self._hold_directory(self.root)
        pending = [self.root]
        while pending:
            path = pending.pop()
            entries = current[path.stat().st_ino] = {}
            for entry in _entries(path):
                inode = self._hold_entry(entry)
                if inode is None:
                    continue
                entries[entry.name] = inode
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
        return current

    def _outcome(self, current: dict[int, dict[str, int]], rng: random.Random) -> dict[int, dict[str, int]]:
        """The entries of each directory after the cut: each group of changes that hang together, or not."""
        changed: list[tuple[int, str, int | None, int | None]] = []
        outcome: dict[int, dict[str, int]] = {}
        for inode in current.keys() | self._directories.keys():
            durable = self._directories[inode].entries if inode in self._directories else {}
            now = current.get(inode, {})
            outcome[inode] = {name: durable[name] for name in durable if now.get(name) == durable[name]}
            for name in sorted(durable.keys() | now.keys()):
                if durable.get(name) != now.get(name):
                    changed.append((inode, name, durable.get(name), now.get(name)))
        changed.sort(key=lambda change: change[1])
        for group in _connected(changed):
            happened = rng.random() < 0.5
            for inode, name, old, new in group:
                kept = new if happened else old
                if kept is not None:
                    outcome[inode][name] = kept
        return outcome

    def _rebuild(
        self,
        target: Path,
        directory: int,
        outcome: dict[int, dict[str, int]],
        rng: random.Random,
        made: dict[int, Path],
    ) -> None:
        for name, inode in sorted(outcome.get(directory, {}).items()):
            path = target / name
            if inode in self._symlinks:
                path.symlink_to(self._symlinks[inode].target)
            elif inode in made:
                path.hardlink_to(made[inode])
            elif inode in self._files:
                file = self._files[inode]
                write_content(path, _mixed(file.durable, _content_of(file.link), rng))
                path.chmod(stat.S_IMODE(file.link.stat().st_mode))
                made[inode] = path
            else:
                path.mkdir()
                self._rebuild(path, inode, outcome, rng, made)

    def _settle(self) -> None:
        """Everything that is there now is durable."""
        for inode, entries in self._look().items():
            self._directories[inode].entries = dict(entries)
        for file in self._files.values():
            file.durable = _content_of(file.link)

    def _forget(self) -> None:
        for file in self._files.values():
            file.link.unlink(missing_ok=True)
        for directory in self._directories.values():
            os.close(directory.handle)
        self._files, self._directories, self._symlinks = {}, {}, {}


def read_content(descriptor: int) -> Content:
    """An open file's content; holes (a preallocated file is all hole) cost nothing."""
    size = os.fstat(descriptor).st_size
    data: list[tuple[int, bytes]] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        data.append((start, os.pread(descriptor, end - start, start)))
        position = end
    return Content(size, tuple(data))


def write_content(path: Path, content: Content) -> None:
    """Make the file `path` with `content`."""
    with path.open("wb") as file:
        for position, data in content.data:
            file.seek(position)
            file.write(data)
        file.truncate(content.size)


def _content_of(path: Path) -> Content:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_content(descriptor)
    finally:
        os.close(descriptor)


def _mixed(durable: Content, current: Content, rng: random.Random) -> Content:
    """One of the contents that a cut may leave of a file."""
    if durable == current:
        return current
    low, high = sorted((durable.size, current.size))
    size = rng.choice((durable.size, current.size, rng.randint(low, high)))
    share = rng.choice((0.0, 1.0, rng.random()))
    numbers = sorted({*durable.sectors(), *current.sectors()})
    data: list[tuple[int, bytes]] = []
    for number in numbers:
        start = number * SECTOR
        if start >= size:
            break
        source = current if rng.random() < share else durable
        data.append((start, source.sector(number)[: size - start]))
    return Content(size, tuple(data))


def _connected(
    changes: Iterable[tuple[int, str, int | None, int | None]],
) -> list[list[tuple[int, str, int | None, int | None]]]:
    """Changes of names in groups that only happen together: those that a moved file ties to each other."""
    groups: list[tuple[set[int], set[int], list[tuple[int, str, int | None, int | None]]]] = []
    for change in changes:
        _, _, old, new = change
        left = {old} if old is not None else set()
        came = {new} if new is not None else set()
        members = [change]
        apart = []
        for group in groups:
            if group[0] & came or group[1] & left:
                left |= group[0]
                came |= group[1]
                members = group[2] + members
            else:
                apart.append(group)
        groups = [*apart, (left, came, members)]
    return [members for _, _, members in groups]


def _entries(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _readable(descriptor: int) -> bool:
    try:
        os.pread(descriptor, 1, 0)
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
