"""The table `LAQueryLogs`: what the query process notes of queries, through a journal of its own.

A workspace's diagnostic setting for `Audit` switches it on. Nobody waits for the rows: what finds no room is counted,
and told in the audit log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

import msgspec

from headrace.catalog.model import Catalog
from headrace.journal.files import FileJournal
from headrace.journal.model import (
    JournalBrokenError,
    JournalFormatError,
    JournalFullError,
    Pending,
)
from headrace.observe.audit.events import AuditEvent, Auditor
from headrace.observe.own_rows import QUERY_LOGS, own_entry
from headrace.query.log import AskedQuery

MOST_BYTES = 8 * 1024 * 1024
"""Rows that wait for the journal."""

_ENTRY_BYTES = 256 * 1024
_GATHER_SECONDS = 0.1
_log = logging.getLogger(__name__)


class QueryLogWriter:
    """Takes queries (`tell`) and writes their rows; for one event loop.

    `open_journal` is called when there is something to write for the first time.
    """

    def __init__(
        self, open_journal: Callable[[], FileJournal], catalog: Callable[[], Catalog], auditor: Auditor
    ) -> None:
        self._open = open_journal
        self._catalog = catalog
        self._auditor = auditor
        self._journal: FileJournal | None = None
        self._rows: dict[str, list[bytes]] = {}
        self._bytes = 0
        self._lost = 0
        self._waiting = asyncio.Event()

    def tell(self, query: AskedQuery) -> None:
        """See `headrace.query.log.Tell`."""
        catalog = self._catalog()
        for workspace in query.workspaces:
            for name in catalog.query_log_destinations.get(workspace.resource_id, ()):
                destination = catalog.by_resource_id.get(name)
                if destination is not None:
                    self._put(destination.customer_id, msgspec.json.encode(query.row(workspace)))

    def _put(self, workspace: str, row: bytes) -> None:
        self._waiting.set()
        if self._bytes + len(row) > MOST_BYTES:
            self._lost += 1
            return
        self._bytes += len(row)
        self._rows.setdefault(workspace, []).append(row)

    async def run(self) -> None:
        """Write until cancelled; then what waits is still written."""
        try:
            while True:
                await self._waiting.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                await self._write()
        finally:
            await self._write()
            if self._journal is not None:
                await self._journal.close()

    async def _write(self) -> None:
        self._waiting.clear()
        taken, self._rows, self._bytes = self._rows, {}, 0
        # All of it before anything is waited for: whoever is cancelled then has lost nothing.
        under_way = [
            (self._submit(workspace, some), len(some))
            for workspace, rows in taken.items()
            for some in _portions(rows)
        ]
        lost, self._lost = self._lost, 0
        for pending, count in under_way:
            lost += 0 if await _is_kept(pending) else count
        if lost:
            _log.warning("%d rows of %s are not kept", lost, QUERY_LOGS)
            details = f"{lost} rows of {QUERY_LOGS} were lost."
            self._auditor.tell(AuditEvent("Query", "EventsLost", 500, details=details))

    def _submit(self, workspace: str, rows: Sequence[bytes]) -> Pending | None:
        """Give the rows to the journal; None when it takes none."""
        body = b"[" + b",".join(rows) + b"]"
        entry = own_entry(workspace, QUERY_LOGS, len(rows), body)
        if self._journal is not None and self._journal.broken is not None:
            # Opened anew it takes rows again as soon as the disk does.
            self._journal.abort()
            self._journal = None
        try:
            if self._journal is None:
                self._journal = self._open()
            return self._journal.submit(entry)
        except (JournalFullError, JournalBrokenError, JournalFormatError, OSError):
            return None


async def _is_kept(pending: Pending | None) -> bool:
    if pending is not None:
        with contextlib.suppress(JournalFullError, JournalBrokenError):
            await pending
            return True
    return False


def _portions(rows: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The rows in their order, in lists of about `_ENTRY_BYTES`."""
    portion: list[bytes] = []
    size = 0
    for row in rows:
        portion.append(row)
        size += len(row)
        if size >= _ENTRY_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
