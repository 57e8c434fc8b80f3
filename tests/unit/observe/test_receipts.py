"""Receipts: found by request id in open and in full files, bounded, and true after a crash at any step."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.transform_kit import RULE, STREAM, PipelineBench, make_flow, make_rule, make_table, wait_idle

from headrace.clock import DAY, MINUTE, ManualClock
from headrace.disk import RealDisk
from headrace.journal.model import Entry
from headrace.observe.answers import make_receipt
from headrace.observe.receipts import CallRows, Frame, Receipts, id_bytes
from headrace.testing.powercut import PowerCutDisk
from headrace.transform.model import find_table


def frame(*ids: str, flow: int = 0, stored: int = 1, app_id: str = "a", ways: int = 1) -> Frame:
    calls = [CallRows(id_bytes(one) or b"", place, 1, 2, stored, {}) for place, one in enumerate(ids)]
    return Frame("j", "dcr-1", 1, STREAM, flow, ways, "w", "T_CL", "inc", app_id, calls)


def new_ids(count: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(count)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


Opener = Callable[..., Receipts]


@pytest.fixture
def opened(tmp_path: Path, clock: ManualClock) -> Iterator[Opener]:
    made: list[Receipts] = []

    def opener(**sizes: int) -> Receipts:
        made.append(Receipts(tmp_path / "receipts", RealDisk(), clock, **sizes))
        return made[-1]

    yield opener
    for one in made:
        one.close()


def test_calls_are_found_in_open_and_full_files_and_after_a_restart(opened: Opener, tmp_path: Path) -> None:
    receipts = opened(segment_bytes=2000)
    ids = new_ids(200)
    for one in ids:
        receipts.append(frame(one, "00000000-0000-4000-8000-000000000000"))
    assert len(list((tmp_path / "receipts").glob("*.index"))) > 3
    for one in ids:
        (found,) = receipts.find(one.upper())
        assert found.call.request_id == id_bytes(one)
    assert receipts.find(new_ids(1)[0]) == []
    assert receipts.find("no id at all") == []
    receipts.close()
    again = opened(segment_bytes=2000)
    assert all(len(again.find(one)) == 1 for one in ids)
    assert len(again.find("00000000-0000-4000-8000-000000000000")) == len(ids)


def test_a_file_without_its_index_is_read_through(opened: Opener, tmp_path: Path) -> None:
    receipts = opened(segment_bytes=2000)
    ids = new_ids(100)
    for one in ids:
        receipts.append(frame(one))
    for index in (tmp_path / "receipts").glob("*.index"):
        index.unlink()
    assert all(len(receipts.find(one)) == 1 for one in ids)


def test_a_disk_that_refuses_costs_receipts_and_nothing_else(opened: Opener, tmp_path: Path) -> None:
    receipts = opened(segment_bytes=500)
    kept, lost = new_ids(2)
    receipts.append(frame(kept))
    for number in range(2, 5):
        # What would be the next file cannot be opened.
        (tmp_path / "receipts" / f"{number:010d}.receipts").mkdir()
    places = [receipts.append(frame(lost, *new_ids(9))) for _ in range(3)]
    assert None in places
    receipts.visible(None)
    assert len(receipts.find(kept)) == 1


def test_a_torn_end_costs_its_frame_alone(opened: Opener, tmp_path: Path) -> None:
    receipts = opened()
    first, last = new_ids(2)
    receipts.append(frame(first))
    receipts.append(frame(last))
    receipts.close()
    (path,) = (tmp_path / "receipts").glob("*.receipts")
    path.write_bytes(path.read_bytes()[:-3])
    again = opened()
    assert len(again.find(first)) == 1
    assert again.find(last) == []


def lost(folder: Path, clock: ManualClock, seed: int, without: frozenset[str] = frozenset()) -> int:
    """How many of the calls that were synced, in several files, a power cut costs."""
    root = folder / f"data{seed}"
    root.mkdir(parents=True)
    ids = new_ids(60)
    with PowerCutDisk(root, without=without) as disk:
        receipts = Receipts(root / "receipts", disk, clock, segment_bytes=2000)
        for one in ids:
            receipts.append(frame(one))
        receipts.sync()
        assert len(list((root / "receipts").glob("*.index"))) > 1
        disk.cut(seed)
        receipts.close()
        again = Receipts(root / "receipts", disk, clock)
        again.close()
        return sum(not again.find(one) for one in ids)


def test_what_was_synced_survives_a_power_cut(tmp_path: Path, clock: ManualClock) -> None:
    assert [lost(tmp_path, clock, seed) for seed in range(6)] == [0] * 6


@pytest.mark.parametrize("site", ["receipts.append", "receipts.folder"])
def test_receipts_need_each_of_their_syncs(tmp_path: Path, clock: ManualClock, site: str) -> None:
    assert any(lost(tmp_path, clock, seed, frozenset([site])) for seed in range(6))


def test_damage_costs_its_frame_alone(opened: Opener, tmp_path: Path) -> None:
    receipts = opened()
    ids = new_ids(9)
    for one in ids:
        receipts.append(frame(one))
    receipts.close()
    (path,) = (tmp_path / "receipts").glob("*.receipts")
    content = path.read_bytes()
    size = len(content) // len(ids)
    for place in (1, size + 5, 2 * size + 30):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :])
        path.with_suffix(".index").unlink(missing_ok=True)
        again = opened()
        assert [one for one in ids if not again.find(one)] == [ids[place // size]]
        again.close()


@pytest.mark.parametrize("size", [0, 7, 25, None])
def test_an_index_that_is_not_whole_is_made_anew(opened: Opener, tmp_path: Path, size: int | None) -> None:
    receipts = opened(segment_bytes=1000)
    ids = new_ids(30)
    for one in ids:
        receipts.append(frame(one))
    receipts.close()
    for index in (tmp_path / "receipts").glob("*.index"):
        content = index.read_bytes()
        index.write_bytes(content[:size] if size is not None else bytes(len(content)))
    again = opened(segment_bytes=1000)
    assert all(len(again.find(one)) == 1 for one in ids)


def test_receipts_are_bounded_in_bytes_and_time(opened: Opener, tmp_path: Path, clock: ManualClock) -> None:
    receipts = opened(segment_bytes=1000, max_bytes=5000)
    ids = new_ids(300)
    for one in ids:
        receipts.append(frame(one))
    assert sum(path.stat().st_size for path in (tmp_path / "receipts").glob("*.receipts")) <= 6000
    assert receipts.find(ids[0]) == []
    assert receipts.find(ids[-1])
    receipts.close()
    clock.set(10**6 * int((tmp_path / "receipts").stat().st_mtime) + DAY + 10**8)
    receipts = opened(segment_bytes=1000)
    assert receipts.find(ids[-1]), "the clock may be wrong"
    clock.advance(11 * MINUTE)
    for one in new_ids(20):
        receipts.append(frame(one))
    assert receipts.find(ids[-1]) == []


def test_a_clock_that_is_set_wrong_for_a_while_costs_no_receipt(opened: Opener, clock: ManualClock) -> None:
    receipts = opened(segment_bytes=1000)
    clock.advance(11 * MINUTE)
    ids = new_ids(60)
    for place, one in enumerate(ids):
        clock.set(clock.now() + {20: 400, 40: -400}.get(place, 0) * DAY)
        receipts.append(frame(one))
    assert all(map(receipts.find, ids))


def test_a_receipt_says_nothing_before_the_rows_are_there(opened: Opener) -> None:
    receipts = opened()
    (one,) = new_ids(1)
    place = receipts.append(frame(one))

    def status(there: bool | None) -> tuple[str, int]:
        receipt = make_receipt(one, receipts.find(one), lambda _frame, _offset: there)
        assert receipt is not None
        return receipt.document["status"], len(receipt.document["destinations"])

    assert status(False) == status(None) == ("Processing", 0)
    assert status(True) == ("Complete", 1)
    receipts.visible(place)
    assert status(None) == ("Complete", 1)
    assert status(False) == ("Processing", 0)


def test_all_ways_are_waited_for_and_the_newest_word_counts(opened: Opener) -> None:
    receipts = opened()
    (one,) = new_ids(1)
    receipts.append(frame(one, stored=2, ways=2))
    receipts.append(frame(one, ways=2))
    known = make_receipt(one, receipts.find(one), lambda _frame, _offset: True)
    assert known is not None
    assert known.document["status"] == "Processing"
    receipts.append(frame(one, flow=1, stored=0, app_id="", ways=2))
    known = make_receipt(one, receipts.find(one), lambda _frame, _offset: True)
    assert known is not None
    assert known.document["status"] == "Complete"
    assert [(way["rowsStored"], way["rowsFiltered"]) for way in known.document["destinations"]] == [
        (1, 1),
        (0, 2),
    ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[PipelineBench]:
    flows = (make_flow(0, "source | where Id > 1"), make_flow(1, table="Gone_CL"))
    rule = make_rule(*flows)
    with PipelineBench(tmp_path, {(rule.immutable_id, 1): rule}, (make_table(),)) as opened:
        yield opened


def receipt_of(bench: PipelineBench, receipts: Receipts, request_id: str) -> dict[str, object] | None:
    store = bench.store
    assert store is not None

    def published(one: Frame, offset: int) -> bool | None:
        table = find_table(bench.view.current, one.workspace, one.table)
        return None if table is None else store.position(table, one.app_id) >= offset

    found = make_receipt(request_id, receipts.find(request_id), published)
    return None if found is None else found.document


def send(bench: PipelineBench, *numbers: int) -> str:
    request_id = str(uuid.uuid4())
    assert bench.journal is not None
    body = json.dumps([{"Id": number} for number in numbers]).encode()
    entry = Entry(request_id, "", "p", RULE, 1, STREAM, "", body, len(body), len(numbers))
    bench.loop.run_until_complete(bench.journal.append(entry))
    return request_id


def expected(rows: int, stored: int) -> list[tuple[object, ...]]:
    return [("Things_CL", stored, rows - stored, 0, {}), ("Gone_CL", 0, 0, rows, {"TableNotFound": rows})]


def shown(document: dict[str, object] | None) -> list[tuple[object, ...]]:
    assert document is not None
    ways = document["destinations"]
    assert isinstance(ways, list)
    names = ("table", "rowsStored", "rowsFiltered", "rowsDeadLettered", "reasons")
    return [tuple(way[name] for name in names) for way in ways]


def test_the_pipeline_tells_each_call_its_own_counts(bench: PipelineBench, opened: Opener) -> None:
    receipts = opened()
    calls = {send(bench, 1, 2, 3): (3, 2), send(bench, 0): (1, 0), send(bench, 5, 6): (2, 2)}
    pipeline = bench.pipeline(lambda _: None, receipts)
    pipeline.start()
    wait_idle(pipeline)
    assert pipeline.stop()
    for request_id, (rows, stored) in calls.items():
        document = receipt_of(bench, receipts, request_id)
        assert document is not None
        assert document["status"] == "Complete"
        assert document["rowsReceived"] == rows
        assert shown(document) == expected(rows, stored)


@pytest.mark.parametrize("point", ["publish", "published", "letters", "lettered", "commit"])
def test_after_a_crash_at_any_step_a_receipt_is_never_wrong(
    bench: PipelineBench, opened: Opener, point: str
) -> None:
    receipts = opened()
    request_id = send(bench, 1, 2, 3)

    def step(name: str) -> None:
        if name == point and (point != "commit" or receipts.find(request_id)):
            raise KeyError(name)

    pipeline = bench.pipeline(step, receipts)
    pipeline.start()
    while pipeline.progress().failure is None:
        pass
    assert not pipeline.stop()
    bench.close()
    bench.open()
    early = receipt_of(bench, receipts, request_id)
    if early is not None:
        assert all(one in expected(3, 2) for one in shown(early))
        if expected(3, 2)[0] in shown(early):
            assert len(bench.rows("Id")) == 2
    receipts.close()
    receipts = opened()
    pipeline = bench.pipeline(lambda _: None, receipts)
    pipeline.start()
    wait_idle(pipeline)
    assert pipeline.stop()
    document = receipt_of(bench, receipts, request_id)
    assert document is not None
    assert document["status"] == "Complete"
    assert sorted(shown(document), key=str) == sorted(expected(3, 2), key=str)
