"""The engine's end of the audit log: events from everywhere become rows of one chain, durable in the journal."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from headrace.clock import Clock
from headrace.ids import new_guid
from headrace.journal.model import JournalBrokenError, JournalFullError, JournalWriter
from headrace.observe.audit.events import FIRST, AuditEvent, Link, make_row
from headrace.observe.audit.heads import Head, Heads
from headrace.observe.own_rows import AUDIT, own_entry

MOST_WAITING = 10_000
MOST_RECENT = 5_000
MOST_TOGETHER = 200
HEAD_SECONDS = 10.0
_TRIES = 5
_PAUSE_SECONDS = 0.5
_log = logging.getLogger(__name__)

_Waiting = tuple[AuditEvent, int, asyncio.Future[None] | None]
"""An event, when it was told, and who waits until it is durable."""


class AuditTrail:
    """An `Auditor` that writes. `workspace` tells where the rows go: a workspace's customer id, or None.

    A chain begins with each start of the process and names the head of the chain before it.
    """

    def __init__(
        self,
        journal: JournalWriter,
        heads: Heads,
        workspace: Callable[[], str | None],
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._heads = heads
        self.workspace = workspace
        self._clock = clock
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MOST_WAITING)
        self._link = Link(new_guid(), -1, FIRST)
        self._before: Head | None = None
        self._signed = -2
        self._lost = 0
        self._recent: deque[tuple[int, AuditEvent]] = deque(maxlen=MOST_RECENT)

    @property
    def public_key(self) -> str:
        """What heads are verified with."""
        return self._heads.public_key

    def heads(self) -> list[Head]:
        """Every chain's signed head, oldest first."""
        return self._heads.all()

    def recent(self) -> Sequence[tuple[int, AuditEvent]]:
        """The newest events since the start with their times (UTC microseconds), oldest first; bounded."""
        return tuple(self._recent)

    def tell(self, event: AuditEvent) -> None:
        """See `Auditor.tell`."""
        self._put(event, None)

    async def record(self, event: AuditEvent) -> None:
        """See `Auditor.record`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._put(event, done):
            await done

    def _put(self, event: AuditEvent, done: asyncio.Future[None] | None) -> bool:
        now = self._clock.now()
        self._recent.append((now, event))
        try:
            self._queue.put_nowait((event, now, done))
        except asyncio.QueueFull:
            self._lost += 1
            return False
        return True

    async def run(self) -> None:
        """Write until cancelled; then what waits is still written."""
        existing = await asyncio.to_thread(self._heads.all)
        self._before = existing[-1] if existing else None
        before = self._before
        named = f"{before.chain} {before.sequence} {before.hash}" if before else "none"
        await self._write_own("ChainBegins", f"before: {named}")
        await asyncio.to_thread(self._sign)
        signing = asyncio.create_task(self._sign_now_and_then())
        try:
            while True:
                first = await self._queue.get()
                await self._write([first, *self._waiting()])
        finally:
            signing.cancel()
            while not self._queue.empty():
                await self._write(self._waiting())
            await self._write_own("ChainEnds", "")
            self._sign()

    async def _write_own(self, operation: str, details: str) -> None:
        await self._write([(AuditEvent("Audit", operation, 200, details=details), self._clock.now(), None)])

    def _waiting(self) -> list[_Waiting]:
        found: list[_Waiting] = []
        while not self._queue.empty() and len(found) < MOST_TOGETHER:
            found.append(self._queue.get_nowait())
        return found

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        rows, link = [], self._link
        lost = self._lost
        if lost:
            event = AuditEvent("Audit", "EventsLost", 500, details=f"{lost} events were lost.")
            row, link = make_row(event, self._clock.now(), link)
            rows.append(row)
        for event, time, _ in batch:
            row, link = make_row(event, time, link)
            rows.append(row)
        try:
            if await self._append(rows):
                self._link = link
                # More may have been lost while the rows were written: the next ones tell of those.
                self._lost -= lost
            else:
                self._lost += len(batch)
        finally:
            for _, _, done in batch:
                if done is not None and not done.done():
                    done.set_result(None)

    async def _append(self, rows: Sequence[object]) -> bool:
        """Make the rows durable; False when the journal has refused them several times."""
        workspace = await asyncio.to_thread(self.workspace)
        if workspace is None:
            return False
        entry = own_entry(workspace, AUDIT, len(rows), msgspec.json.encode(rows))
        for attempt in range(_TRIES):
            try:
                await self._journal.submit(entry)
            except (JournalFullError, JournalBrokenError) as error:
                if attempt == _TRIES - 1:
                    _log.error("%d audit rows were not kept: %s", len(rows), error)
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return True
        return False

    async def _sign_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(HEAD_SECONDS)
            await asyncio.to_thread(self._sign)

    def _sign(self) -> None:
        link = self._link
        if link.sequence == self._signed or link.sequence < 0:
            return
        try:
            self._heads.write(link, self._clock.now(), self._before)
        except OSError as error:
            _log.error("the audit log's head was not signed: %s", error.strerror)
            return
        self._signed = link.sequence
