"""Rows that are given up become letters, however many they are."""

from __future__ import annotations

import json
from pathlib import Path

from headrace.disk import RealDisk
from headrace.journal.model import Entry, Record
from headrace.transform.bisect import Bad
from headrace.transform.dead_letters import WHOLE, DeadLetters
from headrace.transform.lettering import Lettering
from headrace.transform.progress import Counters, FlowCounts
from headrace.transform.run import Body


def test_each_row_of_a_large_payload_is_kept_with_its_own_text(tmp_path: Path) -> None:
    """The payload is parted once: parted for each row, this would take minutes."""
    text = json.dumps([{"Id": number} for number in range(20_000)], separators=(",", ":")).encode()
    entry = Entry("r", "c", "p", "dcr", 1, "Custom-A", "", text, len(text), 20_000)
    letters = DeadLetters(tmp_path / "letters", RealDisk())
    counters = Counters()
    bad = [Bad(7, row, "Bad") for row in range(0, 20_000, 2)]
    Lettering(letters, counters, lambda _: None).keep([Record("j", 7, 0, entry)], [Body(7, 0, text)], 0, bad)
    kept = [(one.row, one.body, one.rows) for one in letters.read()]
    letters.close()
    assert kept == [(row, b'{"Id":%d}' % row, 1) for row in range(0, 20_000, 2)]
    assert counters.snapshot() == {("dcr", "Custom-A", 0): FlowCounts(received=10_000, dead=10_000)}


def test_a_payload_that_cannot_be_parted_is_kept_as_it_came(tmp_path: Path) -> None:
    entry = Entry("r", "c", "p", "dcr", 1, "Custom-A", "gzip", b"wire", 9, 3)
    letters = DeadLetters(tmp_path / "letters", RealDisk())
    lettering = Lettering(letters, Counters(), lambda _: None)
    lettering.keep([Record("j", 1, 0, entry)], [Body(1, 0, b"[{]")], 0, [Bad(1, None, "MalformedJson")])
    (letter,) = letters.read()
    letters.close()
    assert (letter.row, letter.reason, letter.encoding, letter.rows, letter.body) == (
        WHOLE,
        "MalformedJson",
        "gzip",
        3,
        b"wire",
    )
