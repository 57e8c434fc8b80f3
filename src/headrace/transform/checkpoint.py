"""How far each journal has been let go: one small file for each journal, replaced durably.

Without its checkpoint a journal is read again from its first kept record; the tables know which rows they
have, so that costs time only. What the checkpoint adds is certainty about tables that are no more: a record
that was settled is never looked at again, even if its table has been deleted and made anew since.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import structs

from headrace.disk import Disk, replace_durably

_LOG = logging.getLogger(__name__)

SITE = "pipeline.checkpoint"
SITE_FOLDER = "pipeline.checkpoint.folder"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Records below `watermark` are settled; beyond it, each rule's up to its own offset in `settled`."""

    watermark: int = 0
    settled: Mapping[str, int] = field(default_factory=dict)

    def covers(self, rule: str, offset: int) -> bool:
        """Whether the record of that rule at `offset` is settled."""
        return offset < self.watermark or offset <= self.settled.get(rule, -1)


class _Stored(msgspec.Struct, frozen=True):
    format: int
    watermark: int
    settled: dict[str, int]
    checksum: int | None = None
    """Of the other fields; None in what was written before there were checksums."""

    def sealed(self) -> _Stored:
        """With its checksum: a watermark that is wrong would pass over records that no table has."""
        plain = structs.replace(self, checksum=None)
        return structs.replace(self, checksum=zlib.crc32(msgspec.json.encode(plain, order="sorted")))


class Checkpoints:
    """The checkpoint files of one data folder."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        if not folder.exists():
            folder.mkdir(parents=True)
            disk.sync_dir(folder.parent, SITE_FOLDER)
        self._folder = folder
        self._disk = disk

    def load(self, journal: str) -> Checkpoint:
        """The journal's checkpoint; one that says nothing when there is none or it cannot be read."""
        path = self._path(journal)
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        except FileNotFoundError:
            return Checkpoint()
        except (msgspec.MsgspecError, UnicodeDecodeError):
            stored = _Stored(0, 0, {})
        if stored.format != FORMAT or stored.checksum not in (None, stored.sealed().checksum):
            _LOG.error(
                "%s is damaged: the journal is read again from its beginning, which takes a while", path
            )
            return Checkpoint()
        return Checkpoint(stored.watermark, stored.settled)

    def save(self, journal: str, checkpoint: Checkpoint) -> None:
        """Make `checkpoint` the journal's, durably. Raises `OSError`; then the former one stands."""
        stored = _Stored(FORMAT, checkpoint.watermark, dict(checkpoint.settled)).sealed()
        replace_durably(self._disk, self._path(journal), msgspec.json.encode(stored), SITE)

    def _path(self, journal: str) -> Path:
        return self._folder / f"{journal}.json"
