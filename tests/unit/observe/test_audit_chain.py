"""Chains of hashes: whatever is changed, added, left out or cut off shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.clock import SECOND, ManualClock
from headrace.journal.model import Entry, JournalBrokenError, Pending, Record
from headrace.observe.audit.events import FIRST, TEXTS, AuditEvent, Link, make_row
from headrace.observe.audit.heads import Head, Heads, check
from headrace.observe.audit.middleware import Answered, Audited
from headrace.observe.audit.remote import MOST_BYTES, RemoteAuditor, receiving
from headrace.observe.audit.trail import AuditTrail

EVENT = AuditEvent("Management", "x/write", 200, principal="p", scope="/Subscriptions/s", details="d")
NOW = 1_700_000_000 * SECOND
Rows = list[tuple[dict[str, Any], int]]


class Memory:
    """A journal that keeps its entries, and refuses when told to."""

    journal_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refusals = 0

    def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        if self.refusals:
            self.refusals -= 1
            raise JournalBrokenError("no")
        self.entries.append(entry)
        done: Pending = asyncio.get_running_loop().create_future()
        done.set_result(Record(self.journal_id, len(self.entries), NOW, entry))
        return done

    def backlog(self) -> int:
        return 0

    async def close(self) -> None:
        pass

    def rows(self) -> Rows:
        found = [row for entry in self.entries for row in msgspec.json.decode(entry.body)]
        return [(row, NOW) for row in found]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Rows, list[Head], str]:
    heads = Heads(tmp_path / "audit")
    rows: Rows = []
    link = Link("chain", -1, FIRST)
    for number in range(6):
        row, link = make_row(msgspec.structs.replace(EVENT, details=f"d{number}"), NOW + number, link)
        rows.append((row, NOW + number))
        if number == 4:
            heads.write(link, NOW, None)
    return rows, heads.all(), heads.public_key


def test_what_was_written_is_found_intact_in_any_order(written: tuple[Rows, list[Head], str]) -> None:
    rows, heads, key = written
    assert check(rows, heads, key) == []
    assert check(reversed(rows), heads, key) == []
    # Rows after the last head are linked, and nothing more is said about them.
    assert check(rows[:5], heads, key) == []


def change(name: str, value: Any) -> Callable[[Rows], None]:
    def apply(rows: Rows) -> None:
        rows[2][0][name] = value

    return apply


@pytest.mark.parametrize(
    "forge",
    [
        *(change(name, "forged") for name in TEXTS),
        change("StatusCode", 403),
        change("Hash", "0" * 64),
        change("PreviousHash", FIRST),
        change("Sequence", 3),
        lambda rows: rows.__setitem__(2, (rows[2][0], NOW + 77)),
        lambda rows: rows.pop(2),
        lambda rows: rows.pop(0),
        lambda rows: rows.append(rows[2]),
        lambda rows: rows.__delitem__(slice(3, None)),
        lambda rows: rows.clear(),
    ],
)
def test_every_change_shows(written: tuple[Rows, list[Head], str], forge: Callable[[Rows], Any]) -> None:
    rows, heads, key = written
    forge(rows)
    assert check(rows, heads, key)


def test_a_chain_written_anew_is_betrayed_by_its_head(written: tuple[Rows, list[Head], str]) -> None:
    _, heads, key = written
    rows: Rows = []
    link = Link("chain", -1, FIRST)
    for _ in range(6):
        row, link = make_row(msgspec.structs.replace(EVENT, details="forged"), NOW, link)
        rows.append((row, NOW))
    assert [one.message for one in check(rows, heads, key)] == [
        "The row is another than the signed head names."
    ]
    forged = msgspec.structs.replace(heads[0], sequence=5, hash=link.hash)
    assert [one.message for one in check(rows, [forged], key)] == ["The head's signature is wrong."]
    foreign, _ = make_row(EVENT, NOW, Link("elsewhere", -1, FIRST))
    assert any("no signed head" in one.message for one in check([*rows, (foreign, NOW)], heads, key))


def test_a_missing_chain_is_missed_by_the_next(tmp_path: Path) -> None:
    heads = Heads(tmp_path)
    first, one = make_row(EVENT, NOW, Link("a", -1, FIRST))
    head = heads.write(one, NOW, None)
    second, two = make_row(EVENT, NOW, Link("b", -1, FIRST))
    heads.write(two, NOW + 1, head)
    assert check([(first, NOW), (second, NOW)], heads.all(), heads.public_key) == []
    (tmp_path / "a.head").unlink()
    found = check([(second, NOW)], heads.all(), heads.public_key)
    assert [(one.chain, one.message) for one in found] == [("a", "The chain's signed head is missing.")]
    # The key is kept, and for its owner alone.
    assert Heads(tmp_path).public_key == heads.public_key
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=700), min_size=7, max_size=7), status=st.integers(100, 599))
def test_any_text_survives_and_stays_bounded(texts: list[str], status: int) -> None:
    code, principal, client, issuer, address = texts[1:6]
    event = AuditEvent("SignIn", texts[0], status, code, principal, client, issuer, address, details=texts[6])
    row, link = make_row(event, NOW, Link("chain", -1, FIRST))
    again = msgspec.json.decode(msgspec.json.encode(row))
    assert again == row and link.hash == row["Hash"]
    assert all(row[name].isprintable() and len(row[name]) <= 512 for name in TEXTS)


def test_the_trail_writes_in_order_and_tells_what_it_lost(tmp_path: Path) -> None:
    journal, clock = Memory(), ManualClock(NOW)
    heads = Heads(tmp_path)

    async def run() -> None:
        trail = AuditTrail(journal, heads, lambda: "workspace", clock)
        task = asyncio.create_task(trail.run())
        await trail.record(EVENT)
        journal.refusals = 5
        await trail.record(EVENT)
        await asyncio.gather(*(trail.record(EVENT) for _ in range(20)))
        assert len(trail.recent()) == 22
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    rows = journal.rows()
    assert [row["Sequence"] for row, _ in rows] == list(range(len(rows)))
    operations = [row["OperationName"] for row, _ in rows]
    assert (operations[0], operations[-1]) == ("ChainBegins", "ChainEnds")
    assert operations.count("EventsLost") == 1 and operations.count("x/write") == 21
    assert check(rows, heads.all(), heads.public_key) == []
    assert {entry.rule for entry in journal.entries} == {"headrace-workspace"}


def test_events_cross_between_processes_and_are_counted_when_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "audit.sock"
    heard: list[AuditEvent] = []

    class Listener:
        def tell(self, event: AuditEvent) -> None:
            heard.append(event)

        async def record(self, event: AuditEvent) -> None:
            self.tell(event)

    async def run() -> None:
        sender = RemoteAuditor(path)
        sender.tell(EVENT)
        await sender.record(EVENT)
        async with receiving(path, Listener()):
            sender.tell(EVENT)
            sender.tell(msgspec.structs.replace(EVENT, details="x" * 5000))
            wide = dict.fromkeys(("client", "issuer", "scope", "details", "correlation"), "\U0001f600" * 500)
            sender.tell(msgspec.structs.replace(EVENT, **wide))
            async with asyncio.timeout(10):
                while len(heard) < 3:
                    await asyncio.sleep(0.01)
        assert not path.exists()

    asyncio.run(run())
    assert heard[0].details == "d (2 lost before)"
    assert all(len(msgspec.json.encode(event)) <= MOST_BYTES for event in heard)
    assert (heard[2].operation, heard[2].principal) == (EVENT.operation, EVENT.principal)


def test_refusals_of_a_kind_are_bounded() -> None:
    heard: list[AuditEvent] = []

    class Listener:
        def tell(self, event: AuditEvent) -> None:
            heard.append(event)

        async def record(self, event: AuditEvent) -> None:
            raise AssertionError("a refusal is not waited for")

    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})

    def describe(answered: Answered) -> AuditEvent:
        return AuditEvent("Management", "x/read", answered.status, address=answered.address)

    async def run() -> None:
        app = Audited(refuse, Listener(), describe, lambda: NOW)
        for address in (b"10.0.0.1", b"10.0.0.2"):
            for _ in range(100):
                scope = {
                    "type": "http",
                    "method": "GET",
                    "path": "/x",
                    "headers": [(b"x-forwarded-for", address)],
                }
                await app(scope, nothing, ignore)

    async def nothing() -> Any:
        return {"type": "http.request"}

    async def ignore(_message: Any) -> None:
        pass

    asyncio.run(run())
    assert [event.address for event in heard] == ["10.0.0.1"] * 21 + ["10.0.0.2"] * 21
    assert heard[20].details.endswith("UTC.")


def test_events_lost_while_rows_are_written_are_told_of_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.observe.audit.trail.MOST_WAITING", 1)
    journal, heads = Memory(), Heads(tmp_path)
    looked: list[None] = []

    def workspace() -> str | None:
        looked.append(None)
        if len(looked) == 2:
            # The event that is being written is the first; of these the last finds no room.
            for _ in range(2):
                trail.tell(EVENT)
        return "workspace"

    trail = AuditTrail(journal, heads, workspace, ManualClock(NOW))

    async def run() -> None:
        task = asyncio.create_task(trail.run())
        while not journal.entries:
            await asyncio.sleep(0.001)
        await trail.record(EVENT)
        while len(journal.entries) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    lost = [row["Details"] for row, _ in journal.rows() if row["OperationName"] == "EventsLost"]
    assert lost == ["1 events were lost."]
