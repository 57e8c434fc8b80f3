"""Old versions of rules go once no journal needs them, and never before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.transform_kit import JOURNAL, RULE, PipelineBench, make_rule, make_table

from headrace.app.rule_versions import RuleVersionPruner
from headrace.arm import store
from headrace.clock import HOUR, MINUTE, ManualClock
from headrace.journal.reader import FileJournalReader
from headrace.store.database import Database
from headrace.transform.checkpoint import Checkpoints

OTHER = "dcr-00000000000000000000000000000002"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[PipelineBench]:
    rules = {(RULE, version): make_rule(version=version) for version in (1, 2, 3)}
    with PipelineBench(tmp_path, rules, (make_table(),)) as opened:
        yield opened


def pruner(bench: PipelineBench, database: Database, clock: ManualClock) -> RuleVersionPruner:
    reader = FileJournalReader(bench.root / "journal" / JOURNAL)
    checkpoints = Checkpoints(bench.root / "checkpoints", bench.disk)
    return RuleVersionPruner(database, checkpoints, lambda: {JOURNAL: reader}, clock)


def add_version(database: Database, clock: ManualClock, rule: str = RULE) -> None:
    with database.write() as connection:
        store.add_rule_version(connection, rule, f"/rules/{rule}", {}, clock.now())


def kept(database: Database, rule: str = RULE) -> list[int]:
    with database.read() as connection:
        return [number for number in range(1, 6) if store.rule_document(connection, rule, number)]


def test_a_version_stays_while_a_record_waits_for_its_rows(bench: PipelineBench, database: Database) -> None:
    clock = ManualClock()
    for _ in range(2):
        add_version(database, clock)
    add_version(database, clock, OTHER)
    bench.send([{"Id": 1}], version=1)
    clock.advance(HOUR + MINUTE)
    looking = pruner(bench, database, clock)
    assert looking.look() == 0
    assert kept(database) == [1, 2]

    bench.drain()
    assert bench.rows("Id") == [(1,)]
    assert looking.look() == 1
    assert kept(database) == [2]
    assert kept(database, OTHER) == [1]
    assert looking.look() == 0


def test_what_was_replaced_a_moment_ago_stays(bench: PipelineBench, database: Database) -> None:
    clock = ManualClock()
    add_version(database, clock)
    add_version(database, clock)
    clock.advance(HOUR + MINUTE)
    add_version(database, clock)
    looking = pruner(bench, database, clock)
    assert looking.look() == 1
    assert kept(database) == [2, 3]


def test_records_that_came_since_hold_nothing_up(bench: PipelineBench, database: Database) -> None:
    clock = ManualClock()
    add_version(database, clock)
    add_version(database, clock)
    bench.send([{"Id": 1}], version=1)
    clock.advance(HOUR + MINUTE)
    looking = pruner(bench, database, clock)
    assert looking.look() == 0
    bench.drain()
    bench.send([{"Id": 2}], version=2)
    assert looking.look() == 1
    assert kept(database) == [2]
