"""Posts of old senders at the gateway: what its event loop does not wait for, and what they may not invent."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from tests.ingest_kit import Answer, Notes, call

from headrace.clock import SECOND, SystemClock
from headrace.collector import routes
from headrace.collector.model import Source
from headrace.collector.routes import Collector
from headrace.collector.signature import sign
from headrace.disk import RealDisk
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.journal.model import Entry
from headrace.settings import JournalSettings, Settings

WORKSPACE = "11111111-2222-4333-8444-555555555555"
KEY = base64.b64encode(bytes(64)).decode()
LONG = json.dumps([{"n": n, "text": "x" * 500} for n in range(1000)]).encode()


@dataclass(frozen=True)
class Keys:
    """A workspace's keys."""

    primary: str = KEY
    secondary: str = KEY


@dataclass
class KeyView:
    """The keys, always fresh."""

    current: dict[str, Keys] = field(default_factory=lambda: {WORKSPACE: Keys()})

    def age(self) -> float:
        """None."""
        return 0.0


class Posts:
    """A collector on a journal of its own."""

    def __init__(self, folder: Path, checker: ThreadPoolExecutor) -> None:
        self.runner = asyncio.Runner()
        self.folder = folder / str(uuid.uuid4())
        self.clock = SystemClock()
        self.journal = FileJournal.open(self.folder, JournalSettings(), RealDisk(), self.clock)
        self.collector = Collector(
            Settings(data_dir=folder), KeyView(), self.journal, Notes(), self.clock, checker
        )

    def close(self) -> None:
        """Close the journal."""
        self.runner.run(self.journal.close())
        self.runner.close()

    async def post(self, log_type: str, body: bytes, **headers: str) -> int:
        """The status of a signed post's answer."""
        return (await self.ask(log_type, body, **headers)).status

    async def ask(self, log_type: str, body: bytes, **headers: str) -> Answer:
        """A signed post's answer."""
        date = format_datetime(datetime.fromtimestamp(self.clock.now() / SECOND, UTC), usegmt=True)
        signature = base64.b64encode(sign(KEY, len(body), "application/json", date)).decode()
        sent = {
            "content-type": "application/json",
            "authorization": f"SharedKey {WORKSPACE}:{signature}",
            "log-type": log_type,
            "x-ms-date": date,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        answer = await call(
            self.collector,
            path=b"/api/logs",
            query=b"api-version=2016-04-01",
            headers=[(name.encode(), value.encode()) for name, value in sent.items()],
            pieces=(body,),
        )
        assert answer is not None
        return answer

    def entries(self) -> list[Entry]:
        """What is in the journal."""
        reader = FileJournalReader(self.folder)
        records = reader.read(0, 1 << 30) if reader.end() else []
        reader.close()
        return [record.entry for record in records]


@pytest.fixture
def checker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def posts(tmp_path: Path, checker: ThreadPoolExecutor) -> Iterator[Posts]:
    made = Posts(tmp_path, checker)
    yield made
    made.close()


def test_a_short_post_does_not_wait_for_the_check_of_a_long_one(
    posts: Posts, checker: ThreadPoolExecutor
) -> None:
    async def talk() -> None:
        with ExitStack() as stack:
            free = threading.Event()
            stack.callback(free.set)
            checker.submit(free.wait)
            long = asyncio.create_task(posts.post("Long", LONG))
            assert await posts.post("Short", b'[{"a": 1}]') == 200
            assert not long.done()
            free.set()
            assert await long == 200

    posts.runner.run(talk())
    assert [(entry.stream, entry.rows) for entry in posts.entries()] == [
        ("Custom-Short_CL", 1),
        ("Custom-Long_CL", 1000),
    ]


@pytest.mark.parametrize(
    "body",
    [
        LONG[:-1],
        LONG[:-1] + b',{"RawData": 1}]',
        LONG[:-1] + b",7]",
        b"\xef\xbb\xbf" + LONG[:-1] + b',{"tenant": 1}]',
    ],
)
def test_what_is_wrong_at_the_end_of_a_long_post_is_found(posts: Posts, body: bytes) -> None:
    assert posts.runner.run(posts.post("Long", body)) == 400
    assert posts.entries() == []


def test_a_sender_that_waits_for_100_need_not_send_what_is_refused(posts: Posts) -> None:
    answer = posts.runner.run(posts.ask("no name", LONG, expect="100-continue"))
    assert (answer.status, answer.taken, answer.header("connection")) == (400, 0, "close")
    answer = posts.runner.run(posts.ask("no name", LONG))
    assert (answer.status, answer.taken, answer.header("connection")) == (400, len(LONG), None)


def test_no_body_is_read_before_a_key_vouches_for_it(posts: Posts) -> None:
    wrong = f"SharedKey {WORKSPACE}:{base64.b64encode(bytes(32)).decode()}"
    length = str(len(LONG))
    forged = {"authorization": wrong, "content_length": length}
    answer = posts.runner.run(posts.ask("Long", LONG, expect="100-continue", **forged))
    assert (answer.status, answer.taken, answer.header("connection")) == (403, 0, "close")
    answer = posts.runner.run(posts.ask("Long", LONG, **forged))
    assert (answer.status, answer.taken, answer.header("connection")) == (403, len(LONG), None)
    # Of a body whose length is not told, or is another, the true length is signed.
    for told, status in (({}, 200), ({"content_length": length}, 200), ({"content_length": "7"}, 403)):
        assert posts.runner.run(posts.post("Long", LONG, **told)) == status
    short = {"authorization": wrong}
    assert posts.runner.run(posts.post("Long", LONG, **short)) == 403


def test_a_long_record_need_not_stand_in_an_array(posts: Posts) -> None:
    assert posts.runner.run(posts.post("Long", json.dumps({"a": "x" * 100_000}).encode())) == 200
    assert [entry.rows for entry in posts.entries()] == [1]


def test_what_senders_invent_makes_no_rules(posts: Posts) -> None:
    async def talk() -> None:
        for number in range(5):
            headers = {
                "x-ms-azureresourceid": f"/Machines/{number}",
                "time-generated-field": f"At{number % 2}",
            }
            assert await posts.post("Pump", b'[{"a": 1}]', **headers) == 200

    posts.runner.run(talk())
    entries = posts.entries()
    assert len({entry.rule for entry in entries}) == 1
    assert len({entry.rule_version for entry in entries}) == 2
    assert [(entry.time_field, entry.resource_id) for entry in entries] == [
        (f"At{number % 2}", f"/machines/{number}") for number in range(5)
    ]


def test_log_types_of_a_workspace_are_bounded(posts: Posts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MOST_LOG_TYPES", 3)

    async def talk() -> list[int]:
        return [await posts.post(name, b'[{"a": 1}]') for name in ("A", "B", "C", "D", "A")]

    assert posts.runner.run(talk()) == [200, 200, 200, 400, 200]


def _entry(**changes: Any) -> Entry:
    source = Source("0f0f", "My_Log")
    values = {"rule": source.rule, "stream": source.stream, **changes}
    return Entry("", "", "", values.pop("rule"), 0, values.pop("stream"), "", b"[]", 2, 0, **values)


def test_a_source_is_read_from_its_entry() -> None:
    assert Source.of_entry(_entry(time_field="At", resource_id="/a")) == Source("0f0f", "My_Log", "At")
    assert Source.of_entry(_entry(rule="collector:0f0f:My_Log:At:/a:b")) == Source(
        "0f0f", "My_Log", "At", "/a:b"
    )
    with pytest.raises(ValueError, match="dcr"):
        Source.of_entry(_entry(rule="dcr:a:b"))
