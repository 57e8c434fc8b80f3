"""Dead letters: kept once, kept for good, readable back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tables_kit import FailingDisk

from headrace.disk import RealDisk
from headrace.transform.dead_letters import (
    SITE_APPEND,
    WHOLE,
    DeadLetter,
    DeadLetters,
    read_letters,
)


def letter(
    offset: int, row: int = WHOLE, flow: int = 0, body: bytes = b"{}", journal: str = "j"
) -> DeadLetter:
    return DeadLetter(
        journal, offset, flow, row, 1, "dcr-1", 2, "Custom-A", "r", "c", "Reason", "message", "", 1, body
    )


def test_letters_come_back_as_they_were(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "d", RealDisk())
    sent = [letter(1, body=b"\x00\xff"), letter(2, 5), letter(2, 6, flow=WHOLE)]
    assert letters.add(sent) == sent
    assert list(letters.read()) == sent == list(read_letters(tmp_path / "d"))
    letters.close()


def test_a_letter_is_kept_once_also_after_a_restart(tmp_path: Path) -> None:
    for _ in range(3):
        letters = DeadLetters(tmp_path, RealDisk())
        letters.add([letter(1), letter(1, 4)])
        letters.close()
        assert len(letters) == 2
    assert len(list(read_letters(tmp_path))) == 2


def test_what_was_decided(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, RealDisk())
    letters.add([letter(1, 4), letter(1, 7), letter(2), letter(3, flow=WHOLE)])
    assert letters.decided("j", 1, 0).rows == {4, 7}
    assert not letters.decided("j", 1, 0).whole
    assert letters.decided("j", 1, 1).rows == frozenset()
    assert letters.decided("j", 2, 0).whole
    assert letters.decided("j", 3, 9).whole
    assert not letters.decided("other", 2, 0).whole
    letters.forget("j", 2)
    assert letters.decided("j", 1, 0).rows == frozenset()
    assert letters.decided("j", 2, 0).whole
    letters.close()


def test_files_are_bounded(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, RealDisk(), file_bytes=1000)
    for offset in range(20):
        letters.add([letter(offset, body=bytes(200))])
    letters.close()
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.letters"))]
    assert len(sizes) > 3
    assert max(sizes) < 1500
    assert [one.offset for one in read_letters(tmp_path)] == list(range(20))


def test_all_letters_are_bounded_and_what_goes_is_counted(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, RealDisk(), file_bytes=1000, max_bytes=3000)
    for offset in range(40):
        letters.add([letter(offset, body=bytes(200))])
        letters.forget("j", offset + 1)
    kept = [one.offset for one in letters.read()]
    assert kept == list(range(40 - len(kept), 40))
    assert 5 <= len(kept) < 20
    assert (len(letters), letters.removed) == (len(kept), 40 - len(kept))
    letters.close()
    again = DeadLetters(tmp_path, RealDisk(), file_bytes=1000, max_bytes=3000)
    again.add([letter(40)])
    assert [one.offset for one in again.read()] == [*kept, 40]
    again.close()


@pytest.mark.parametrize("lost", [1, 7, 30])
def test_a_torn_end_costs_its_letter_alone(tmp_path: Path, lost: int) -> None:
    letters = DeadLetters(tmp_path, RealDisk())
    letters.add([letter(1)])
    letters.add([letter(2)])
    letters.close()
    (path,) = tmp_path.glob("*.letters")
    path.write_bytes(path.read_bytes()[:-lost])
    assert [one.offset for one in read_letters(tmp_path)] == [1]
    again = DeadLetters(tmp_path, RealDisk())
    again.add([letter(2), letter(3)])
    again.close()
    assert [one.offset for one in read_letters(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("place", [0, 2, 5, 9, 40, 70, 150])
def test_damage_costs_its_letter_alone(tmp_path: Path, place: int, caplog: pytest.LogCaptureFixture) -> None:
    letters = DeadLetters(tmp_path, RealDisk())
    for offset in range(5):
        letters.add([letter(offset, body=bytes(50))])
    letters.close()
    (path,) = tmp_path.glob("*.letters")
    content = bytearray(path.read_bytes())
    size = len(content) // 5
    content[place] ^= 0x81
    path.write_bytes(content)
    kept = [one for one in range(5) if one != place // size]
    assert [one.offset for one in read_letters(tmp_path)] == kept
    again = DeadLetters(tmp_path, RealDisk())
    assert f"{size} bytes" in caplog.text
    assert str(path) in caplog.text
    again.add([letter(9)])
    again.close()
    assert bytes(content) == path.read_bytes(), "what is damaged is not touched"
    assert [one.offset for one in read_letters(tmp_path)] == [*kept, 9]


def test_a_disk_that_refuses_keeps_nothing(tmp_path: Path) -> None:
    disk = FailingDisk(SITE_APPEND)
    letters = DeadLetters(tmp_path, disk)
    with pytest.raises(OSError, match="Input/output"):
        letters.add([letter(1)])
    assert not letters.decided("j", 1, 0).whole
    disk.failing = False
    letters.add([letter(1), letter(2)])
    letters.close()
    assert [one.offset for one in read_letters(tmp_path)] == [1, 2]
