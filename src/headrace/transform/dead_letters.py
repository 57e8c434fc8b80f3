"""Rows and payloads that could not be stored: kept durably, with the reason and their original bytes.

A letter's key is its place: journal, offset, flow, row. A letter once kept is a decision: a replay of the
journal neither writes it again nor stores its row. Letters are appended to files of bounded size, each frame
with its length and checksum. A file whose end a crash tore, or a disk changed, takes no more; of its frames only those
are lost that are not whole any more, which the log tells.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from headrace.disk import Disk
from headrace.frames import Form

_LOG = logging.getLogger(__name__)

SITE_APPEND = "deadletters.append"
SITE_FOLDER = "deadletters.folder"

WHOLE = -1
"""In place of a flow: the letter is about every flow. In place of a row: about the whole payload."""

FILE_BYTES = 32 * 1024 * 1024
MAX_BYTES = 8 * 1024 * 1024 * 1024
_FORM = Form(begins=b"\x9f", most=256 * 1024 * 1024)
"""A letter is an array of 15, in MessagePack."""
_SUFFIX = ".letters"


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """One letter. `body` is the payload's wire bytes (`encoding` as sent), or the JSON text of one row.

    `reason` is a code; `message` says more and quotes no data. `rows` counts the rows it stands for.
    """

    journal: str
    offset: int
    flow: int
    row: int
    received: int
    """UTC microseconds."""
    rule: str
    rule_version: int
    stream: str
    request_id: str
    client_request_id: str
    reason: str
    message: str
    encoding: str
    rows: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """What the letters say of one payload and one flow: it as a whole, or these rows, must not be stored."""

    whole: bool
    rows: frozenset[int]


@dataclass(frozen=True, slots=True)
class Fate:
    """Why so many rows became one letter; see `DeadLetter`."""

    reason: str
    message: str
    rows: int


_NOTHING = Decided(False, frozenset())


class DeadLetters:
    """The letters of one data folder, for their one writing process. Thread-safe."""

    def __init__(
        self, folder: Path, disk: Disk, *, file_bytes: int = FILE_BYTES, max_bytes: int = MAX_BYTES
    ) -> None:
        """Open or begin the letters in `folder`. Raises `OSError`.

        `max_bytes` bounds all of them, give or take one file: the oldest are removed, told by `removed`.
        """
        if not folder.exists():
            folder.mkdir(parents=True)
            disk.sync_dir(folder.parent, SITE_FOLDER)
        self._folder = folder
        self._disk = disk
        self._file_bytes = file_bytes
        self._max_bytes = max_bytes
        self._removed = 0
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._keys: dict[str, dict[int, dict[tuple[int, int], Fate]]] = {}
        self._count = 0
        files = _files(folder)
        self._number = _number(files[-1]) if files else 0
        for path in files:
            whole = 0
            for letter, size in _frames(path):
                self._note(letter)
                whole += size
            damaged = path.stat().st_size - whole
            if damaged:
                _LOG.error(
                    "%d bytes of the dead letters in %s are torn or damaged, and passed over", damaged, path
                )
                # Behind what is not whole nobody writes: it could be taken for a part of it.
                self._number = max(self._number, _number(path) + 1)

    def add(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Keep these letters durably; those that were new. Raises `OSError`: then none may be relied on."""
        with self._lock:
            fresh = [letter for letter in letters if not self._is_known(letter)]
            if not fresh:
                return []
            file = self._open()
            start = file.tell()
            try:
                for letter in fresh:
                    file.write(_FORM.pack(msgspec.msgpack.encode(letter)))
                file.flush()
                self._disk.sync_file(Path(file.name), SITE_APPEND, file.fileno())
            except OSError:
                self._give_up(file, start)
                raise
            for letter in fresh:
                self._note(letter)
            if file.tell() >= self._file_bytes:
                self._close()
                self._prune()
            return fresh

    def decided(self, journal: str, offset: int, flow: int) -> Decided:
        """What was decided about a payload and a flow before (as far as it has not been forgotten)."""
        with self._lock:
            places = self._keys.get(journal, {}).get(offset)
            if places is None:
                return _NOTHING
            mine = {place for place in places if place[0] in (flow, WHOLE)}
        rows = {row for _, row in mine}
        return Decided(WHOLE in rows, frozenset(rows - {WHOLE}))

    def fates(self, journal: str, offsets: Iterable[int]) -> dict[int, dict[tuple[int, int], Fate]]:
        """The letters of these payloads by offset, then by flow and row (as far as not forgotten)."""
        with self._lock:
            known = self._keys.get(journal)
            if not known:
                return {}
            return {offset: dict(known[offset]) for offset in offsets if offset in known}

    def forget(self, journal: str, watermark: int) -> None:
        """Records below `watermark` will not be replayed: their keys need not be remembered."""
        with self._lock:
            known = self._keys.get(journal)
            if known is not None:
                for offset in [offset for offset in known if offset < watermark]:
                    del known[offset]

    @property
    def removed(self) -> int:
        """How many letters were removed since the start because all of them took too much disk."""
        return self._removed

    def __len__(self) -> int:
        """How many letters there are."""
        return self._count

    def read(self) -> Iterator[DeadLetter]:
        """All letters, in the order of their coming."""
        return read_letters(self._folder)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _open(self) -> BinaryIO:
        if self._file is None:
            path = self._folder / f"{self._number:010d}{_SUFFIX}"
            if path.exists() and path.stat().st_size >= self._file_bytes:
                self._number += 1
                path = self._folder / f"{self._number:010d}{_SUFFIX}"
            file = path.open("ab")
            try:
                self._disk.sync_dir(self._folder, SITE_FOLDER)
            except BaseException:
                file.close()
                raise
            self._file = file
        return self._file

    def _give_up(self, file: BinaryIO, start: int) -> None:
        """After a refused write or sync, go on in a new file: this one's end cannot be trusted."""
        self._file = None
        self._number += 1
        path = Path(file.name)
        with contextlib.suppress(OSError):
            file.close()
        try:
            with path.open("r+b") as again:
                again.truncate(start)
        except OSError:
            return

    def _prune(self) -> None:
        total = 0
        for place, path in enumerate(reversed(_files(self._folder))):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
                if place and total > self._max_bytes:
                    letters = sum(1 for _ in _frames(path))
                    path.unlink()
                    self._count -= letters
                    self._removed += letters
                    _LOG.error("%d dead letters were removed: they take too much disk", letters)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, letter: DeadLetter) -> None:
        places = self._keys.setdefault(letter.journal, {}).setdefault(letter.offset, {})
        places[letter.flow, letter.row] = Fate(letter.reason, letter.message, letter.rows)
        self._count += 1

    def _is_known(self, letter: DeadLetter) -> bool:
        places = self._keys.get(letter.journal, {}).get(letter.offset, ())
        return (letter.flow, letter.row) in places


def read_letters(folder: Path) -> Iterator[DeadLetter]:
    """All letters in `folder`, in the order of their coming; for any process, also while they grow."""
    for path in _files(folder):
        for letter, _ in _frames(path):
            yield letter


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def _number(path: Path) -> int:
    return int(path.stem)


def _frames(path: Path) -> Iterator[tuple[DeadLetter, int]]:
    """The letters of a file that are whole, each with the bytes that it takes."""
    with path.open("rb") as file:
        for frame in _FORM.read(file):
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield msgspec.msgpack.decode(frame.payload, type=DeadLetter), frame.end - frame.start
