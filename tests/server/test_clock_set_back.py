"""A clock that was days ahead and is set back: received times stand still, until the journals are closed by hand."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from headrace.clock import DAY, HOUR, ManualClock, SystemClock
from headrace.data_folder import DataFolder
from headrace.disk import RealDisk
from headrace.ids import new_guid
from headrace.journal.files import journal_folders, open_free_journal
from headrace.journal.model import Entry
from headrace.settings import JournalSettings
from tests.server.kit import Api, Rule, api_of, eventually
from tests.server.test_observe import numbers
from tests.servers import running_server

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]

AHEAD = 3 * DAY
SETTINGS = {"HEADRACE_TABLES_COMMIT_SECONDS": "0.3", "HEADRACE_TRANSFORM_BATCH_SECONDS": "0.1"}


def accepted_ahead(folder: DataFolder, rule: Rule) -> None:
    """A record as a gateway whose clock was ahead has left it."""

    async def write() -> None:
        clock = ManualClock(SystemClock().now() + AHEAD)
        journal = open_free_journal(folder.journals, JournalSettings(), RealDisk(), clock)
        body = b'[{"Id": "ahead"}]'
        await journal.append(
            Entry(new_guid(), "", new_guid(), rule.immutable_id, 1, rule.stream, "", body, len(body), 1)
        )
        await journal.close()

    asyncio.run(write())


def received(api: Api, ids: set[str]) -> dict[str, float]:
    """How many microseconds ahead of now each of these rows was received; each row once."""
    text = "Clock_CL | project Id, tolong((_TimeReceived - datetime(1970-01-01)) / 1microsecond)"
    rows = eventually(lambda: api.rows(text), lambda found: {one for one, _ in found} == ids)
    assert len(rows) == len(ids)
    return {one: moment - time.time() * 1_000_000 for one, moment in rows}


def ahead_seconds(api: Api) -> float:
    return max(numbers(api)["headrace_journal_ahead_seconds"].values())


def test_journals_that_are_closed_by_hand_let_received_times_follow_the_clock(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    arguments = ("--data-dir", str(data.root), "--port", "0", "--quiet")
    with running_server(tmp_path, *arguments, variables=SETTINGS) as server, api_of(server) as api:
        api.make_table("Clock_CL", {"Id": "string"})
        rule = api.make_rule("clock", {"Id": "string"}, "Clock_CL")
        rule.send([{"Id": "before"}])
        received(api, {"before"})
    accepted_ahead(data, rule)
    with running_server(tmp_path, *arguments, variables=SETTINGS) as server, api_of(server) as api:
        rule = Rule(api, rule.path, rule.immutable_id, rule.stream)
        rule.send([{"Id": "standing"}])
        times = received(api, {"before", "ahead", "standing"})
        assert times["before"] < 0 and min(times["ahead"], times["standing"]) > AHEAD - HOUR
        assert ahead_seconds(api) > (AHEAD - HOUR) / 1_000_000
        (journal,) = journal_folders(data.journals)
        (journal / "closed").touch()
        rule.send([{"Id": "still"}])
        assert received(api, {"before", "ahead", "standing", "still"})["still"] > AHEAD - HOUR
    with running_server(tmp_path, *arguments, variables=SETTINGS) as server, api_of(server) as api:
        rule = Rule(api, rule.path, rule.immutable_id, rule.stream)
        rule.send([{"Id": "after"}])
        times = received(api, {"before", "ahead", "standing", "still", "after"})
        assert -HOUR < times["after"] <= 0 < times["still"]
        assert ahead_seconds(api) == 0
        assert len(journal_folders(data.journals)) == 2
