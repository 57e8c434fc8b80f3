"""The power fails at a sync of the pipeline, or after it: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline_child import OTHERS, THINGS, make_rules
from tests.transform_kit import JOURNAL, PipelineBench, make_catalog, make_table

from headrace.testing.powercut import PowerCutDisk
from headrace.transform.dead_letters import read_letters

CUTS = 8
ROWS = [b'[{"Id": 1}, {"Id": 2}]', b'[{"Id": 3}, {"Text": "\xff"}, {"Id": 4}]', b'[{"Id": 6}]']
GOOD, EVEN, LETTERS = [(1,), (2,), (3,), (4,), (6,)], [(2,), (4,), (6,)], [(1, 1, 0), (1, 1, 1)]


def parts(root: Path, disk: PowerCutDisk, *, repeats: bool = True) -> PipelineBench:
    return PipelineBench(root, make_rules(), (THINGS, OTHERS), disk=disk, knows_repeats=repeats)


def send_and_run(root: Path, disk: PowerCutDisk, fail_at: int | None = None, *, repeats: bool = True) -> bool:
    """Send all, run the pipeline and stop it; whether the power lasted."""
    with parts(root, disk, repeats=repeats) as bench:
        for body in ROWS:
            bench.send(body, count=body.count(b"{"))
        before = len(disk.sites)
        if fail_at is not None:
            disk.arm(fail_at)
        try:
            pipeline = bench.pipeline()
            pipeline.start()
            done = pipeline.stop()
        except Exception:  # noqa: BLE001 - a power cut ends whatever is going on
            done = False
        assert bench.journal is not None
        if not done:
            bench.journal.abort()
            bench.journal = None
        del disk.sites[:before]
        return done


def found(root: Path, disk: PowerCutDisk) -> tuple[object, object, object]:
    """What a restart makes of it."""
    with parts(root, disk) as bench:
        pipeline = bench.pipeline()
        pipeline.start()
        assert pipeline.stop()
        letters = sorted((one.offset, one.row, one.flow) for one in read_letters(root / "dead-letters"))
        return bench.rows("Id", table=THINGS), bench.rows("Id", table=OTHERS), letters


@pytest.mark.slow
def test_a_power_cut_at_any_sync_loses_and_doubles_nothing(tmp_path: Path) -> None:
    root = tmp_path / "whole" / "data"
    root.mkdir(parents=True)
    with PowerCutDisk(root) as disk:
        assert send_and_run(root, disk)
        syncs = len(disk.sites)
    assert syncs > CUTS
    for number in range(CUTS):
        fail_at = number * syncs // CUTS
        root = tmp_path / str(number) / "data"
        root.mkdir(parents=True)
        with PowerCutDisk(root) as disk:
            send_and_run(root, disk, fail_at)
            disk.cut(number)
            assert found(root, disk) == (GOOD, EVEN, LETTERS), f"power cut at sync {fail_at}"


def survives(folder: Path, seed: int, without: frozenset[str]) -> bool:
    root = folder / f"data{seed}"
    root.mkdir(parents=True)
    with PowerCutDisk(root, without=without) as disk:
        assert send_and_run(root, disk)
        disk.cut(seed)
        return found(root, disk)[2] == LETTERS


@pytest.mark.parametrize("site", ["deadletters.append", "deadletters.folder"])
def test_letters_need_each_of_their_syncs(tmp_path: Path, site: str) -> None:
    assert all(survives(tmp_path / "with", seed, frozenset()) for seed in range(3))
    assert not all(survives(tmp_path / "without", seed, frozenset([site])) for seed in range(8))


def row_comes_back(folder: Path, seed: int, without: frozenset[str]) -> bool:
    """Whether a settled row turns up in a table that was made anew after it, once the power has failed."""
    root = folder / f"data{seed}"
    root.mkdir(parents=True)
    remade = make_table(incarnation="inc-9")
    with PowerCutDisk(root, without=without) as disk:
        # The folder of noted calls is synced with its neighbours, the checkpoints' among them.
        assert send_and_run(root, disk, repeats=False)
        disk.cut(seed)
        with parts(root, disk) as bench:
            bench.view.current = make_catalog(remade, OTHERS)
            pipeline = bench.pipeline()
            pipeline.start()
            assert pipeline.stop()
            return bool(bench.rows("Id", table=remade))


@pytest.mark.parametrize(
    "site", ["pipeline.checkpoint.file", "pipeline.checkpoint.dir", "pipeline.checkpoint.folder"]
)
def test_checkpoints_need_each_of_their_syncs(tmp_path: Path, site: str) -> None:
    assert not any(row_comes_back(tmp_path / "with", seed, frozenset()) for seed in range(3))
    assert any(row_comes_back(tmp_path / "without", seed, frozenset([site])) for seed in range(8))


def repeat_is_known(folder: Path, seed: int, without: frozenset[str]) -> bool:
    """Whether a call that is repeated after the power failed is stored once, though the journal let go of it."""
    root = folder / f"data{seed}"
    root.mkdir(parents=True)
    with PowerCutDisk(root, without=without) as disk:
        for cut in (True, False):
            with parts(root, disk) as bench:
                bench.send([{"Id": 1}], client="sender-1")
                assert bench.drain().progress().journals[JOURNAL].watermark == (1 if cut else 2)
                if not cut:
                    return bench.rows("Id", table=THINGS) == [(1,)]
            disk.cut(seed)
    raise AssertionError


@pytest.mark.parametrize("site", ["seen.append", "seen.folder"])
def test_noted_calls_need_each_of_their_syncs(tmp_path: Path, site: str) -> None:
    assert all(repeat_is_known(tmp_path / "with", seed, frozenset()) for seed in range(3))
    assert not all(repeat_is_known(tmp_path / "without", seed, frozenset([site])) for seed in range(8))
