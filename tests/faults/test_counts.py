"""Whatever becomes of rows, the counts add up: over restarts, deletions, repeats, and journals that are read again."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from tests.tables_kit import FailingDisk
from tests.transform_kit import (
    RULE,
    PipelineBench,
    by_flow,
    make_catalog,
    make_flow,
    make_rule,
    make_table,
    wait_idle,
)

from headrace.transform.dead_letters import read_letters
from headrace.transform.pipeline import Pipeline
from headrace.transform.progress import FlowCounts
from headrace.transform.seen import SITE

OTHER = "dcr-00000000000000000000000000000003"
EVEN = "source | where Id % 2 == 0"
THINGS, EVENS = make_table(), make_table("Evens_CL", incarnation="inc-2")
_ROWS = 4


def added_up(counts: FlowCounts) -> bool:
    return counts.received == counts.stored + counts.filtered + counts.dead + counts.duplicate


class Story:
    """Payloads of four rows and what was done in between; what was counted over all lives of the pipeline."""

    def __init__(self, bench: PipelineBench) -> None:
        self.bench = bench
        self.payloads = 0
        self.repeats = 0
        self.bad = 0
        self.counted: dict[tuple[str, int], FlowCounts] = {}
        self._next = 0
        self._random = random.Random(5)

    def send(self, payloads: int, rule: str = RULE) -> None:
        for _ in range(payloads):
            kind = self._random.choice(("plain", "plain", "broken row", "repeated"))
            texts = [b'{"Id": %d}' % (self._next + row) for row in range(_ROWS)]
            if kind == "broken row":
                texts[1] = b'{"Id": 1, "Text": "\xff"}'
                self.bad += 1
            body = b"[" + b",".join(texts) + b"]"
            call = f"call-{self.payloads}"
            self._next += _ROWS
            for repeat in range(2 if kind == "repeated" else 1):
                self.bench.send(body, count=_ROWS, rule=rule, client=call)
                self.payloads += 1
                self.repeats += repeat

    def live(self) -> Pipeline:
        """A life of the pipeline, until all is through; at every look the counts add up."""
        pipeline = self.bench.pipeline()
        pipeline.start()
        while not pipeline.idle():
            assert all(map(added_up, by_flow(pipeline.progress()).values()))
        return pipeline

    def end(self, pipeline: Pipeline) -> None:
        assert pipeline.stop()
        for key, one in by_flow(pipeline.progress()).items():
            before = self.counted.get(key, FlowCounts())
            fields = dataclasses.asdict(one).items()
            self.counted[key] = FlowCounts(**{name: getattr(before, name) + value for name, value in fields})
        self.bench.close()
        self.bench.open()


def test_counts_over_restarts_and_deletions(tmp_path: Path) -> None:
    flows = (make_flow(0), make_flow(1, EVEN, "Evens_CL"))
    rules = {(RULE, 1): make_rule(*flows), (OTHER, 1): make_rule(*flows, immutable_id=OTHER)}
    settings = {"commit_bytes": 1024, "checkpoint_commits": 3}
    with PipelineBench(tmp_path, rules, (THINGS, EVENS), store_settings=settings) as bench:
        story = Story(bench)
        for _ in range(3):
            story.send(6)
            story.end(story.live())
        story.send(6)
        pipeline = story.live()
        # One of the two tables is deleted, and rows for it come on; then the other rule with its versions.
        bench.view.current = make_catalog(THINGS)
        story.send(6)
        wait_idle(pipeline)
        story.end(pipeline)
        deleted, before = story.payloads, (story.bad, story.repeats)
        story.send(5, OTHER)
        del bench.rules[OTHER, 1]
        story.end(story.live())
        counted = story.counted
        assert all(map(added_up, counted.values()))
        for flow in (0, 1):
            assert counted[RULE, flow].received == deleted * _ROWS
            assert counted[RULE, flow].duplicate == before[1] * _ROWS
        assert counted[RULE, 0].stored == len(bench.rows("Id", table=THINGS))
        assert counted[RULE, 0].dead == before[0]
        assert counted[RULE, 1].filtered > 0
        assert counted[OTHER, -1].received == counted[OTHER, -1].dead == (story.payloads - deleted) * _ROWS
        letters = list(read_letters(tmp_path / "dead-letters"))
        assert sum(one.rows for one in letters) == sum(one.dead for one in counted.values())


def test_a_journal_that_is_read_again_counts_once(tmp_path: Path) -> None:
    """The disk refuses what tells repeated calls: all journals are read again from their watermarks."""
    disk = FailingDisk(SITE)
    disk.failing = False
    # Nothing is committed, so that the watermark stays where it is.
    settings = {"commit_seconds": 3600.0}
    with PipelineBench(
        tmp_path, {(RULE, 1): make_rule()}, (THINGS,), disk=disk, store_settings=settings
    ) as bench:
        story = Story(bench)
        story.send(8)
        pipeline = story.live()
        assert bench.seen is not None
        disk.failing = True
        with pytest.raises(OSError, match="Input/output"):
            bench.seen.sync()
        disk.failing = False
        wait_idle(pipeline)
        story.send(8)
        wait_idle(pipeline)
        assert bench.store is not None
        found = by_flow(pipeline.progress())[RULE, 0]
        assert pipeline.stop()
        assert added_up(found)
        assert found.received == story.payloads * _ROWS
        assert found.duplicate == story.repeats * _ROWS > 0
        assert found.stored == len(bench.rows("Id"))
