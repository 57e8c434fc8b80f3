from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.disk import replace_durably
from headrace.testing.powercut import PowerCut, PowerCutDisk

SEEDS = range(60)

Outcome = dict[str, bytes]


@pytest.fixture
def outcomes(tmp_path: Path) -> Iterator[Callable[..., list[Outcome]]]:
    """Does something on a fresh disk and cuts the power, once for each seed; all the states that came out."""
    disks: list[PowerCutDisk] = []

    def run(
        life: Callable[[PowerCutDisk], None],
        prepare: Callable[[Path], None] = lambda _: None,
        without: frozenset[str] = frozenset(),
    ) -> list[Outcome]:
        found: list[Outcome] = []
        for seed in SEEDS:
            root = tmp_path / f"{len(disks)}"
            root.mkdir()
            prepare(root)
            disk = PowerCutDisk(root, without=without)
            disks.append(disk)
            life(disk)
            disk.cut(seed)
            outcome = {
                str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
            }
            if outcome not in found:
                found.append(outcome)
        return found

    yield run
    for disk in disks:
        disk.close()


def one_file(content: bytes) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        (root / "file").write_bytes(content)

    return prepare


def test_what_was_there_and_what_is_synced_stays(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "new").write_bytes(b"new" * 1000)
        disk.sync_file(disk.root / "new", "a")
        disk.sync_dir(disk.root, "b")

    assert outcomes(life, one_file(b"old")) == [{"file": b"old", "new": b"new" * 1000}]


def test_an_unsynced_name_may_be_lost_with_its_synced_content(
    outcomes: Callable[..., list[Outcome]],
) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "new").write_bytes(b"content")
        disk.sync_file(disk.root / "new", "a")

    assert sorted(outcomes(life), key=len) == [{}, {"new": b"content"}]


def test_a_synced_name_may_have_any_part_of_its_content(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "new").write_bytes(b"x" * 2048)
        disk.sync_dir(disk.root, "b")

    found = [outcome["new"] for outcome in outcomes(life)]
    assert b"" in found
    assert b"x" * 2048 in found
    assert any(0 < len(content) < 2048 for content in found)
    assert any(b"\0" in content and b"x" in content for content in found)


def test_a_change_in_place_is_old_or_new_by_sector(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        with (disk.root / "file").open("r+b") as file:
            file.seek(700)
            file.write(b"b" * 1500)

    found = [outcome["file"] for outcome in outcomes(life, one_file(b"a" * 4096))]
    before, after = b"a" * 4096, b"a" * 700 + b"b" * 1500 + b"a" * 1896
    assert before in found
    assert after in found
    assert len(found) > 4
    for content in found:
        assert len(content) == 4096
        for start in range(0, 4096, 512):
            assert content[start : start + 512] in (before[start : start + 512], after[start : start + 512])


def test_unsynced_bytes_of_a_preallocated_file(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        descriptor = os.open(disk.root / "file", os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(descriptor, 0, 1 << 20)
        os.pwrite(descriptor, b"1" * 512, 4096)
        disk.sync_file(disk.root / "file", "a", fd=descriptor)
        disk.sync_dir(disk.root, "b")
        os.pwrite(descriptor, b"2" * 512, 8192)
        os.close(descriptor)

    found = [outcome["file"] for outcome in outcomes(life)]
    assert {(content[4096:4608], content[8192:8704]) for content in found} == {
        (b"1" * 512, bytes(512)),
        (b"1" * 512, b"2" * 512),
    }
    assert {len(content) for content in found} == {1 << 20}


def test_a_deletion_may_not_have_happened(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "file").unlink()

    assert sorted(outcomes(life, one_file(b"old")), key=len) == [{}, {"file": b"old"}]


def test_a_synced_deletion_has_happened(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "file").unlink()
        disk.sync_dir(disk.root, "a")

    assert outcomes(life, one_file(b"old")) == [{}]


def test_a_number_used_again_is_another_file(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "file").unlink()
        for i in range(20):
            (disk.root / f"{i}").write_bytes(b"new")
            disk.sync_file(disk.root / f"{i}", "a")

    assert {outcome.get("file") for outcome in outcomes(life, one_file(b"old"))} == {None, b"old"}


def test_a_replacement_is_the_old_or_the_new_file(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        replace_durably(disk, disk.root / "file", b"new", "site")

    assert outcomes(life, one_file(b"old")) == [{"file": b"new"}]
    without_dir = outcomes(life, one_file(b"old"), without=frozenset({"site.dir"}))
    assert {outcome["file"] for outcome in without_dir} == {b"old", b"new"}
    without_file = outcomes(life, one_file(b"old"), without=frozenset({"site.file"}))
    assert b"" in {outcome["file"] for outcome in without_file}


def test_a_rename_happens_at_one_stroke(outcomes: Callable[..., list[Outcome]]) -> None:
    def prepare(root: Path) -> None:
        (root / "a").mkdir()
        (root / "b").mkdir()
        (root / "a" / "one").write_bytes(b"1")
        (root / "b" / "two").write_bytes(b"2")

    def life(disk: PowerCutDisk) -> None:
        (disk.root / "a" / "one").rename(disk.root / "b" / "two")

    assert sorted(outcomes(life, prepare), key=len) == [{"b/two": b"1"}, {"a/one": b"1", "b/two": b"2"}]


def test_a_directory_goes_with_all_that_is_in_it(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "x" / "y").mkdir(parents=True)
        (disk.root / "x" / "y" / "file").write_bytes(b"deep")
        disk.sync_file(disk.root / "x" / "y" / "file", "a")
        disk.sync_dir(disk.root / "x" / "y", "b")
        disk.sync_dir(disk.root / "x", "c")

    assert sorted(outcomes(life), key=len) == [{}, {"x/y/file": b"deep"}]


def test_hard_links_and_symbolic_links(outcomes: Callable[..., list[Outcome]]) -> None:
    def life(disk: PowerCutDisk) -> None:
        (disk.root / "second").hardlink_to(disk.root / "file")
        (disk.root / "third").symlink_to("file")
        disk.sync_dir(disk.root, "a")
        (disk.root / "file").unlink()

    found = outcomes(life, one_file(b"old"))
    assert {outcome["second"] for outcome in found} == {b"old"}
    assert {outcome.get("third") for outcome in found} == {b"old", None}


@pytest.mark.parametrize(("after", "possible"), [(False, {b"old", b"new"}), (True, {b"new"})])
def test_an_armed_cut_fails_that_sync_and_all_after_it(
    after: bool, possible: set[bytes], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    found = set()
    with PowerCutDisk(root) as disk:
        for seed in range(20):
            (root / "file").write_bytes(b"old")
            disk.sync_file(root / "file", "zero")
            disk.arm(1, after=after)
            disk.sync_dir(root, "one")
            with (root / "file").open("r+b") as file:
                file.write(b"new")
            for _ in range(2):
                with pytest.raises(PowerCut):
                    disk.sync_file(root / "file", "two")
            disk.cut(seed)
            found.add((root / "file").read_bytes())
        assert disk.sites == ["zero", "one", "two"] * 20
    assert found == possible


def test_a_restart_without_a_cut_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with PowerCutDisk(root) as disk:
        disk.arm(0)
        (root / "file").write_bytes(b"new")
        with pytest.raises(PowerCut):
            disk.sync_file(root / "file", "a")
        disk.restart()
        assert (root / "file").read_bytes() == b"new"
        disk.sync_file(root / "file", "a")
        disk.sync_dir(root, "b")
        disk.cut(0)
        assert (root / "file").read_bytes() == b"new"


def test_after_a_cut_everything_is_durable(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with PowerCutDisk(root) as disk:
        for i in range(10):
            (root / f"{i}").write_bytes(bytes(range(256)) * 40)
        disk.cut(3)
        first = {path.name: path.read_bytes() for path in root.iterdir()}
        assert 0 < len(first) < 10
        for seed in range(5):
            disk.cut(seed)
            assert {path.name: path.read_bytes() for path in root.iterdir()} == first
    assert list(tmp_path.iterdir()) == [root]
