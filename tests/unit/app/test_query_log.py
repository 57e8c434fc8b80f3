"""Rows of `LAQueryLogs` on their way: bounded in memory, and what is lost is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from headrace.app import query_log
from headrace.app.query_log import QueryLogWriter
from headrace.catalog.model import Catalog, Workspace
from headrace.clock import SystemClock
from headrace.disk import RealDisk
from headrace.identity.model import Caller
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.journal.model import Entry
from headrace.observe.audit.events import AuditEvent
from headrace.query.log import LONGEST_TEXT, AskedQuery, Outcome
from headrace.query.model import QueryRequest
from headrace.settings import JournalSettings

CUSTOMER = "0f0f0f0f-0000-4000-8000-000000000000"
PLACE = Workspace(CUSTOMER, "/w/1", "w", "here")
CATALOG = Catalog(1, {CUSTOMER: PLACE}, {"/w/1": PLACE}, query_log_destinations={"/w/1": ("/w/1", "/w/gone")})
QUERY = AskedQuery(
    1_790_000_000_000_000,
    0.5,
    "id",
    "app",
    "/v1",
    Caller("o", "a", "t", "", 0),
    QueryRequest("print 1"),
    (PLACE,),
    Outcome(200, 1, 0.25),
)


@dataclass
class Told:
    """An auditor that keeps everything."""

    events: list[AuditEvent] = field(default_factory=list)

    def tell(self, event: AuditEvent) -> None:
        """Kept."""
        self.events.append(event)

    async def record(self, event: AuditEvent) -> None:
        """Kept."""
        self.tell(event)


def write(
    folder: Path, *queries: AskedQuery, settings: JournalSettings | None = None
) -> tuple[list[Entry], list[str]]:
    """What is in the journal after the queries, and what was told of losses."""
    journal = folder / CUSTOMER
    told = Told()

    async def run() -> None:
        writer = QueryLogWriter(
            lambda: FileJournal.open(journal, settings or JournalSettings(), RealDisk(), SystemClock()),
            lambda: CATALOG,
            told,
        )
        task = asyncio.create_task(writer.run())
        await asyncio.sleep(0)
        for query in queries:
            writer.tell(query)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    reader = FileJournalReader(journal)
    records = reader.read(0, 1 << 30) if reader.end() else ()
    reader.close()
    return [record.entry for record in records], [event.details for event in told.events]


def texts(entries: list[Entry]) -> list[str]:
    return [row["QueryText"] for entry in entries for row in msgspec.json.decode(entry.body)]


def test_rows_that_wait_are_written_at_the_end(tmp_path: Path) -> None:
    queries = [replace(QUERY, asked=QueryRequest(f"print {number}")) for number in range(3)]
    (entry,), told = write(tmp_path, *queries)
    assert texts([entry]) == ["print 0", "print 1", "print 2"]
    assert (entry.rule, entry.stream, entry.rows) == (f"headrace-{CUSTOMER}", "Headrace-LAQueryLogs", 3)
    assert told == []


def test_nothing_is_opened_for_workspaces_that_want_nothing(tmp_path: Path) -> None:
    elsewhere = replace(QUERY, workspaces=(replace(PLACE, resource_id="/w/2"),))
    assert write(tmp_path, elsewhere) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_long_and_odd_texts_are_cut_and_kept(tmp_path: Path) -> None:
    entries, _ = write(
        tmp_path, *(replace(QUERY, asked=QueryRequest("é" * LONGEST_TEXT + "\ud800")) for _ in range(9))
    )
    assert len(entries) > 1
    assert texts(entries) == ["é" * (LONGEST_TEXT // 2)] * 9


def test_what_finds_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_log, "MOST_BYTES", 2000)
    entries, told = write(tmp_path, *[QUERY] * 10)
    kept = len(texts(entries))
    assert 0 < kept < 10
    assert told == [f"{10 - kept} rows of LAQueryLogs were lost."]


def test_a_journal_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / CUSTOMER).write_text("no folder")
    told = Told()

    async def run() -> None:
        writer = QueryLogWriter(
            lambda: FileJournal.open(tmp_path / CUSTOMER, JournalSettings(), RealDisk(), SystemClock()),
            lambda: CATALOG,
            told,
        )
        task = asyncio.create_task(writer.run())
        writer.tell(QUERY)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert [event.details for event in told.events] == ["1 rows of LAQueryLogs were lost."]
