"""The disk refuses a table's sync once, while a batch is on its way: after the repair no row is missing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.tables_kit import FailingDisk
from tests.transform_kit import RULE, PipelineBench, by_flow, make_rule, make_table, wait_idle

from headrace.catalog.model import Table
from headrace.tables.recovery import Recovered
from headrace.transform.progress import FlowCounts

_LONGEST = 30.0


def test_a_batch_that_knows_the_positions_of_before_the_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not publish before the rows that the repair sent back to the journal: they would count as there."""
    monkeypatch.setattr("headrace.transform.pipeline.REPAIR_SECONDS", 0.0)
    disk = FailingDisk("tables.data.file")
    rules = {(RULE, 1): make_rule()}
    on_its_way, repaired = threading.Event(), threading.Event()
    published = 0

    def step(name: str) -> None:
        nonlocal published
        if name == "publish":
            published += 1
            if published == 2:
                on_its_way.set()
                assert repaired.wait(_LONGEST)
        elif name == "commit" and published:
            on_its_way.wait(_LONGEST)

    with PipelineBench(
        tmp_path, rules, (make_table(),), disk=disk, store_settings={"commit_bytes": 1024}
    ) as bench:
        store = bench.store
        assert store is not None
        repair = store.repair

        def repair_once(table: Table) -> Recovered:
            disk.failing = False
            done = repair(table)
            repaired.set()
            return done

        monkeypatch.setattr(store, "repair", repair_once)
        pipeline = bench.pipeline(step)
        bench.send([{"Id": 0, "Text": "x" * 2000}])
        pipeline.start()
        while not published:
            assert not repaired.wait(0.005)
        bench.send([{"Id": 1, "Text": "x" * 2000}])
        assert repaired.wait(_LONGEST)
        wait_idle(pipeline)
        bench.send([{"Id": 2}])
        wait_idle(pipeline)
        assert pipeline.stop()
        assert [row[0] for row in bench.rows("Id")] == [0, 1, 2]
        assert by_flow(pipeline.progress())[RULE, 0] == FlowCounts(received=3, stored=3), (
            "each row counts once"
        )
        assert store.durable(make_table(), f"{bench.reader.journal_id}/{RULE}/0") == 2  # type: ignore[union-attr]
