"""A journal that is opened anew, in the running process, after the disk refused it a write or a sync.

A broken journal acknowledges nothing more, and no sync is ever tried again on its files. Opening it anew is what a
restart would do: the tail is read back and repaired, and whatever is not known to be on the disk is written once more
before it counts. So a disk that was read-only for a while, or failed, ends in answers 503 and in nothing worse. The
same goes for one that is read-only at the start: the journal is broken until it can be opened.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.disk import reason
from headrace.journal.files import FileJournal
from headrace.journal.model import Entry, JournalBrokenError, JournalFormatError, Pending

LOOK_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 5.0
"""Between two tries to open it: as long as clients are told to wait."""

_PROBE_NAME: Final = ".probe"
_PROBE_BYTES: Final = 4096

_log = logging.getLogger(__name__)


class MendingJournal:
    """`JournalWriter` that goes on by itself once the disk takes data again, as long as `mend` runs beside.

    `open_journal` opens the journal below `root`; it is called at once. `pause` are the seconds between two tries to
    open it again.
    """

    def __init__(
        self, root: Path, open_journal: Callable[[], FileJournal], pause: float = PAUSE_SECONDS
    ) -> None:
        """Raises `JournalFormatError`; where the disk refuses, the journal begins as a broken one."""
        self._root = root
        self._open = open_journal
        self._pause = pause
        self._journal: FileJournal | None = None
        self._unopened = ""
        """Why there is no journal yet."""
        try:
            self._journal = open_journal()
        except OSError as error:
            self._unopened = f"the disk refused to open it: {reason(error)}"

    @property
    def journal_id(self) -> str:
        """See `JournalWriter.journal_id`; another one where another process took the journal over meanwhile.

        Empty before it could be opened for the first time.
        """
        return self._journal.journal_id if self._journal is not None else ""

    @property
    def broken(self) -> str | None:
        """Why nothing is acknowledged at present; None while all is well."""
        return self._journal.broken if self._journal is not None else self._unopened

    def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        """See `JournalWriter.submit`."""
        if self._journal is None:
            raise JournalBrokenError(self._unopened)
        return self._journal.submit(entry, inflated)

    def backlog(self) -> int:
        """See `JournalWriter.backlog`."""
        return self._journal.backlog() if self._journal is not None else 0

    def ahead_seconds(self) -> float:
        """See `FileJournal.ahead_seconds`."""
        return self._journal.ahead_seconds() if self._journal is not None else 0.0

    async def close(self) -> None:
        """See `JournalWriter.close`."""
        if self._journal is not None:
            await self._journal.close()

    async def mend(self) -> None:
        """Look whether the journal is broken, and open it anew when the disk allows; until cancelled."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._pause))
            if self.broken is None:
                continue
            _log.error(
                "journal %s takes nothing more: %s. Payloads are answered 503; what was answered 204 is safe. "
                "It goes on by itself when the disk takes data again. Where the file system went read-only after an "
                "error, that needs a stop, a check of the file system, a mount and a start.",
                self.journal_id,
                self.broken,
            )
            while self.broken is not None:
                await asyncio.sleep(self._pause)
                await self._reopen()
            _log.warning("journal %s takes payloads again", self.journal_id)

    async def _reopen(self) -> None:
        try:
            await asyncio.to_thread(_probe, self._root)
            if self._journal is not None:
                self._journal.abort()
            self._journal = await asyncio.to_thread(self._open)
        except (OSError, JournalFormatError) as error:
            _log.debug("journal %s cannot be opened yet: %s", self.journal_id, error)


def _probe(folder: Path) -> None:
    """Raises `OSError` while the disk takes no data; opening alone may not need to write any."""
    path = folder / _PROBE_NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, bytes(_PROBE_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        path.unlink()
