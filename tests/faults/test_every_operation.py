"""The process ends, or the power fails, before any one change that is made to a file: each row is there once.

A few of the moments by default, all of them with `HEADRACE_CUTS=all` (in `make soak`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.operations_kit import StoppedError, operations
from tests.pipeline_child import OTHERS, THINGS, make_rules
from tests.tables_kit import DAY_ONE, FIRST_SCHEMA, SECOND_SCHEMA, Bench, expected, make_table
from tests.transform_kit import PipelineBench, wait_idle

from headrace.clock import DAY, HOUR, ManualClock
from headrace.disk import Disk, RealDisk
from headrace.settings import TableSettings
from headrace.tables.maintenance import Compaction
from headrace.tables.model import TableKey
from headrace.testing.powercut import PowerCutDisk
from headrace.transform.dead_letters import read_letters
from headrace.transform.pipeline import Pipeline

CUTS = os.environ.get("HEADRACE_CUTS", "6")

NARROW = make_table()
WIDE = make_table((FIRST_SCHEMA, SECOND_SCHEMA), workspace=NARROW.workspace, incarnation=NARROW.incarnation)
GONE = make_table(name="Gone_CL", workspace=NARROW.workspace)


def moments(number: int) -> list[int]:
    """Which of so many changes are cut: some in every part of them, or all."""
    if CUTS == "all":
        return [*range(number)]
    cuts = min(int(CUTS), number)
    chosen = random.Random(number)
    return [chosen.randrange(part * number // cuts, (part + 1) * number // cuts) for part in range(cuts)]


@contextlib.contextmanager
def tables(root: Path, disk: PowerCutDisk, clock: ManualClock) -> Iterator[Bench]:
    settings = TableSettings(checkpoint_commits=2, small_file_bytes=0)
    compaction = Compaction(least=3)
    with Bench(root, disk=disk, table=WIDE, settings=settings, compaction=compaction, clock=clock) as bench:
        yield bench


def life_of_tables(bench: Bench, trimmed: list[int]) -> None:
    """All that is done to a table; `trimmed` takes what the journal was told to be safe."""
    store, clock = bench.store, bench.clock
    assert not any(one.failed for one in store.recover())
    trimmed.append(store.durable(WIDE, "journal/dcr-1/0"))
    if TableKey.of(GONE) in store.stored():
        store.drop(TableKey.of(GONE))
    else:
        bench.publish(0, table=GONE)
        store.commit(GONE)
    for table, day in ((NARROW, 0), (NARROW, 1), (WIDE, 0), (WIDE, 1), (WIDE, 0)):
        for _ in range(2):
            bench.publish(store.position(WIDE, "journal/dcr-1/0") + 1, table=table, start=DAY_ONE + day * DAY)
        store.commit(table)
        trimmed.append(store.durable(WIDE, "journal/dcr-1/0"))
        assert store.maintain().failures == ()
    clock.advance(2 * HOUR)
    store.drop(TableKey.of(GONE))
    assert store.maintain(retention=lambda _: 36500).failures == ()
    clock.advance(2 * HOUR)
    assert store.maintain().failures == ()


def check_tables(bench: Bench, trimmed: list[int]) -> None:
    position = bench.store.position(WIDE, "journal/dcr-1/0")
    assert max(trimmed, default=-1) <= bench.store.durable(WIDE, "journal/dcr-1/0") <= position
    assert bench.places() == expected(position + 1, app_ids=["journal/dcr-1/0"])


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power cut"])
def test_no_change_to_a_table_is_the_wrong_one_to_end_at(tmp_path: Path, power: bool) -> None:
    def live(number: int | None) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        trimmed: list[int] = []
        clock = ManualClock()
        with PowerCutDisk(folder) as disk:
            with (
                operations(folder, number) as watched,
                contextlib.suppress(StoppedError),
                tables(folder / "tables", disk, clock) as bench,
            ):
                life_of_tables(bench, trimmed)
                check_tables(bench, trimmed)
            assert watched.stopped == (number is not None)
            if power:
                disk.cut(number or 0)
            for _ in range(2):
                with tables(folder / "tables", disk, clock) as bench:
                    life_of_tables(bench, trimmed)
                    check_tables(bench, trimmed)
            return len(watched.done)

    for number in moments(live(None)):
        live(number)


ROWS = [b'[{"Id": 1}, {"Id": 2}]', b'[{"Id": 3}, {"Text": "\xff"}, {"Id": 4}]', b'[{"Id": 6}]']
GOOD, EVEN, LETTERS = [(1,), (2,), (3,), (4,), (6,)], [(2,), (4,), (6,)], [(1, 1, 0), (1, 1, 1)]


def parts(root: Path, disk: Disk, *, writes: bool = True) -> PipelineBench:
    settings = {"commit_bytes": 1024, "checkpoint_commits": 2}
    return PipelineBench(
        root, make_rules(), (THINGS, OTHERS), disk=disk, store_settings=settings, writes=writes
    )


def send(bench: PipelineBench) -> None:
    """Each payload twice: the second is a repeat, to be stored once whatever happens."""
    for place, body in enumerate(ROWS):
        for _ in range(2):
            bench.send(body, count=body.count(b"{"), client=f"call-{place}")


def found(bench: PipelineBench) -> tuple[object, object, object]:
    letters = sorted(
        (one.offset // 2, one.row, one.flow) for one in read_letters(bench.root / "dead-letters")
    )
    return bench.rows("Id", table=THINGS), bench.rows("Id", table=OTHERS), letters


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power cut"])
def test_no_change_on_the_way_of_rows_is_the_wrong_one_to_end_at(tmp_path: Path, power: bool) -> None:
    def live(number: int | None) -> int:
        root = tmp_path / str(number)
        root.mkdir()
        with PowerCutDisk(root) as disk:
            with parts(root, disk) as bench:
                send(bench)
            with parts(root, disk, writes=False) as bench:
                bench.close()
                with operations(root, number) as watched, contextlib.suppress(StoppedError):
                    bench.open_engine()
                    pipeline = bench.pipeline()
                    pipeline.start()
                    pipeline.stop()
            assert watched.stopped == (number is not None)
            if power:
                disk.cut(number or 0)
            with parts(root, disk) as bench:
                bench.drain()
                assert found(bench) == (GOOD, EVEN, LETTERS), (
                    f"ended after {watched.done[-1:]}, number {number}"
                )
            return len(watched.done)

    for number in moments(live(None)):
        live(number)


def started(bench: PipelineBench) -> Pipeline:
    """What is refused at a start ends it, and it is started again."""
    try:
        pipeline = bench.pipeline()
        pipeline.start()
    except OSError:
        pipeline = bench.pipeline()
        pipeline.start()
    return pipeline


@pytest.mark.slow
@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_change_that_the_disk_refuses_once_holds_nothing_up_for_good(
    tmp_path: Path, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.transform.pipeline.REPAIR_SECONDS", 0.05)

    def live(number: int | None) -> int:
        root = tmp_path / str(number)
        with parts(root, RealDisk()) as bench:
            send(bench)
            with operations(root, number, refusal) as watched:
                pipeline = started(bench)
                wait_idle(pipeline)
                assert pipeline.stop(), f"refused: {watched.done[number or 0]}"
            assert found(bench) == (GOOD, EVEN, LETTERS), f"refused: {watched.done[number or 0]}"
            return len(watched.done)

    for number in moments(live(None)):
        live(number)
