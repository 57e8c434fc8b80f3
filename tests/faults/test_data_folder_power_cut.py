"""A power cut after the first start: the data folder is there, and opens again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.data_folder import open_data_folder
from headrace.disk import RealDisk
from headrace.errors import ProblemError
from headrace.observe.audit.events import FIRST, Link
from headrace.observe.audit.heads import Heads
from headrace.testing.powercut import PowerCutDisk
from headrace.tls import check_pair, ensure_tls_files

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


def keeps_its_ca(folder: Path, seed: int, without: frozenset[str] = frozenset()) -> bool:
    """Whether the CA that clients were told to trust is there after a power cut, with a certificate that serves."""
    folder.mkdir(parents=True)
    with PowerCutDisk(folder, without=without) as disk:
        made = ensure_tls_files(folder / "tls", (), disk=disk)
        disk.sync_dir(folder, "folder.entries")
        trusted = made.ca.read_bytes()
        disk.cut(seed)
    try:
        found = ensure_tls_files(folder / "tls", ())
        check_pair(found.certificate, found.key)
    except (ProblemError, ValueError):
        return False
    return found.ca.read_bytes() == trusted


def test_the_ca_of_a_first_start_survives(tmp_path: Path) -> None:
    assert all(keeps_its_ca(tmp_path / str(seed), seed) for seed in SEEDS)


@pytest.mark.parametrize("site", ["tls.ca.key.file", "tls.ca.file", "tls.ca.dir"])
def test_each_sync_of_the_ca_is_needed(tmp_path: Path, site: str) -> None:
    # What follows the CA syncs the folder too.
    without = frozenset({site, "tls.key.dir", "tls.certificate.dir"})
    assert not all(keeps_its_ca(tmp_path / str(seed), seed, without) for seed in SEEDS)


@pytest.mark.parametrize("torn", ["server.pem", "server.key"])
def test_a_certificate_that_does_not_fit_its_key_is_made_anew(tmp_path: Path, torn: str) -> None:
    made = ensure_tls_files(tmp_path, ())
    trusted = made.ca.read_bytes()
    for content in (b"", ensure_tls_files(tmp_path / "other", ()).key.with_name(torn).read_bytes()):
        (tmp_path / torn).write_bytes(content)
        again = ensure_tls_files(tmp_path, ())
        check_pair(again.certificate, again.key)
        assert again.ca.read_bytes() == trusted


def keeps_its_head(folder: Path, seed: int, without: frozenset[str] = frozenset()) -> bool:
    """Whether a head of the audit log that was signed before a power cut is there after it, with the key of before."""
    folder.mkdir(parents=True)
    with PowerCutDisk(folder, without=without) as disk:
        heads = Heads(folder / "audit", disk)
        disk.sync_dir(folder, "folder.entries")
        signed = heads.write(Link("chain", 3, FIRST), 1, None)
        disk.cut(seed)
    again = Heads(folder / "audit")
    return again.public_key == heads.public_key and again.all() == [signed]


def test_signed_heads_of_the_audit_log_survive(tmp_path: Path) -> None:
    assert all(keeps_its_head(tmp_path / str(seed), seed) for seed in SEEDS)


@pytest.mark.parametrize("site", ["audit.key.file", "audit.head.file", "audit.head.dir"])
def test_each_sync_of_a_head_is_needed(tmp_path: Path, site: str) -> None:
    assert not all(keeps_its_head(tmp_path / str(seed), seed, frozenset({site})) for seed in SEEDS)
