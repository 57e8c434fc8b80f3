"""Which dead letters go in one call of a replay: nothing twice, and every letter settled."""

from __future__ import annotations

from pathlib import Path

from headrace.cli.dead_letters import LetterFolder, _body, _call_id, _calls, _key, letter_name
from headrace.transform.dead_letters import WHOLE, DeadLetter


def letter(
    offset: int, flow: int = 0, row: int = WHOLE, rule: str = "dcr-1", body: bytes = b"{}"
) -> DeadLetter:
    return DeadLetter(
        "0b5c1f0a-1111", offset, flow, row, 1, rule, 1, "Custom-A", "r", "c", "Reason", "m", "", 1, body
    )


def test_rows_of_a_rule_go_together_as_an_array() -> None:
    rows = [
        letter(1, row=2, body=b'{"a":1}'),
        letter(3, row=0, body=b'{"a":2}'),
        letter(4, row=0, rule="dcr-2"),
    ]
    first, second = _calls(rows)
    assert _body(first.send) == b'[{"a":1},{"a":2}]'
    assert second.send == (rows[2],)


def test_a_payload_goes_alone_and_stands_for_its_rows() -> None:
    row, whole, other = letter(1, row=2), letter(1, flow=1, body=b"[{}]"), letter(2, row=0)
    parts = {part.send: part.settled for part in _calls([row, whole, other])}
    assert parts == {(whole,): (whole, row), (other,): (other,)}
    assert _body((whole,)) == b"[{}]"


def test_a_row_that_two_flows_could_not_store_goes_once() -> None:
    (part,) = _calls([letter(1, 0, 5), letter(1, 1, 5)])
    assert [len(part.send), len(part.settled)] == [1, 2]


def test_calls_are_bounded() -> None:
    parts = list(_calls([letter(place, row=0, body=b"x" * 400_000) for place in range(5)]))
    assert [len(part.send) for part in parts] == [2, 2, 1]
    assert len({_call_id(part.send) for part in parts}) == 3


def test_ids_tell_letters_apart() -> None:
    letters = [letter(1), letter(1, 0, 0), letter(1, 1, 0), letter(1, WHOLE)]
    assert [letter_name(one) for one in letters] == [
        "0b5c1f0a-1-f0",
        "0b5c1f0a-1-f0-r0",
        "0b5c1f0a-1-f1-r0",
        "0b5c1f0a-1",
    ]


def test_marks_are_kept(tmp_path: Path) -> None:
    folder = LetterFolder(tmp_path)
    assert folder.marks() == {}
    folder.mark([letter(1), letter(2)], "2026-01-01T00:00:00Z")
    folder.mark([letter(1)], "2026-01-02T00:00:00Z")
    assert folder.marks() == {
        _key(letter(1)): "2026-01-02T00:00:00Z",
        _key(letter(2)): "2026-01-01T00:00:00Z",
    }
