"""What the server says of itself in the tables `Usage` and `Operation`: rows through a journal of the engine's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from headrace import __version__
from headrace.catalog.model import Catalog
from headrace.clock import MINUTE, Clock, iso
from headrace.journal.model import JournalBrokenError, JournalFullError, JournalWriter
from headrace.observe.operations import Events, OperationRow
from headrace.observe.own_rows import OPERATION, USAGE, own_entry
from headrace.observe.usage import UsageMeter, UsageRow
from headrace.settings import MIB, JournalSettings
from headrace.store.live import LiveView
from headrace.tables.recovery import Recovered
from headrace.transform.dead_letters import DeadLetters
from headrace.transform.progress import Progress

_log = logging.getLogger(__name__)

OWN_JOURNAL = JournalSettings(segment_bytes=MIB, max_bytes=32 * MIB, group_bytes=MIB, inflated_bytes=0)
"""Of a journal for rows that the server makes itself."""

_LOOK_SECONDS = 5.0
_LAG = MINUTE
_FULL_SHARE = 0.8
_MOST_NAMES = 20


class OwnLog:
    """Writes rows about the server; for the engine's event loop.

    `materialise(customer_id, table)` makes sure that a standard table is stored. Events of the whole server go to
    each workspace of `with_rows`, the customerIds of those that ever took a row.
    """

    def __init__(
        self,
        journal: JournalWriter,
        catalog: LiveView[Catalog],
        meter: UsageMeter,
        clock: Clock,
        materialise: Callable[[str, str], None],
        with_rows: Callable[[], Iterable[str]],
    ) -> None:
        self._journal = journal
        self._catalog = catalog
        self._meter = meter
        self._clock = clock
        self._materialise = materialise
        self._with_rows = with_rows
        self._events = Events()
        self._removed = 0

    async def started(self, recovered: Sequence[Recovered], restarts: int) -> None:
        """Tell of a start, and of what had to be mended."""
        again = f" It was started again {restarts} times." if restarts else ""
        detail = f"The engine of Headrace {__version__} started.{again}"
        now = self._clock.now()
        rows = [self._events.row(now, "Server", "Start", "Succeeded", detail)]
        mended = [one.key.name for one in recovered if one.changed and not one.failed]
        if mended:
            text = f"Mended after a crash: {_listed(mended)}. No row is lost."
            rows.append(self._events.row(now, "Server", "Recovery", "Succeeded", text))
        failed = [one.key.name for one in recovered if one.failed]
        if failed:
            text = f"Unreadable, and without new rows until mended: {_listed(failed)}."
            rows.append(self._events.row(now, "Server", "Recovery", "Error", text))
        await self._to_all(rows)

    async def run(
        self, progress: Callable[[], Progress], letters: DeadLetters, journals: Path, journal_bytes: int
    ) -> None:
        """Tell usage, days and troubles as they come, until cancelled; `journal_bytes` is a journal's bound."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.to_thread(self._meter.save)
            await self._tell_hours()
            await self._tell_days()
            sizes = await asyncio.to_thread(journal_sizes, journals)
            await self._to_all([*self._troubles(progress(), sizes, journal_bytes), *self._letters(letters)])

    async def _tell_hours(self) -> None:
        for hour in self._meter.due():
            workspace = self._catalog.current.workspaces.get(hour.workspace)
            if workspace is not None:
                # The same id and bytes after a crash between the two: the pipeline knows the repeat.
                call_id = f"usage/{hour.workspace}/{hour.start}"
                rows = hour.rows(workspace.resource_id)
                if not await self._append(hour.workspace, USAGE, rows, call_id):
                    return
            self._meter.told(hour)

    async def _tell_days(self) -> None:
        for start, workspace, rows, size in self._meter.past_days():
            if workspace in self._catalog.current.workspaces:
                detail = f"{rows} rows of {size / 1_000_000:.1f} MB were stored on {iso(start)[:10]} (UTC)."
                note = self._events.row(
                    self._clock.now(), "Data Collection Status", "DailyVolume", "Succeeded", detail
                )
                await self._append(workspace, OPERATION, [note], "")

    def _troubles(
        self, progress: Progress, sizes: Sequence[tuple[str, int]], journal_bytes: int
    ) -> Iterable[OperationRow]:
        now = self._clock.now()
        found: list[OperationRow | None] = []
        if progress.oldest is not None and now - progress.oldest > _LAG:
            text = (
                f"Rows wait for their tables since {iso(progress.oldest)}: more comes in than is processed."
            )
            found.append(self._events.trouble(now, "Ingestion", "PipelineLag", "Warning", text))
        for name, size in sizes:
            if size > _FULL_SHARE * journal_bytes:
                text = (
                    f"Journal {name} takes {size // 1_000_000} MB of {journal_bytes // 1_000_000} MB: calls are "
                    "answered 429 when it is full."
                )
                found.append(self._events.trouble(now, "Ingestion", "JournalLimit", "Warning", text))
        for name, journal in progress.journals.items():
            if journal.damaged:
                text = f"{journal.damaged} payloads of journal {name} cannot be read back from the disk."
                found.append(self._events.trouble(now, "Ingestion", f"DamagedJournal/{name}", "Error", text))
        return [row for row in found if row is not None]

    def _letters(self, letters: DeadLetters) -> Iterable[OperationRow]:
        more, self._removed = letters.removed - self._removed, letters.removed
        if more:
            text = f"{more} dead letters, the oldest, were removed: all took more than transform.dead_letter_bytes."
            yield self._events.row(self._clock.now(), "Ingestion", "DeadLettersRemoved", "Error", text)

    async def _to_all(self, rows: Sequence[OperationRow]) -> None:
        if rows:
            for workspace in sorted({*self._with_rows()} & self._catalog.current.workspaces.keys()):
                await self._append(workspace, OPERATION, rows, "")

    async def _append(
        self, workspace: str, table: str, rows: Sequence[UsageRow] | Sequence[OperationRow], call_id: str
    ) -> bool:
        """Whether the rows are durable; a journal that takes none is logged."""
        body = msgspec.json.encode(rows)
        try:
            await asyncio.to_thread(self._materialise, workspace, table)
            await self._journal.submit(own_entry(workspace, table, len(rows), body, call_id))
        except (JournalFullError, JournalBrokenError) as error:
            _log.warning("rows of %s are not kept: %s", table, type(error).__name__)
            return False
        return True


def _listed(tables: Sequence[str]) -> str:
    names = sorted({*tables})
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more tables"


def journal_sizes(folder: Path) -> list[tuple[str, int]]:
    """Bytes that each journal takes on disk."""
    found = []
    for journal in folder.iterdir():
        if journal.is_dir():
            found.append((journal.name, sum(map(_size, journal.glob("*.seg")))))
    return found


def _size(segment: Path) -> int:
    """Bytes that a segment takes on disk; 0 for one that was let go meanwhile."""
    try:
        return segment.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
