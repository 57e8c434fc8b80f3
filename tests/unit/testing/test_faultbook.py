"""Faults are met in order and counted exactly, whoever looks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import ProblemError
from headrace.testing.faultbook import MOST_FAULTS, Answer, Cut, Delay, FaultBook


def test_the_oldest_that_is_left_is_met(tmp_path: Path) -> None:
    book = FaultBook(tmp_path / "faults")
    assert book.take(after=False) is None
    first, second, late = Answer(status=429, times=2), Delay(seconds=1), Cut(after=True)
    for fault in (first, second, late):
        book.arm(fault)
    assert [book.take(after=False) for _ in range(4)] == [first, first, second, None]
    assert [book.take(after=True) for _ in range(2)] == [late, None]
    assert [(one.fault, one.hits) for one in book.armed()] == [(first, 2), (second, 1), (late, 1)]


def test_one_without_a_count_lasts_until_it_is_cleared(tmp_path: Path) -> None:
    book = FaultBook(tmp_path / "faults")
    kept, other = book.arm(Answer(status=503, times=None)), book.arm(Cut())
    assert [book.take(after=False) for _ in range(3)] == [kept.fault] * 3
    book.clear(kept.id)
    assert book.take(after=False) == other.fault
    book.clear()
    assert book.armed() == ()


def test_several_that_take_at_once_take_no_more_than_there_is(tmp_path: Path) -> None:
    books = [FaultBook(tmp_path / "faults") for _ in range(4)]
    books[0].arm(Cut(times=25))
    with ThreadPoolExecutor(4) as pool:
        met = list(pool.map(lambda number: books[number % 4].take(after=False), range(100)))
    assert sum(fault is not None for fault in met) == 25
    assert books[3].armed()[0].hits == 25


def test_there_is_a_bound_that_used_ones_do_not_count_for(tmp_path: Path) -> None:
    book = FaultBook(tmp_path / "faults")
    for _ in range(MOST_FAULTS):
        book.arm(Cut())
    with pytest.raises(ProblemError, match="clear those that are not needed"):
        book.arm(Cut())
    book.take(after=False)
    book.arm(Answer(status=401))
    assert len(book.armed()) == MOST_FAULTS


def test_a_damaged_book_has_no_faults(tmp_path: Path) -> None:
    book = FaultBook(tmp_path)
    (tmp_path / "armed.json").write_bytes(b'[{"id": "\xff"')
    assert book.armed() == ()
    assert book.take(after=False) is None
