"""A power cut after the first start: the data folder is there, and opens again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.data_folder import open_data_folder
from headrace.disk import RealDisk
from headrace.errors import ProblemError
from headrace.testing.powercut import PowerCutDisk

SEEDS = range(30)
SITES = ("folder.root", "folder.format", "folder.entries")


def survives(folder: Path, seed: int, without: frozenset[str] = frozenset()) -> bool:
    """Whether what was made durable in the data folder is there after a power cut, and the folder opens."""
    world = folder / "world"
    world.mkdir(parents=True)
    root = world / "deep" / "data"
    with PowerCutDisk(world, without=without) as disk:
        made, (lock,) = open_data_folder(root, disk)
        os.close(lock)
        marker = made.journals / "marker"
        marker.write_bytes(b"acknowledged")
        disk.sync_file(marker, "marker.file")
        disk.sync_dir(made.journals, "marker.dir")
        disk.cut(seed)
    try:
        os.close(*open_data_folder(root, RealDisk())[1])
    except ProblemError:
        return False
    return marker.exists() and marker.read_bytes() == b"acknowledged"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_durable_in_a_new_data_folder_survives(tmp_path: Path, seed: int) -> None:
    assert survives(tmp_path, seed)


@pytest.mark.parametrize("site", SITES)
def test_each_sync_is_needed(tmp_path: Path, site: str) -> None:
    outcomes = {survives(tmp_path / str(seed), seed, frozenset({site})) for seed in SEEDS}
    assert False in outcomes, f"nothing is lost without {site}"
